"""GBNF that others have written, read into the parts of a grammar.

What is read is what llama.cpp reads, with three differences: errors have a line and a column, where llama.cpp prints
the whole grammar to stderr; what it takes without a word though it cannot be meant (a rule defined twice, ``{5,2}``,
more repetitions than it can count) is an error too; and there are no tokens (``<think>``), as control tokens are never
part of an answer that keeps to a grammar.

Source: https://github.com/ggml-org/llama.cpp/blob/master/grammars/README.md, and the parser in src/llama-grammar.cpp.
"""

from __future__ import annotations

from typing import Final

from lollms_llamacpp.grammar.machine import grammar_fault
from lollms_llamacpp.grammar.nodes import MOST_REPEATS, Chars, Literal, Node, Rule, Rules, run
from lollms_llamacpp.grammar.ranges import Ranges, minus, within

__all__ = ["read_grammar"]

_MOST_TEXT: Final = 65_536
_MOST_NESTED: Final = 64
_MOST_CLASS: Final = 1_000

_ALL: Final[Ranges] = ((0, 0xD7FF), (0xE000, 0x10FFFF))
_NAME: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-")
_DIGITS: Final = frozenset("0123456789")
_HEX: Final = frozenset("0123456789abcdefABCDEF")
_ESCAPES: Final = {"t": "\t", "r": "\r", "n": "\n", "\\": "\\", '"': '"', "[": "[", "]": "]", "-": "-"}
_CODES: Final = {"x": 2, "u": 4, "U": 8}
_ENDS: Final = frozenset("|)\r\n")


def read_grammar(rules: Rules, text: str, name: str) -> Rule:
    """The rule that says what the rule ``root`` of the GBNF `text` says.

    Args:
        rules: get the rules of `text`, as ``name-root`` and so on.
        text: the grammar.
        name: a name for it.

    Raises:
        ValueError: it is no GBNF, or llama.cpp would not manage it; the text has the place, or the rule.
    """
    if len(text) > _MOST_TEXT:
        raise ValueError(f"the grammar has {len(text):,} characters, of at most {_MOST_TEXT:,}")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"the grammar is no valid Unicode: {error.reason} at character {error.start}") from None
    reader = _Reader(rules, text, f"{name}-")
    reader.read()
    root = Rule(f"{name}-root")
    fault = grammar_fault(rules, [root, *reader.defined])
    if fault is not None:
        told = fault.replace(f"'{name}-", "'")
        raise ValueError(f"the grammar cannot be used: {told}")
    return root


