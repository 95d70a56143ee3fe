"""Stands for ``ascii_colors``: what a folder would print goes to its logger, without keys."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import TYPE_CHECKING, Any

from lollms_core.discovery.reports import one_line

if TYPE_CHECKING:
    from lollms_core.discovery.legacy.folder import LegacyFolder

__all__ = ["stand_in"]

_LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "critical": logging.CRITICAL,
    "fail": logging.ERROR,
    **dict.fromkeys(
        (
            *("success", "message", "red", "green", "yellow", "blue", "magenta", "purple", "cyan", "white", "orange"),
            *("gray", "lightgray", "bold", "dim", "italic"),
        ),
        logging.INFO,
    ),
}

_COLOURS = ("black", "red", "green", "yellow", "blue", "magenta", "cyan", "white", "orange")
# A log has no colours: every code is empty.
_CODES = dict.fromkeys(
    (
        *("RESET", "BOLD", "color_reset", "style_bold", "style_dim", "style_italic", "style_underline"),
        *map(str.upper, _COLOURS),
        *(f"color_{name}" for name in _COLOURS),
        *(f"color_bright_{name}" for name in _COLOURS),
    ),
    "",
)


def stand_in(folder: LegacyFolder) -> ModuleType:
    """The module that `folder` gets."""

    def at(level: int) -> Callable[..., None]:
        def write(text: object = "", *args: object, **_: Any) -> None:
            folder.say(level, text, *args)

        return write

    def show(text: object = "", *_: object, **__: Any) -> None:
        folder.say(logging.INFO, text)  # what else is given is colour, style and the like

    def table(*headers: object, rows: Iterable[Iterable[object]] = (), title: str = "", **_: Any) -> None:
        for row in ([title], headers, *rows):
            folder.say(logging.INFO, " | ".join(map(str, row)))

    def get_trace_exception(ex: BaseException, *_: Any, **__: Any) -> str:
        return folder.clean("".join(traceback.format_exception(ex)))

    def trace_exception(ex: BaseException, *_: Any, **__: Any) -> None:
        folder.say(logging.ERROR, one_line(ex, folder.secrets))
        folder.say(logging.DEBUG, get_trace_exception(ex))

    writers = {name: at(level) for name, level in _LEVELS.items()}
    functions = {name: staticmethod(function) for name, function in {**writers, "print": show, "table": table}.items()}
    module = ModuleType("ascii_colors", __doc__)
    vars(module).update(
        ASCIIColors=type("ASCIIColors", (), {"__doc__": __doc__, **_CODES, **functions}),
        get_trace_exception=get_trace_exception,
        trace_exception=trace_exception,
    )
    return module
