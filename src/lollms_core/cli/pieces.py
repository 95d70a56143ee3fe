"""The text that each token stands for, and how it is shown."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

__all__ = ["Piece", "coloured", "pieces_of", "quoted"]

_INCOMPLETE: Final = "\ufffd"
_LONGEST_GROUP: Final = 16
"""Tokens that one character, or what a person sees as one, may take; emoji of several people take the most."""

_STYLES: Final = ("\x1b[97;44m", "\x1b[97;42m", "\x1b[97;45m", "\x1b[97;100m")
_PLAIN: Final = "\x1b[0m"


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a text.

    Attributes:
        tokens: its tokens; several where a character is made of several.
        text: what it is.
    """

    tokens: tuple[Any, ...]
    text: str


def pieces_of(text: str, tokens: Sequence[Any], detokenize: Callable[[list[Any]], str]) -> list[Piece]:
    """The parts of `text` that `tokens` stand for, in their order.

    Args:
        text: what was tokenized.
        tokens: what it gave.
        detokenize: the text of some of them; a token of a part of a character gives U+FFFD.
    """
    aligned = _aligned(text, tokens, detokenize)
    return _grouped(tokens, detokenize) if aligned is None else aligned


def _aligned(text: str, tokens: Sequence[Any], detokenize: Callable[[list[Any]], str]) -> list[Piece] | None:
    """Along the text; None for a tokenizer that changes it (to lower case, say)."""
    pieces: list[Piece] = []
    group: list[Any] = []
    place = 0
    for token in tokens:
        group.append(token)
        found = detokenize(list(group))
        # Some tokenizers take away a text's first blank, which here is one within the text.
        for part in (found, f" {found}"):
            if part and text.startswith(part, place):
                pieces.append(Piece(tuple(group), part))
                group, place = [], place + len(part)
                break
        if len(group) > _LONGEST_GROUP:
            return None
    return pieces if place == len(text) and not group else None


def _grouped(tokens: Sequence[Any], detokenize: Callable[[list[Any]], str]) -> list[Piece]:
    """By the tokens alone."""
    pieces: list[Piece] = []
    group: list[Any] = []
    for token in tokens:
        group.append(token)
        found = detokenize(list(group))
        if not found.endswith(_INCOMPLETE) or len(group) >= _LONGEST_GROUP:
            pieces.append(Piece(tuple(group), found))
            group = []
    if group:
        pieces.append(Piece(tuple(group), detokenize(group)))
    return pieces


def quoted(text: str) -> str:
    """`text` in quotes, what cannot be printed written as JSON does."""
    inner = "".join(_visible(character) for character in json.dumps(text, ensure_ascii=False)[1:-1])
    return f'"{inner}"'


def coloured(pieces: Sequence[Piece]) -> str:
    """`pieces` on a terminal, each in another style than its neighbours; what cannot be printed is written out."""
    shown = []
    for number, piece in enumerate(pieces):
        style = _STYLES[number % len(_STYLES)]
        # A line end is shown, and is one; the style ends before it, else it would fill the rest of the line.
        lines = piece.text.split("\n")
        parts = [f"{style}{_escaped(line)}\\n{_PLAIN}" for line in lines[:-1]]
        parts += [f"{style}{_escaped(lines[-1])}{_PLAIN}"] if lines[-1] or not lines[:-1] else [""]
        shown.append("\n".join(parts))
    return "".join(shown)


def _escaped(text: str) -> str:
    return "".join({"\t": "\\t", "\r": "\\r"}.get(character) or _visible(character) for character in text)


def _visible(character: str) -> str:
    """A character, or, where it would not be seen or move the cursor, its number."""
    return character if character.isprintable() else json.dumps(character)[1:-1]