class _Reader:
    def __init__(self, rules: Rules, text: str, prefix: str) -> None:
        self._rules = rules
        self._text = text
        self._prefix = prefix
        self._at = 0
        self._depth = 0
        self._places: dict[str, int] = {}
        """Where each name is mentioned first."""
        self.defined: dict[Rule, int] = {}

    def read(self) -> None:
        self._space(lines=True)
        while self._at < len(self._text):
            self._rule()
        for name, place in self._places.items():
            if Rule(self._prefix + name) not in self.defined:
                raise self._error(f"there is no rule {name!r}", place)
        if Rule(f"{self._prefix}root") not in self.defined:
            raise ValueError("the grammar has no rule 'root', which it would begin with")

    def _error(self, what: str, at: int | None = None) -> ValueError:
        at = self._at if at is None else at
        line = self._text.count("\n", 0, at) + 1
        column = at - self._text.rfind("\n", 0, at)
        return ValueError(f"the grammar, line {line}, column {column}: {what}")

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _takes(self, word: str) -> bool:
        if not self._text.startswith(word, self._at):
            return False
        self._at += len(word)
        return True

    def _space(self, *, lines: bool) -> None:
        """Skip blanks and comments, and ends of lines where a rule may go on in the next."""
        while char := self._peek():
            if char == "#":
                while self._peek() not in ("", "\r", "\n"):
                    self._at += 1
            elif char in " \t" or (lines and char in "\r\n"):
                self._at += 1
            else:
                return

    def _while(self, chars: frozenset[str]) -> str:
        start = self._at
        while self._peek() in chars:
            self._at += 1
        return self._text[start : self._at]

    # Rules ------------------------------------------------------------------------------------------------

    def _rule(self) -> None:
        start = self._at
        name = self._while(_NAME)
        if not name:
            hint = " (alternatives in a further line need the | at the end of the line before, or brackets)"
            raise self._error(f"a rule's name is expected{hint if self._peek() == '|' else ''}")
        rule = Rule(self._prefix + name)
        if rule in self.defined:
            raise self._error(f"there are two rules {name!r}", start)
        self._space(lines=False)
        if not self._takes("::="):
            raise self._error(f"::= is expected after {name!r}")
        self._space(lines=True)
        self.defined[rule] = start
        self._rules.define(rule.name, self._alternatives())
        if self._peek() == ")":
            raise self._error("there is no bracket that this one closes")
        self._space(lines=True)

    def _alternatives(self) -> Node:
        options = [self._sequence()]
        while self._takes("|"):
            self._space(lines=True)
            options.append(self._sequence())
        return options[0] if len(options) == 1 else self._rules.choice(options)

    def _sequence(self) -> Node:
        parts: list[Node] = []
        while (char := self._peek()) and char not in _ENDS:
            parts.append(self._repeated(self._item(char)))
        return run(*parts)

    def _item(self, char: str) -> Node:
        start = self._at
        if char == '"':
            node: Node = self._literal()
        elif char == "[":
            node = self._class()
        elif char == "(":
            node = self._group()
        elif char == ".":
            self._at += 1
            node = Chars(_ALL)
        elif char in _NAME:
            name = self._while(_NAME)
            self._places.setdefault(name, start)
            node = Rule(self._prefix + name)
        elif char in "<!":
            raise self._error("tokens (<...>) cannot be used: a grammar is about the answer's text")
        elif char in "*+?{":
            raise self._error(f"there is nothing that {char} could repeat")
        else:
            raise self._error(f"{char!r} means nothing here")
        self._space(lines=self._depth > 0)
        return node

    def _group(self) -> Node:
        start = self._at
        self._at += 1
        self._depth += 1
        if self._depth > _MOST_NESTED:
            raise self._error(f"brackets are nested more than {_MOST_NESTED} deep")
        self._space(lines=True)
        node = self._alternatives()
        if not self._takes(")"):
            raise self._error("this bracket is not closed", start)
        self._depth -= 1
        return self._rules.share(node)

    # Repetitions ------------------------------------------------------------------------------------------

    def _repeated(self, node: Node) -> Node:
        while (char := self._peek()) and char in "*+?{":
            start = self._at
            self._at += 1
            low, high = {"*": (0, None), "+": (1, None), "?": (0, 1)}.get(char) or self._counts(start)
            self._space(lines=self._depth > 0)
            most = self._rules.room // 8
            if low > most or (high is not None and high - low > most):
                raise self._error("with this repetition the grammar would be too large", start)
            node = self._rules.repeat(node, low, high)
        return node

    def _counts(self, start: int) -> tuple[int, int | None]:
        low = self._count()
        high: int | None = low
        if self._takes(","):
            self._space(lines=self._depth > 0)
            high = self._count() if self._peek() in _DIGITS else None
        if not self._takes("}"):
            raise self._error("} is expected")
        if high is not None and high < low:
            raise self._error(f"at most {high} repetitions are fewer than at least {low}", start)
        return low, high

    def _count(self) -> int:
        self._space(lines=self._depth > 0)
        start = self._at
        digits = self._while(_DIGITS)
        if not digits:
            raise self._error("a number of repetitions is expected")
        self._space(lines=self._depth > 0)
        if len(digits) > 9 or int(digits) > MOST_REPEATS:
            raise self._error(f"{digits[:20]} repetitions are more than {MOST_REPEATS}", start)
        return int(digits)

    # Characters -------------------------------------------------------------------------------------------

    def _literal(self) -> Literal:
        start = self._at
        self._at += 1
        chars: list[str] = []
        while not self._takes('"'):
            chars.append(self._char(start))
        return Literal("".join(chars))

    def _class(self) -> Chars:
        start = self._at
        self._at += 1
        negative = self._takes("^")
        found: list[tuple[int, int]] = []
        while not self._takes("]"):
            at = self._at
            low = high = ord(self._char(start))
            if self._peek() == "-" and self._text[self._at + 1 : self._at + 2] != "]":
                self._at += 1
                high = ord(self._char(start))
            if low > high:
                raise self._error("this range ends before it begins", at)
            found.append((low, high))
            if len(found) > _MOST_CLASS:
                raise self._error(f"this class of characters has more than {_MOST_CLASS} parts", start)
        # Halves of surrogate pairs are no characters of any text: to be led to one would be a dead end.
        ranges = minus(_ALL, tuple(found)) if negative else within(tuple(found), _ALL)
        if not ranges:
            raise self._error("this class has no character", start)
        return Chars(ranges)

    def _char(self, start: int) -> str:
        """The next character of what began at `start`, escaped or not."""
        char = self._peek()
        if not char:
            raise self._error("this has no end", start)
        at = self._at
        self._at += 1
        if char != "\\":
            return char
        kind = self._peek()
        self._at += 1
        if kind in _ESCAPES:
            return _ESCAPES[kind]
        if kind not in _CODES:
            raise self._error(f"\\{kind} is no escape that is known", at)
        digits = self._text[self._at : self._at + _CODES[kind]]
        if len(digits) < _CODES[kind] or not _HEX.issuperset(digits):
            raise self._error(f"\\{kind} needs {_CODES[kind]} hexadecimal digits", at)
        self._at += len(digits)
        code = int(digits, 16)
        if code > 0x10FFFF or 0xD800 <= code <= 0xDFFF:
            raise self._error(f"\\{kind}{digits} is no character", at)
        return chr(code)
