"""Strings: their characters as JSON writes them, lengths, formats, and keys that are not others."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from lollms_llamacpp.grammar.nodes import EMPTY, Chars, Choice, Literal, Node, Repeat, Rule, Rules, run
from lollms_llamacpp.grammar.ranges import Ranges

__all__ = ["FORMATS", "any_string", "character", "json_text", "other_keys", "string_of", "without"]

PLAIN: Final[Ranges] = ((0x20, 0x21), (0x23, 0x5B), (0x5D, 0xD7FF), (0xE000, 0x10FFFF))
"""Characters that may stand for themselves within a JSON string (RFC 8259, section 7), without surrogates."""

_QUOTE: Final = Literal('"')
_HEX: Final = Chars(((0x30, 0x39), (0x41, 0x46), (0x61, 0x66)))
_DIGIT: Final = Chars(((0x30, 0x39),))


def character(rules: Rules) -> Rule:
    """Any character of a JSON string, once: an escaped one counts as one, two that are a surrogate pair as well."""
    d = Chars(((0x44, 0x44), (0x64, 0x64)))
    below_d = Chars(((0x30, 0x39), (0x41, 0x43), (0x45, 0x46), (0x61, 0x63), (0x65, 0x66)))
    pair = run(
        Chars(((0x38, 0x39), (0x41, 0x42), (0x61, 0x62))),
        Repeat(_HEX, 2, 2),
        Literal("\\u"),
        d,
        Chars(((0x43, 0x46), (0x63, 0x66))),
        Repeat(_HEX, 2, 2),
    )
    after_d = rules.share(Choice((run(Chars(((0x30, 0x37),)), Repeat(_HEX, 2, 2)), pair)))
    code = rules.share(Choice((run(below_d, Repeat(_HEX, 3, 3)), run(d, after_d))))
    short = Chars(tuple((ord(char), ord(char)) for char in '"/\\bfnrt'))
    escape = rules.share(Choice((short, run(Literal("u"), code))))
    return rules.share(Choice((Chars(PLAIN), run(Literal("\\"), escape))))


def any_string(rules: Rules, low: int = 0, high: int | None = None) -> Node:
    """A string of `low` to `high` characters."""
    return run(_QUOTE, rules.repeat(character(rules), low, high), _QUOTE)


def json_text(value: Any) -> Node:
    """The JSON text of `value`, with the blanks of ``json.dumps``; other than ASCII plain or escaped.

    Raises:
        ValueError: JSON has no form for it.
    """
    if isinstance(value, str):
        return run(_QUOTE, *(_written(char) for char in value), _QUOTE)
    if isinstance(value, Mapping):
        parts: list[Node] = []
        for key, one in value.items():
            parts += [Literal(", " if parts else ""), json_text(str(key)), Literal(": "), json_text(one)]
        return run(Literal("{"), *parts, Literal("}"))
    if isinstance(value, Sequence):
        items: list[Node] = []
        for one in value:
            items += [Literal(", " if items else ""), json_text(one)]
        return run(Literal("["), *items, Literal("]"))
    try:
        return Literal(json.dumps(value, allow_nan=False))
    except TypeError as error:
        raise ValueError(str(error)) from error


def _written(char: str) -> Node:
    if char.isascii():
        return Literal(json.dumps(char)[1:-1])
    escaped = Literal(json.dumps(char)[1:-1])
    if 0xD800 <= ord(char) <= 0xDFFF:
        return escaped  # a lone surrogate has no other form
    # A vocabulary may lack the bytes of a character; it has those of the escaped form.
    return Choice((Literal(char), escaped))


def without(ranges: Iterable[tuple[int, int]], codes: Iterable[int]) -> Ranges:
    """`ranges` without some code points."""
    left = list(ranges)
    for code in codes:
        kept: list[tuple[int, int]] = []
        for low, high in left:
            if low <= code <= high:
                kept += [(low, code - 1)] if low < code else []
                kept += [(code + 1, high)] if code < high else []
            else:
                kept.append((low, high))
        left = kept
    return tuple(left)


def other_keys(rules: Rules, keys: Iterable[str]) -> Node:
    """Any string that is none of `keys`.

    As long as it is like the beginning of one of them, it has no escapes but theirs, which could write it otherwise.
    """
    trie: dict[str, Any] = {}
    for key in keys:
        place = trie
        for char in key:
            place = place.setdefault(json.dumps(char, ensure_ascii=False)[1:-1], {})
        place[""] = {}
    return run(_QUOTE, _not_in(rules, trie)) if trie else any_string(rules)


def _not_in(rules: Rules, trie: Mapping[str, Any]) -> Node:
    rest = rules.share(run(rules.repeat(character(rules), 0, None), _QUOTE))
    children = {text: below for text, below in trie.items() if text}
    options: list[Node] = [
        run(Chars(without(PLAIN, (ord(text) for text in children if len(text) == 1))), rest),
        *(run(Literal(text), _not_in(rules, below)) for text, below in children.items()),
    ]
    if "" not in trie:
        options.append(_QUOTE)
    return rules.share(rules.choice(options))


def string_of(content: Node) -> Node:
    """The string whose characters are `content`."""
    return run(_QUOTE, content, _QUOTE)


# Formats ----------------------------------------------------------------------------------------------


def _digits(text: str) -> Node:
    """`text` with "d" for any digit and "0-5" between brackets for some."""
    parts: list[Node] = []
    at = 0
    while at < len(text):
        if text[at] == "d":
            parts.append(_DIGIT)
            at += 1
        elif text[at] == "[":
            low, high = text[at + 1], text[at + 3]
            parts.append(Chars(((ord(low), ord(high)),)))
            at += 5
        else:
            parts.append(Literal(text[at]))
            at += 1
    return run(*parts)


def _one_of(rules: Rules, *texts: str) -> Rule:
    return rules.share(Choice(tuple(_digits(text) for text in texts)))


def _date(rules: Rules) -> Node:
    """A day of the calendar (RFC 3339, full-date), from the year 1 on."""
    year = _one_of(rules, "000[1-9]", "00[1-9]d", "0[1-9]dd", "[1-9]ddd")
    days = _one_of(rules, "0[1-9]", "1d", "2[0-8]")
    up_to_30 = rules.share(Choice((days, Literal("29"), Literal("30"))))
    up_to_31 = rules.share(Choice((up_to_30, Literal("31"))))
    long_month = _one_of(rules, "01", "03", "05", "07", "08", "10", "12")
    short_month = _one_of(rules, "04", "06", "09", "11")
    month_and_day = rules.share(
        Choice(
            (
                run(long_month, Literal("-"), up_to_31),
                run(short_month, Literal("-"), up_to_30),
                run(Literal("02-"), days),
            )
        )
    )
    fours = [f"{number:02}" for number in range(4, 100, 4)]
    not_zero = _one_of(rules, *fours)
    leap_year = rules.share(Choice((run(_DIGIT, _DIGIT, not_zero), run(not_zero, Literal("00")))))
    return Choice((run(year, Literal("-"), month_and_day), run(leap_year, Literal("-02-29"))))


def _time(rules: Rules) -> Node:
    """RFC 3339, full-time, without leap seconds."""
    hour = _one_of(rules, "[0-1]d", "2[0-3]")
    minute = _digits("[0-5]d")
    fraction = rules.share(Choice((run(Literal("."), Repeat(_DIGIT, 1, 6)), EMPTY)))
    signed = run(Chars(((0x2B, 0x2B), (0x2D, 0x2D))), hour, Literal(":"), minute)
    offset = rules.share(Choice((Literal("Z"), signed)))
    return run(hour, Literal(":"), minute, Literal(":"), minute, fraction, offset)


def _uuid(_: Rules) -> Node:
    parts: list[Node] = []
    for length in (8, 4, 4, 4, 12):
        parts += [Literal("-" if parts else ""), Repeat(_HEX, length, length)]
    return run(*parts)


FORMATS: Final = {
    "date": _date,
    "time": _time,
    "date-time": lambda rules: run(rules.share(_date(rules)), Literal("T"), rules.share(_time(rules))),
    "uuid": _uuid,
}
"""What a string of this format is made of, without its quotes."""
