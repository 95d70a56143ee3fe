"""Models that other programs have on this machine: found, listed and used where they lie, never changed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from lollms_core import BackendError, ModelNotFound
from lollms_core.errors import close_names
from lollms_llamacpp.stores.hugging_face import HuggingFace
from lollms_llamacpp.stores.llama_cpp import LlamaCppCache
from lollms_llamacpp.stores.ollama import Ollama
from lollms_llamacpp.stores.stored import Store, Stored

__all__ = ["Stored", "Stores"]


class Stores:
    """All stores, by the prefixes of their names.

    Args:
        stores: those to use; default: Ollama's, Hugging Face's and llama.cpp's, where this machine has them.
    """

    def __init__(self, stores: Sequence[Store] | None = None) -> None:
        self._stores: Sequence[Store] = (Ollama(), HuggingFace(), LlamaCppCache()) if stores is None else stores

    def models(self) -> Iterator[Stored]:
        """All models, and entries with ``error`` for those that cannot be used."""
        for store in self._stores:
            for stored in store.models():
                yield stored if not stored.adapters else _with_adapters_refused(stored)

    def find(self, name: str) -> Path | None:
        """The file of a model by its full name; None if that does not begin with a store's prefix.

        Raises:
            ModelNotFound: the store has no such model, or several; the text names what there is.
            BackendError: it has, but the model cannot be used.
        """
        store = next((one for one in self._stores if name.startswith(one.prefix)), None)
        if store is None:
            return None
        found = store.find(name.removeprefix(store.prefix))
        if found is None:
            known = [one.name for one in store.models()]
            hint = ""
            if store.source == HuggingFace.source:
                hint = f" To fetch it, call pull({name!r})."
            raise ModelNotFound(f"there is no model {name!r} on this machine.{close_names(name, known)}{hint}")
        if found.adapters:
            found = _with_adapters_refused(found)
        if found.error is not None:
            raise BackendError(found.error)
        return found.path

    def projector_of(self, path: Path) -> Path | None:
        """The projector that a store keeps for the model in the file `path`."""
        return next((found for store in self._stores if (found := store.projector_of(path)) is not None), None)


def _with_adapters_refused(stored: Stored) -> Stored:
    """Without its adapters it would be another model under the same name."""
    adapters = ", ".join(str(path) for path in stored.adapters)
    return Stored(
        stored.name,
        stored.path,
        stored.source,
        error=f"{stored.name} is the model {stored.path} with a LoRA adapter ({adapters}), which a name does not bring",
    )
