"""What the ``--help`` of all commands has in common: examples at its end, and lines that fit a narrow terminal."""

from __future__ import annotations

import shutil
from typing import Any

import click

__all__ = ["LollmsContext", "examples"]

_WIDEST = 80
_NARROWEST = 20


def examples(*commands: str) -> str:
    """Commands, a line each, for the ``epilog`` of a command."""
    return "\b\nExamples:\n" + "".join(f"  {command}\n" for command in commands)


class _Formatter(click.HelpFormatter):
    """One that goes below click's 50 columns, and leaves the right column room."""

    def __init__(self, indent_increment: int = 2, width: int | None = None, max_width: int | None = None) -> None:
        columns = shutil.get_terminal_size().columns
        super().__init__(indent_increment, width or max(min(columns, max_width or _WIDEST) - 2, _NARROWEST), max_width)

    def write_dl(self, rows: Any, col_max: int = 30, col_spacing: int = 2) -> None:
        super().write_dl(rows, min(col_max, self.width // 2), col_spacing)


class LollmsContext(click.Context):
    """The context of our commands."""

    formatter_class = _Formatter
