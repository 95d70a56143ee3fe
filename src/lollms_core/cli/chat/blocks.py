"""Markdown that is still being written, cut into blocks: those that are finished, and the one that is not.

A finished block never changes again, so it can be printed for good. The cuts are those of CommonMark
(https://spec.commonmark.org/0.31.2/) as far as one line tells them; each item of a list counts as a block, since lists
are long. What such cuts cannot have is a link whose address stands in another block.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

__all__ = ["Block", "Blocks"]

Kind = Literal["text", "item", "fence"]

_FENCE: Final = re.compile(r"( {0,3})(`{3,}(?=[^`]*$)|~{3,})\s*([^\s`]*)")
_HEADING: Final = re.compile(r" {0,3}#{1,6}(\s|$)")
_RULE: Final = re.compile(r" {0,3}([-_*])[ \t]*(\1[ \t]*){2,}$")
_UNDERLINE: Final = re.compile(r" {0,3}(=+|-+)\s*$")
_ITEM: Final = re.compile(r" ?([-*+]|(\d{1,9})[.)])([ \t]+\S|\s*$)")


@dataclass(frozen=True, slots=True)
class Block:
    """A piece of Markdown that can be rendered by itself.

    Attributes:
        kind: "fence" is a block of code, without the lines of its fences in `text`; "item" one item of a list.
        text: its source.
        apart: whether a blank line stands before it.
        language: what the fence names, "" if nothing.
    """

    kind: Kind
    text: str
    apart: bool
    language: str = ""


class Blocks:
    """Takes the text as it comes, in pieces cut anywhere."""

    def __init__(self) -> None:
        self._partial = ""  # the last line, as long as it has no end
        self._lines: list[str] = []
        self._kind: Kind = "text"
        self._fence: re.Match[str] | None = None
        self._blank = False  # the item's last line is blank
        self._numbered = False  # the item is one of an ordered list
        self._before: tuple[Kind, bool] | None = None  # what the block before is
        self._finished: list[Block] = []

    def feed(self, text: str) -> list[Block]:
        """The blocks that are finished now that `text` has come."""
        *lines, self._partial = (self._partial + text).split("\n")
        for line in lines:
            self._take(line)
        finished, self._finished = self._finished, []
        return finished

    def end(self) -> list[Block]:
        """The blocks that are left when nothing more comes."""
        finished = self.feed("\n") if self._partial else []
        self._finish()
        finished += self._finished
        self._finished = []
        return finished

    @property
    def open(self) -> Block | None:
        """The block that is not finished, as it is now; None between two blocks."""
        lines = [*self._lines, self._partial] if self._partial else self._lines
        return self._block(lines) if lines or self._fence else None

    def _take(self, line: str) -> None:
        if self._fence is not None:
            self._in_fence(line, self._fence)
        elif not line.strip():
            self._at_blank()
        elif self._kind == "item" and self._lines and self._goes_on(line):
            self._lines.append(line)
            self._blank = False
        else:
            self._in_text(line)

    def _in_fence(self, line: str, fence: re.Match[str]) -> None:
        mark = fence[2]
        closing = line.strip()
        if closing.startswith(mark) and not closing.strip(mark[0]) and len(line) - len(line.lstrip()) <= 3:
            self._finish()
        else:
            indent = min(len(fence[1]), len(line) - len(line.lstrip(" ")))
            self._lines.append(line[indent:])

    def _at_blank(self) -> None:
        if self._kind == "item" and self._lines:
            self._lines.append("")
            self._blank = True
        else:
            self._finish()

    def _goes_on(self, line: str) -> bool:
        """Whether the item has this line too; one without indentation only if it goes on with a paragraph."""
        if line.startswith(("  ", "\t")):
            return True
        return not (self._blank or _ITEM.match(line) or _FENCE.match(line) or _HEADING.match(line) or _RULE.match(line))

    def _in_text(self, line: str) -> None:
        paragraph = bool(self._lines) and self._kind == "text"
        if paragraph and _UNDERLINE.match(line):
            self._lines.append(line)
            self._finish()
        elif fence := _FENCE.match(line):
            self._finish()
            self._fence, self._kind = fence, "fence"
        elif _HEADING.match(line) or _RULE.match(line):
            self._finish()
            self._lines = [line]
            self._finish()
        elif (item := _ITEM.match(line)) and not (paragraph and (item[2] not in (None, "1") or not item[3].strip())):
            self._finish()
            self._lines, self._kind, self._numbered = [line], "item", item[2] is not None
        else:
            if not paragraph:
                self._finish()
            self._lines.append(line)

    def _finish(self) -> None:
        if self._lines or self._fence:
            while self._kind == "item" and not self._lines[-1]:
                self._lines.pop()
            self._finished.append(self._block(self._lines))
            self._before = (self._kind, self._numbered)
        self._lines, self._kind, self._fence, self._blank = [], "text", None, False

    def _block(self, lines: list[str]) -> Block:
        same_list = self._kind == "item" and self._before == ("item", self._numbered)
        apart = self._before is not None and not same_list
        return Block(self._kind, "\n".join(lines), apart, self._fence[3] if self._fence else "")
