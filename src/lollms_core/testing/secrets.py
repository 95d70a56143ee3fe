"""Where a key could come to light: log records, warnings, errors, and the locals in a traceback's text."""

from __future__ import annotations

import logging
import traceback
import warnings
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Final, Self

__all__ = ["MARKER", "SecretWatch", "packages_of"]

MARKER: Final = "sk-marker-5f0b1c77d2"
"""A key to look for."""


def packages_of(thing: object) -> set[str]:
    """The top-level packages of an object's class and of the classes that it is built on."""
    return {cls.__module__.partition(".")[0] for cls in type(thing).__mro__}


class _Handler(logging.Handler):
    def __init__(self, records: list[str]) -> None:
        super().__init__(logging.DEBUG)
        self._records = records
        self.retries = 0
        self.setFormatter(logging.Formatter("%(name)s %(levelname)s %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        text = self.format(record)
        self._records.append(f"{text} {record.args!r}")
        self.retries += record.name == "lollms_core.retry" and record.levelno == logging.INFO


class SecretWatch:
    """Collects what is logged, at every level, and what is warned of, as a context manager.

    Args:
        packages: the top-level packages whose frames' locals must not show the key.
        secret: the key.
    """

    def __init__(self, *packages: str, secret: str = MARKER) -> None:
        self._packages = {"lollms_core", *packages}
        self._secret = secret
        self._records: list[str] = []
        self._handler = _Handler(self._records)
        self._level = logging.NOTSET
        self._warnings = warnings.catch_warnings(record=True)
        self._warned: list[warnings.WarningMessage] = []

    @property
    def retries(self) -> int:
        """How many retries were told at INFO."""
        return self._handler.retries

    def __enter__(self) -> Self:
        root = logging.getLogger()
        self._level = root.level
        root.setLevel(logging.DEBUG)
        root.addHandler(self._handler)
        self._warned = self._warnings.__enter__() or []
        warnings.simplefilter("always")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, place: TracebackType | None
    ) -> None:
        self._warnings.__exit__(kind, exc, place)
        root = logging.getLogger()
        root.removeHandler(self._handler)
        root.setLevel(self._level)

    def found(self, *things: Any) -> list[str]:
        """Where the key shows: in the records and warnings so far, and in the reprs of `things`.

        Exceptions are looked at with their causes, their arguments and the locals of the packages' frames.
        """
        texts = [*self._records, *(f"warning: {one.message}" for one in self._warned)]
        for thing in things:
            texts += _texts_of(thing, self._packages) if isinstance(thing, BaseException) else [repr(thing), str(thing)]
        return [_around(text, self._secret) for text in texts if self._secret in text]


def _texts_of(exc: BaseException, packages: set[str], depth: int = 0) -> Iterator[str]:
    yield f"{type(exc).__name__}: {exc} {exc!r} {exc.args!r} {vars(exc)!r}"
    yield "".join(traceback.format_exception(exc))
    for frame, line in traceback.walk_tb(exc.__traceback__):
        module = str(frame.f_globals.get("__name__", ""))
        if module.partition(".")[0] in packages and not module.startswith("lollms_core.testing"):
            for name, value in frame.f_locals.items():
                yield f"local {name} of {module}:{line}: {value!r}"
    if depth < 10:
        for other in (exc.__cause__, exc.__context__):
            if other is not None:
                yield from _texts_of(other, packages, depth + 1)


def _around(text: str, secret: str) -> str:
    place = text.index(secret)
    return text[max(0, place - 200) : place + len(secret) + 40]
