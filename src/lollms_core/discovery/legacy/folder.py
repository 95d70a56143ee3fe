"""One legacy folder: the builtins of its modules, and what its stand-ins share."""

from __future__ import annotations

import builtins
import importlib
import logging
import sys
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from lollms_core.discovery.legacy.requirements import Requirements
from lollms_core.discovery.reports import NO_SECRETS, Secrets, bounded, scrub

__all__ = ["LOGGERS", "STAND_INS", "LegacyFolder", "is_mentioned"]

LOGGERS = "lollms_core.folders"
"""A folder's logger is below this one and has the folder's name."""

_SHIMS = f"{__package__}.shims"

STAND_INS: dict[str, str] = {
    "lollms_client": f"{_SHIMS}.lollms_client",
    "lollms_client.lollms_discussion": f"{_SHIMS}.lollms_client.lollms_discussion",
    "lollms_client.lollms_llm_binding": f"{_SHIMS}.lollms_client.lollms_llm_binding",
    "lollms_client.lollms_types": f"{_SHIMS}.lollms_client.lollms_types",
    "lollms_client.lollms_utilities": f"{_SHIMS}.lollms_client.lollms_utilities",
}
"""What a legacy folder imports, and the module of ours that it gets. A dotted name needs its packages here too."""

_OF_ONE_FOLDER: dict[str, str] = {
    "ascii_colors": f"{_SHIMS}.ascii_colors",
    "pipmaster": f"{_SHIMS}.pipmaster",
}
"""Stand-ins that each folder has for itself, and the module whose ``stand_in(folder)`` makes them."""

_MARK = b"lollms_client"
_MAX_BYTES = 4 * 1024 * 1024

_open: dict[str, LegacyFolder] = {}


def is_mentioned(module: Path) -> bool:
    """Whether the module at this path speaks of lollms_client, in its first 4 MiB; one that cannot be read does not."""
    try:
        # Python imports regular files alone; and opening a pipe of that name would wait for its writer.
        if not module.is_file():
            return False
        with module.open("rb") as file:
            return _MARK in file.read(_MAX_BYTES)
    except OSError:
        return False


class LegacyFolder:
    """What the stand-ins of one folder need to know of it.

    Args:
        package: the private name that its modules have.
        path: the folder.

    Attributes:
        builtins: those that its modules run with.
        requirements: what it asked to have installed and is not there.
    """

    def __init__(self, package: str, path: Path) -> None:
        self.package = package
        self.path = path
        self.requirements = Requirements()
        self.builtins: dict[str, Any] = {**vars(builtins), "__import__": self._import, "print": self._print}
        self._log = logging.getLogger(f"{LOGGERS}.{path.name}")
        self._secrets = NO_SECRETS
        self._hiding = threading.Lock()
        self._own = {name: _maker(target)(self) for name, target in _OF_ONE_FOLDER.items()}

    def open(self) -> None:
        """Be found by :meth:`of` from now on."""
        _open[self.package] = self

    def close(self) -> None:
        """Undo :meth:`open`."""
        _open.pop(self.package, None)

    @staticmethod
    def of(module: str) -> LegacyFolder | None:
        """The folder that the module of this name is in."""
        return _open.get(module.partition(".")[0])

    @property
    def secrets(self) -> Secrets:
        """The keys that bindings of this folder were given."""
        return self._secrets

    def hide(self, secrets: Iterable[str]) -> None:
        """From now on show none of `secrets` in what this folder says."""
        with self._hiding:
            self._secrets = Secrets(self._secrets.union(secrets))

    def clean(self, text: str) -> str:
        """`text` without keys."""
        return scrub(text, self.secrets)

    def explain(self, reason: str) -> str:
        """`reason`, why something failed, after what is missing, if anything is."""
        return bounded(f"{self.requirements}; {reason}") if self.requirements else reason

    def say(self, level: int, text: object, *args: object) -> None:
        """Log `text`, without keys, as the folder's own; `args` are put in as logging does."""
        if not self._log.isEnabledFor(level):
            return
        line = str(text)
        if args:
            try:
                line %= args
            except (KeyError, TypeError, ValueError):
                line = " ".join([line, *map(str, args)])
        if line.strip():
            self._log.log(level, "%s", self.clean(line.strip()))

    def _print(self, *values: object, file: Any = None, sep: str | None = " ", **how: Any) -> None:
        """As ``print``, but without keys, and to stderr: what stdout gets is the application's business."""
        text = (" " if sep is None else sep).join(map(str, values))
        print(self.clean(text), file=sys.stderr if file is None else file, **how)

    def _import(
        self,
        name: str,
        globals: Mapping[str, object] | None = None,  # noqa: A002 - the names that __import__ has
        locals: Mapping[str, object] | None = None,  # noqa: A002
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        if not level and name in self._own:
            return self._own[name]
        if level or name not in STAND_INS:
            return builtins.__import__(name, globals, locals, fromlist or (), level)
        module = importlib.import_module(STAND_INS[name])
        if fromlist:
            return module
        # `import a.b` binds a, whose attribute b the statement then uses.
        return importlib.import_module(STAND_INS[name.partition(".")[0]])


def _maker(module: str) -> Callable[[LegacyFolder], ModuleType]:
    made: Callable[[LegacyFolder], ModuleType] = importlib.import_module(module).stand_in
    return made
