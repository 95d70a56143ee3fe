"""Answers on a screen: what is there in the end does not depend on how the text came."""

from __future__ import annotations

import io
import random

import pyte
import pytest
from rich.console import Console

from lollms_core.cli.chat.rendering import Answer
from lollms_core.events import Event, ReasoningDelta, TextDelta, ToolCall

from .test_blocks import ALL


class Screen(io.StringIO):
    """What a terminal shows of what is written to it; `drawn` counts the characters."""

    def __init__(self, columns: int, rows: int) -> None:
        super().__init__()
        self._screen = pyte.HistoryScreen(columns, rows, history=10_000)
        self._stream = pyte.Stream(self._screen)
        self.drawn = 0

    def write(self, text: str) -> int:
        self.drawn += len(text)
        self._stream.feed(text.replace("\n", "\r\n"))
        return len(text)

    def isatty(self) -> bool:
        return True

    @property
    def lines(self) -> list[str]:
        gone = ["".join(line[x].data for x in range(self._screen.columns)) for line in self._screen.history.top]
        return "\n".join(line.rstrip() for line in [*gone, *self._screen.display]).rstrip("\n").split("\n")

    @property
    def cursor(self) -> tuple[int, bool]:
        """Its column, and whether it is to be seen."""
        return self._screen.cursor.x, not self._screen.cursor.hidden


def show(*events: Event, columns: int = 40, rows: int = 10) -> Screen:
    """The screen after an answer of these events, each of them drawn."""
    screen = Screen(columns, rows)
    console = Console(
        file=screen, force_terminal=True, width=columns, height=rows, color_system="standard", legacy_windows=False
    )
    seconds = iter(range(1_000_000))
    with Answer(console, lambda: next(seconds)) as answer:
        for event in events:
            answer.show(event)
    assert screen.cursor == (0, True)
    return screen


def in_pieces(text: str, size: int, chance: random.Random) -> list[Event]:
    pieces: list[Event] = []
    while text:
        length = chance.randint(1, size)
        pieces.append(TextDelta(text[:length]))
        text = text[length:]
    return pieces


EXTRA = """
| a | b |
|---|---|
| 1 | `2` |

A paragraph that has **bold words, which go on beyond the end of its line**, and a [link](https://example.org) in it.

```python
def f():
    '''A text
    of two lines.'''
    return "a line of code that is longer than the screen is wide"
"""


@pytest.mark.parametrize("rows", [4, 50])
@pytest.mark.parametrize("size", [1, 5, 60])
def test_the_screen_is_the_same_however_the_text_comes(rows: int, size: int) -> None:
    """Also where it is lower than what is being written."""
    text = ALL + EXTRA
    whole = show(TextDelta(text), rows=rows).lines
    chance = random.Random(size)  # noqa: S311 - the same on every run
    assert show(*in_pieces(text, size, chance), rows=rows).lines == whole
    assert "  def f():" in whole
    assert "link (https://example.org) in it." in "\n".join(whole)


def test_a_long_block_costs_no_more_than_the_screen_holds() -> None:
    """Of a fence, each line is drawn once or twice; of a paragraph, as much as the screen has room for."""
    code = show(TextDelta("```\n"), *(TextDelta(f"line {number}\n") for number in range(1000)), TextDelta("```\n"))
    assert [line.strip() for line in code.lines] == [f"line {number}" for number in range(1000)]
    assert code.drawn < 1000 * 100
    words = show(*(TextDelta(f"word{number} ") for number in range(500)))
    assert " ".join(words.lines).split() == [f"word{number}" for number in range(500)]
    assert words.drawn < 500 * 10 * 60


def test_lines_are_not_padded() -> None:
    """Who copies them wants no blanks."""
    screen = io.StringIO()
    with Answer(Console(file=screen, force_terminal=True, width=40, color_system=None)) as answer:
        answer.show(TextDelta("# Head\n\ntext\n\n```\ncode\n```\n\n- item\n"))
    printed = [line for line in screen.getvalue().split("\n") if "\x1b" not in line]
    assert all(line == line.rstrip() for line in printed)
    assert "  code" in printed


def test_thinking_stands_apart_and_no_markdown_is_seen_in_it() -> None:
    events = [
        ReasoningDelta("*hm"),
        ReasoningDelta("m*\n"),
        TextDelta("so\n\nit is"),
        ReasoningDelta("?"),
        TextDelta("yes"),
    ]
    assert show(*events).lines == ["*hmm*", "", "so", "", "it is", "?", "", "yes"]


def test_a_call_is_one_line_cut_short() -> None:
    call = ToolCall("1", "look", '{"what":\n "' + "x" * 500 + '\x1b[2J"}')
    lines = show(TextDelta("Let me see"), call, TextDelta("There."), columns=300).lines
    assert lines == ["Let me see", 'look({"what": "' + "x" * 190 + "...)", "There."]


def test_an_interrupt_leaves_what_came() -> None:
    """And the cursor, which is hidden while something is drawn anew."""
    screen = Screen(40, 10)
    console = Console(file=screen, force_terminal=True, width=40, height=10)

    def interrupted() -> None:
        with Answer(console) as answer:
            answer.show(TextDelta("so *far*"))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert screen.lines == ["so far"]
    assert screen.cursor == (0, True)


def test_words_of_no_style_or_emoji_are_as_they_are() -> None:
    assert show(TextDelta("[bold]a[/bold] :smile: https://example.org")).lines == [
        "[bold]a[/bold] :smile:",
        "https://example.org",
    ]
