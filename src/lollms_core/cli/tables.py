"""Tables that fit the terminal: columns are shortened or left out, and no line is ever broken."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

__all__ = ["Column", "fitted"]

_GAP: Final = 2
_NOTHING: Final = "-"


@dataclass(frozen=True, slots=True)
class Column:
    """A column.

    Attributes:
        head: what stands above it.
        least: the width in cells below which it is not shortened; None if it is never.
        order: columns are left out in this order, the lowest first; 0 if it never is.
        tail: whether the end of a cell tells more than its middle, as that of a file's name.
    """

    head: str
    least: int | None = None
    order: int = 0
    tail: bool = False


def fitted(columns: Sequence[Column], rows: Iterable[Sequence[str]], width: int | None, mark: str = "…") -> list[str]:
    """The lines of a table, its heads first; the last column is not padded.

    Args:
        columns: what the columns are.
        rows: a cell for each, without line ends; "" is shown as ``-``.
        width: cells in a line; None for as many as it takes.
        mark: what stands for what was cut out, one cell wide.
    """
    lines = [[column.head for column in columns]]
    lines += [[cell or _NOTHING for cell in row] for row in rows]
    widths = [max(map(_cells, cells)) for cells in zip(*lines, strict=True)]
    kept = list(range(len(columns)))
    if width is not None:
        kept = _kept(columns, lines, widths, width)
        widths = _shortened(columns, widths, kept, width)
    shown = []
    for line in lines:
        cells = [_cut(line[at], widths[at], mark, tail=columns[at].tail) for at in kept]
        padded = [cell + " " * (widths[at] - _cells(cell)) for at, cell in zip(kept, cells, strict=True)]
        text = (" " * _GAP).join(padded).rstrip()
        shown.append(text if width is None else _cut(text, width, mark))
    return shown


def _least(column: Column, width: int) -> int:
    return width if column.least is None else min(width, max(column.least, _cells(column.head)))


def _kept(columns: Sequence[Column], lines: list[list[str]], widths: Sequence[int], width: int) -> list[int]:
    """The columns that fit when they are as short as may be; those that say nothing go first."""
    kept = list(range(len(columns)))
    empty = {at for at in kept if all(line[at] == _NOTHING for line in lines[1:])}
    leaving = sorted((at for at in kept if columns[at].order), key=lambda at: (at not in empty, columns[at].order))
    for at in leaving:
        if sum(_least(columns[one], widths[one]) for one in kept) + _GAP * (len(kept) - 1) <= width:
            break
        kept.remove(at)
    return kept


def _shortened(columns: Sequence[Column], widths: Sequence[int], kept: Sequence[int], width: int) -> list[int]:
    """The widths with which the `kept` columns fit; the longest is shortened first."""
    found = list(widths)
    over = sum(found[at] for at in kept) + _GAP * (len(kept) - 1) - width
    while over > 0:
        able = [at for at in kept if found[at] > _least(columns[at], widths[at])]
        if not able:
            break
        longest = max(able, key=lambda at: found[at])
        found[longest] -= 1
        over -= 1
    return found


def _cells(text: str) -> int:
    """Cells of a terminal that `text` takes: two for a wide character, none for one that combines."""
    if text.isascii():
        return len(text)
    return sum(_cell(character) for character in text)


def _cell(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) in {"Mn", "Me", "Cf"}:
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _cut(text: str, width: int, mark: str, *, tail: bool = False) -> str:
    """`text` in at most `width` cells."""
    if _cells(text) <= width:
        return text
    if width < 1:
        return ""
    behind = (width - 1) // 2 if tail else 0
    end = _begin(text[::-1], behind)[::-1]
    return _begin(text, width - 1 - _cells(end)) + mark + end


def _begin(text: str, width: int) -> str:
    taken, kept = 0, []
    for character in text:
        taken += _cell(character)
        if taken > width:
            break
        kept.append(character)
    return "".join(kept)
