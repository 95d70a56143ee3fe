"""How the program ends; with as few imports as that takes, because ``lollms --version`` needs no more."""

from __future__ import annotations

import contextlib
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

__all__ = ["leave", "reader_left"]


def reader_left() -> None:
    """Take the rest of the output quietly: whoever read stdout has closed it."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def leave(code: int, text: str = "") -> NoReturn:
    """Exit, with everything written, `text` last; a reader who has left is no error."""
    try:
        if sys.stdout is not None:
            sys.stdout.write(text)
            sys.stdout.flush()
    except BrokenPipeError:
        reader_left()
    sys.exit(code)
