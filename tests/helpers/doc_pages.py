"""The code blocks of the documentation, as tests/docs runs them.

What an author of a page has to know:

- The blocks of a page run in their order, in one directory and, the Python ones, in one namespace. A block under
  ``<!-- anew -->`` starts both anew.
- A block whose first line is a comment with a file's name, as ``# src/lollms_shout/__init__.py``, is that file.
- A ``text`` block right after another is what that one prints; ``...`` stands for anything.
- A block under ``<!-- not run: reason -->`` is only checked for its syntax. There should be few.
- Shell blocks are ``sh``, without prompts. No block is indented: an indented one has no language.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from markdown_it import MarkdownIt

__all__ = ["ROOT", "Block", "Run", "blocks_of", "pages", "runs_of"]

ROOT: Final = Path(__file__).parents[2]

_FILE: Final = re.compile(r"# ([\w.-]+/)*[\w-]*\.\w+")
_MARKER: Final = re.compile(r"<!-- (?P<name>anew|not run)(: (?P<reason>.*?))? -->")


@dataclass(frozen=True, slots=True)
class Block:
    """A code block.

    Attributes:
        page: the page's path from the repository's root.
        line: where its first line of code stands, from 1.
        language: "" if it has none.
        text: the code.
        anew: whether it starts a directory and a namespace of its own.
        not_run: why it can't run, None if it can.
        expected: what it prints; None if the page does not say so.
    """

    page: str
    line: int
    language: str
    text: str
    anew: bool = False
    not_run: str | None = None
    expected: str | None = None

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def file(self) -> str | None:
        """The file that the block is, None if it is none."""
        first = self.text.partition("\n")[0]
        return first[2:] if self.language != "sh" and _FILE.fullmatch(first) else None


@dataclass(frozen=True, slots=True)
class Run:
    """The blocks of a page that run together."""

    blocks: tuple[Block, ...]

    def __str__(self) -> str:
        return str(self.blocks[0])


def pages() -> list[Path]:
    """The pages whose blocks are looked at: the site's and those that an index shows of each distribution."""
    found = [ROOT / "README.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("plugins/*/README.md")]
    return sorted([*found, *ROOT.glob("examples/*/README.md")])


def blocks_of(page: Path) -> list[Block]:
    """The code blocks of a page in their order; not the directives of the site's tool, which are no code."""
    name = page.relative_to(ROOT).as_posix()
    found: list[Block] = []
    marks: dict[str, str] = {}
    follows = False  # whether the token before is a block
    for token in MarkdownIt().parse(page.read_text(encoding="utf-8")):
        language = token.info.strip().partition(" ")[0]
        mark = _MARKER.fullmatch(token.content.strip()) if token.type == "html_block" else None
        if mark is not None:
            marks[mark["name"]] = mark["reason"] or ""
            follows = False
            continue
        is_block = token.type in ("fence", "code_block") and not language.startswith("{")
        if is_block and language == "text" and follows and not marks:
            found[-1] = replace(found[-1], expected=token.content)
            is_block = False
        elif is_block:
            line = (token.map or [0])[0] + (2 if token.type == "fence" else 1)
            found.append(Block(name, line, language, token.content, "anew" in marks, marks.get("not run")))
        marks = {}  # what stands right before a block belongs to it, and to no other
        follows = is_block
    return found


def runs_of(page: Path) -> Iterator[Run]:
    """The blocks of a page that can run, those together that run together."""
    together: list[Block] = []
    for block in blocks_of(page):
        if block.anew and together:
            yield Run(tuple(together))
            together = []
        together.append(block)
    if together:
        yield Run(tuple(together))
