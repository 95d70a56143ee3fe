"""Regular expressions of JSON Schema as grammars, as far as they are regular and simple."""

from __future__ import annotations

from typing import Final

from lollms_llamacpp.grammar.machine import grammar_fault
from lollms_llamacpp.grammar.nodes import EMPTY, Chars, Choice, Literal, Node, Repeat, Rule, Rules, Run, run
from lollms_llamacpp.grammar.ranges import Ranges, minus, within
from lollms_llamacpp.grammar.strings import PLAIN, character

__all__ = ["pattern"]

_MOST_LENGTH: Final = 500
_MOST_REPEATS: Final = 200
_ALL: Final[Ranges] = ((0, 0xD7FF), (0xE000, 0x10FFFF))
_ASCII: Final[Ranges] = ((0x20, 0x7E),)
# Of the Unicode characters that they mean only ASCII's: fewer texts, all of them right.
_CLASSES: Final[dict[str, Ranges]] = {
    "d": ((0x30, 0x39),),
    "w": ((0x30, 0x39), (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A)),
    "s": ((0x09, 0x0A), (0x20, 0x20)),
}
_NOT: Final[dict[str, Ranges]] = {
    "D": ((0x20, 0x2F), (0x3A, 0x7E)),
    "W": ((0x20, 0x2F), (0x3A, 0x40), (0x5B, 0x5E), (0x60, 0x60), (0x7B, 0x7E)),
    "S": ((0x21, 0x7E),),
}
_CONTROLS: Final = {"t": 0x09, "n": 0x0A, "r": 0x0D, "f": 0x0C, "v": 0x0B}
_SHORT_ESCAPES: Final = {0x22: '"', 0x5C: "\\", 0x08: "b", 0x0C: "f", 0x0A: "n", 0x0D: "r", 0x09: "t"}


class _BeyondUs(Exception):
    """This expression is not of the kind that can be a grammar here."""


def pattern(rules: Rules, expression: str) -> Node | None:
    """The content of JSON strings in which `expression` is found; None if it is too much for this.

    Known are characters and their escapes, classes, groups, alternatives, repetitions up to 200, and ``^`` and ``$``
    at the very ends; not look-around, back references, flags and word boundaries. A repetition without bounds of
    something that may be empty is not known either: llama.cpp would not end. Nor are expressions by which a text can be
    read in very many ways, such as ``(([a-z]+ ?)+0?)+``.
    """
    if len(expression) > _MOST_LENGTH:
        return None
    try:
        node = _Reader(rules, expression).whole()
        return node if grammar_fault(rules, [node]) is None else None
    except (_BeyondUs, RecursionError):
        return None


