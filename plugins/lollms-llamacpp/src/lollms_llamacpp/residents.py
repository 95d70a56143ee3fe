"""The models in memory: the one in use, which may be away for a while, and guests of single requests."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias, TypeVar

from lollms_core import BackendUnavailable, ModelNotFound
from lollms_llamacpp.library import EMBEDDED
from lollms_llamacpp.loaded_model import LoadedModel
from lollms_llamacpp.model_file import ModelFile, model_file
from lollms_llamacpp.native import ClosedError

__all__ = ["GoOn", "Residents"]

_Result = TypeVar("_Result")

GoOn: TypeAlias = "Callable[[], bool] | None"
"""Asked while a model is loaded; False ends it."""


class Residents:
    """What a binding has loaded.

    Args:
        owner: the binding's name, for messages.
        make: loads the model of a file under a name (None: the file's own); ``guest`` tells for whom.
        find: the file of a model's name; raises ModelNotFound.
    """

    def __init__(
        self,
        owner: str,
        make: Callable[[ModelFile, str | None, GoOn, bool], LoadedModel],
        find: Callable[[str], Path],
    ) -> None:
        self._owner = owner
        self._make = make
        self._find = find
        self._loading = threading.Lock()  # one model is loaded at a time
        self._returning = threading.Lock()
        self._inviting = threading.Lock()
        self.engine: LoadedModel | None = None
        """The model in use, None while it is not in memory."""
        self._away: tuple[Path, str] | None = None  # unloaded: the next request loads it again
        self.guests: dict[Path, LoadedModel] = {}
        """Models of single requests, until these have ended."""
        self._ended = False

    @property
    def name(self) -> str | None:
        """The name of the model in use."""
        engine, away = self.engine, self._away
        return engine.name if engine is not None else away[1] if away is not None else None

    @property
    def file(self) -> ModelFile | None:
        """The file of the model in use, in memory or not.

        Raises:
            ModelNotFound, BackendError: it is gone, or damaged.
        """
        engine, away = self.engine, self._away
        if engine is not None:
            return engine.file
        return None if away is None else model_file(away[0])

    @property
    def path(self) -> Path | None:
        """The path of that file."""
        engine, away = self.engine, self._away
        return engine.file.path if engine is not None else away[0] if away is not None else None

    def load(self, path: Path, name: str | None = None) -> LoadedModel | None:
        """Make the model of a file the one in use; what was in its place, for the caller to close.

        Raises:
            LollmsError, ValueError: it cannot be loaded; the old one stays.
        """
        return self._install(self._loaded(path, name))

    def use(self, use: Callable[[LoadedModel], _Result], model: str | None = None) -> _Result:
        """What `use` makes of the engine for `model`, also if that is changed in the meantime."""
        while True:
            engine, release = self.engine_for(model)
            try:
                return use(engine)
            except ClosedError:
                self.check_replaced(engine)
            finally:
                release()

    def engine_for(self, model: str | None, go_on: GoOn = None) -> tuple[LoadedModel, Callable[[], object]]:
        """The engine for a request, and what to call when the request has begun on it.

        Raises:
            ModelNotFound: there is no such model, or none at all.
            BackendUnavailable: the binding is closed.
        """
        self.ensure_open()
        if model is None or model == self.name:
            return self._present(go_on), _nothing
        path = model_file(self._find(model)).path
        file = self.file
        if file is not None and file.path == path:
            return self._present(go_on), _nothing
        return self._guest(path, model, go_on)

    def unload(self, model: str | None) -> None:
        """Free a model's memory when the requests that run have ended.

        Raises:
            ModelNotFound: it is not in memory.
        """
        self.ensure_open()
        with self._loading:
            engine = self.engine
            if engine is not None and model in {None, engine.name, str(engine.file.path)}:
                self.engine, self._away = None, (engine.file.path, engine.name)
            elif model is None:
                raise ModelNotFound("no model is loaded, so there is none to unload")
            else:
                # A guest leaves by itself when the requests that it came for have ended.
                engine = next((one for one in self.present() if one.name == model), None)
        if engine is None:
            raise ModelNotFound(f"the model {model!r} is not loaded; ps() tells which are")
        engine.retire()

    def present(self) -> list[LoadedModel]:
        """What is in memory."""
        engine = self.engine
        own = [] if engine is None else [engine]
        return [*own, *(guest for guest in list(self.guests.values()) if not guest.closed)]

    def close(self) -> None:
        """Close all; from now on nothing is loaded."""
        self._ended = True
        with self._loading:
            engine, self.engine, self._away = self.engine, None, None
        for one in [*self.guests.values(), engine]:
            if one is not None:
                one.close()

    def ensure_open(self) -> None:
        """Raises:
        BackendUnavailable: the binding is closed.
        """
        if self._ended:
            raise BackendUnavailable(f"the binding {self._owner!r} is closed; create a new one")

    def check_replaced(self, engine: LoadedModel) -> None:
        """Return if there is a successor of a closed `engine`, else raise."""
        self.ensure_open()
        if engine.failed:
            with self._loading:
                if engine is self.engine:
                    self.engine, self._away = None, (engine.file.path, engine.name)
            engine.close()
        if engine is self.engine:
            raise BackendUnavailable(f"the model {engine.name!r} is closed")

    def _loaded(self, path: Path, name: str | None, go_on: GoOn = None, *, guest: bool = False) -> LoadedModel:
        file = model_file(path)
        with self._loading:
            # Closing the binding doesn't wait for a large file to be read.
            return self._make(file, name, lambda: not self._ended and (go_on is None or go_on()), guest)

    def _install(self, engine: LoadedModel) -> LoadedModel | None:
        with self._loading:
            if self._ended:
                engine.close()
                self.ensure_open()
            old, self.engine, self._away = self.engine, engine, None
        return old

    def _present(self, go_on: GoOn) -> LoadedModel:
        """The engine in use, loaded again if it is away."""
        with self._returning:
            engine, away = self.engine, self._away
            if engine is not None:
                return engine
            if away is None:
                raise ModelNotFound(
                    f"no model is loaded: give model_path, or models_path and model_name, or {EMBEDDED!r} as "
                    "model_name, to the constructor, or call load_model"
                )
            engine = self._loaded(*away, go_on)
            with self._loading:
                present = self.engine
                if present is None and not self._ended:
                    self.engine, self._away = engine, None
                    return engine
        engine.close()
        self.ensure_open()
        assert present is not None  # load_model was faster
        return present

    def _guest(self, path: Path, name: str, go_on: GoOn) -> tuple[LoadedModel, Callable[[], object]]:
        """A model for a single request, which others that want the same share while it is there."""
        with self._inviting:
            self.guests = {file: guest for file, guest in self.guests.items() if not guest.closed}
            guest = self.guests.get(path)
            if guest is None:
                guest = self._loaded(path, name, go_on, guest=True)
                self.guests[path] = guest
        if self._ended:
            guest.close()
        return guest, guest.retire


def _nothing() -> None:
    """What there is to do when a request has begun on the binding's own model."""
