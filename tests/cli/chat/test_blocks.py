"""Where Markdown is cut: the same blocks however the text comes, and never one that goes on later."""

from __future__ import annotations

import pytest

from lollms_core.cli.chat.blocks import Block, Blocks


def blocks(text: str, size: int = 10_000) -> list[Block]:
    """The blocks of a text that comes in pieces of `size`."""
    taker = Blocks()
    found = [block for start in range(0, len(text), size) for block in taker.feed(text[start : start + size])]
    return found + taker.end()


ALL = """Text
goes on

# Heading
right after
- one
  more

  of it
- two
lazily
    - inner

* three

Apart
1. first
2. second
  ```
  in it
  ```

```py
a = 1

- no item
```
Under
-----
***
~~~
```
~~~~
> quote
> more

- - -
5) five
"""

PIECES = [
    ("text", "Text\ngoes on"),
    ("text", "# Heading"),
    ("text", "right after"),
    ("item", "- one\n  more\n\n  of it"),
    ("item", "- two\nlazily\n    - inner"),
    ("item", "* three"),
    ("text", "Apart"),
    ("item", "1. first"),
    ("item", "2. second\n  ```\n  in it\n  ```"),
    ("fence", "a = 1\n\n- no item"),
    ("text", "Under\n-----"),
    ("text", "***"),
    ("fence", "```"),
    ("text", "> quote\n> more"),
    ("text", "- - -"),
    ("item", "5) five"),
]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 10_000])
def test_the_blocks_are_the_same_however_the_text_comes(size: int) -> None:
    assert [(block.kind, block.text) for block in blocks(ALL, size)] == PIECES


def test_items_of_one_list_stand_together() -> None:
    """All else is apart, another list too; nothing stands apart from what is not there."""
    assert [block.apart for block in blocks("- a\n- b\n\n- c\n\n1. d\n2. e\n\nf\n")] == [
        False, False, False, True, False, True,
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        "a paragraph\n2. whose line begins with a number",
        "-no item",
        "`code` in a line",
        "``` not `a fence",
        "#hashtag",
        "**bold\nover lines**",
        "| a | b |\n|---|---|\n| 1 | 2 |",
    ],
)
def test_what_is_no_cut(text: str) -> None:
    assert [block.text for block in blocks(text)] == [text]


def test_a_fence_ends_with_its_own_mark_alone() -> None:
    """And without one at the end of the answer; its lines lose the indentation of the fence."""
    found = blocks("  ````md x\n  a\n ```\n b\n````\n~~~\nopen")
    assert found == [Block("fence", "a\n```\nb", False, "md"), Block("fence", "open", True)]


def test_the_open_block_is_there_as_it_comes() -> None:
    taker = Blocks()
    taker.feed("a\nb")
    assert taker.open == Block("text", "a\nb", False)
    assert taker.feed("\n\n```py\n") == [Block("text", "a\nb", False)]
    assert taker.open == Block("fence", "", True, "py")
    taker.feed("x = ")
    assert taker.open == Block("fence", "x = ", True, "py")
    assert taker.feed("1\n```\n") == [Block("fence", "x = 1", True, "py")]
    assert [taker.open, *taker.end()] == [None]


def test_blank_lines_alone_are_nothing() -> None:
    assert blocks("\n \n\t\n\n") == []