class _Reader:
    def __init__(self, rules: Rules, expression: str) -> None:
        self._rules = rules
        self._text = expression
        self._at = 0

    def whole(self) -> Node:
        anything = self._rules.repeat(character(self._rules), 0, None)
        alone = "|" not in self._text
        begins = self._text.startswith("^")
        ends = self._text.endswith("$") and not self._text.endswith("\\$")
        if not alone and (begins or ends):
            # "^a|b$" is "^a" or "b$"; common is "^(a|b)$", whose alternatives stand in a group.
            depth = 0
            for at, char in enumerate(self._text):
                depth += (char == "(") - (char == ")")
                if char == "|" and not depth:
                    raise _BeyondUs
                if char in "\\[":
                    self._check_plain(at)
        self._at = int(begins)
        if ends:
            self._text = self._text[:-1]
        node = self._alternatives()
        if self._at < len(self._text):
            raise _BeyondUs
        return run(EMPTY if begins else anything, node, EMPTY if ends else anything)

    def _check_plain(self, at: int) -> None:
        if self._text[at] == "\\" and self._text[at + 1 : at + 2] in "()|[":
            raise _BeyondUs
        if self._text[at] == "[" and any(char in self._text[at : self._text.find("]", at + 2)] for char in "()|"):
            raise _BeyondUs

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _next(self) -> str:
        char = self._peek()
        if not char:
            raise _BeyondUs
        self._at += 1
        return char

    def _alternatives(self) -> Node:
        options = [self._sequence()]
        while self._peek() == "|":
            self._next()
            options.append(self._sequence())
        return options[0] if len(options) == 1 else self._rules.share(self._rules.choice(options))

    def _sequence(self) -> Node:
        parts: list[Node] = []
        while self._peek() not in ("", "|", ")"):
            parts.append(self._repeated(self._atom()))
        return run(*parts)

    def _atom(self) -> Node:
        char = self._next()
        if char == "(":
            if self._peek() == "?":
                self._next()
                if self._next() != ":":
                    raise _BeyondUs
            node = self._alternatives()
            if self._next() != ")":
                raise _BeyondUs
            return node
        if char == "[":
            return self._written(self._class())
        if char == ".":
            return self._written(minus(_ALL, ((0x0A, 0x0A),)))
        if char == "\\":
            return self._written(self._escape())
        if char in "^$*+?{}])":
            raise _BeyondUs
        return self._written(((ord(char), ord(char)),))

    def _repeated(self, node: Node) -> Node:
        low: int
        high: int | None
        char = self._peek()
        if char in ("*", "+", "?"):
            self._next()
            low, high = {"*": (0, None), "+": (1, None), "?": (0, 1)}[char]
        elif char == "{":
            self._next()
            low, high = self._counts()
        else:
            return node
        if self._peek() == "?":
            self._next()  # lazy or not, the texts are the same
        if self._peek() in ("*", "+", "{"):
            raise _BeyondUs
        if _may_be_empty(self._rules, node):
            if high is None or high > 1:
                raise _BeyondUs
            return node
        return self._rules.repeat(node, low, high)

    def _counts(self) -> tuple[int, int | None]:
        end = self._text.find("}", self._at)
        low, comma, high = self._text[self._at : end].partition(",")
        self._at = end + 1
        if end < 0 or not low.isdecimal() or (high and not high.isdecimal()) or len(low) > 3 or len(high) > 3:
            raise _BeyondUs
        least = int(low)
        most = int(high) if high else None if comma else least
        if least > _MOST_REPEATS or (most is not None and not least <= most <= _MOST_REPEATS):
            raise _BeyondUs
        return least, most

    def _escape(self) -> Ranges:
        char = self._next()
        if char in _CLASSES or char in _NOT:
            return _CLASSES.get(char) or _NOT[char]
        if char in _CONTROLS:
            return ((_CONTROLS[char], _CONTROLS[char]),)
        if char in "xu":
            length = 2 if char == "x" else 4
            digits = self._text[self._at : self._at + length]
            self._at += length
            if len(digits) < length or any(digit not in "0123456789abcdefABCDEF" for digit in digits):
                raise _BeyondUs
            code = int(digits, 16)
            if 0xD800 <= code <= 0xDFFF:
                raise _BeyondUs
            return ((code, code),)
        if char.isalnum():
            raise _BeyondUs  # word boundaries, back references and the like
        return ((ord(char), ord(char)),)

    def _class(self) -> Ranges:
        negative = self._peek() == "^"
        if negative:
            self._next()
        if self._peek() == "]":
            raise _BeyondUs  # like "[" within a class, it means different things to different readers
        found: list[tuple[int, int]] = []
        ascii_only = False
        while self._peek() != "]":
            char = self._next()
            if char == "[":
                raise _BeyondUs
            one: Ranges = ((ord(char), ord(char)),)
            if char == "\\":
                ascii_only = ascii_only or self._peek() in _CLASSES or self._peek() in _NOT
                one = self._escape()
            if self._peek() == "-" and self._text[self._at + 1 : self._at + 2] not in ("]", ""):
                self._next()
                end = self._next()
                last = self._escape() if end == "\\" else ((ord(end), ord(end)),)
                if len(one) != 1 or len(last) != 1 or one[0][0] != one[0][1] or last[0][0] != last[0][1]:
                    raise _BeyondUs
                one = ((one[0][0], last[0][1]),)
                if one[0][0] > one[0][1]:
                    raise _BeyondUs
            found += one
        self._next()
        if not negative:
            return tuple(found)
        # A negated \w, \d or \s excludes Unicode's as well, which are not listed here: of others only ASCII's remain.
        return minus(_ASCII if ascii_only else _ALL, tuple(found))

    def _written(self, ranges: Ranges) -> Node:
        """A character of `ranges` as it stands in a JSON string."""
        plain = within(ranges, PLAIN)
        options: list[Node] = [Chars(plain)] if plain else []
        if len(plain) == 1 and plain[0][0] == plain[0][1]:
            options = [Literal(chr(plain[0][0]))]
        for code, escape in _SHORT_ESCAPES.items():
            if any(low <= code <= high for low, high in ranges):
                options.append(Literal(f"\\{escape}"))
        others = [
            code
            for code in range(0x20)
            if code not in _SHORT_ESCAPES and any(low <= code <= high for low, high in ranges)
        ]
        options += [Literal(f"\\u{code:04x}") for code in others]
        if not options:
            raise _BeyondUs
        return options[0] if len(options) == 1 else self._rules.share(self._rules.choice(options))


def _may_be_empty(rules: Rules, node: Node) -> bool:
    if isinstance(node, Repeat):
        return not node.low or _may_be_empty(rules, node.item)
    if isinstance(node, Choice):
        return any(_may_be_empty(rules, option) for option in node.options)
    if isinstance(node, Run):
        return all(_may_be_empty(rules, item) for item in node.items)
    return isinstance(node, Rule) and _may_be_empty(rules, rules[node.name])
