"""Texts that a grammar of llama.cpp's can say, by a reader of our own and by llama.cpp's."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from typing import Any

import jsonschema

from lollms_llamacpp.grammar import grammar_of_schema
from lollms_llamacpp.native import Model
from lollms_llamacpp.samplers import Grammar

__all__ = ["Walker", "accepted", "check", "said"]

_TOKEN = re.compile(
    r"""\s*(?: (?P<literal>"(?:\\.|[^"\\])*") | (?P<class>\[(?:\\.|[^\]\\])*\]) | (?P<count>\{\d+(?:,\d*)?\})
        | (?P<name>[A-Za-z0-9-]+) | (?P<mark>[()|?*+]) )""",
    re.VERBOSE,
)
_CLASS_CHARACTER = r"\\x..|\\u.{4}|\\U.{8}|\\.|[^\\]"
_ESCAPE = re.compile(r"\\(?:x([0-9A-F]{2})|u([0-9A-F]{4})|U([0-9A-F]{8})|(.))", re.DOTALL)


def unescaped(text: str) -> str:
    out, at = [], 0
    while at < len(text):
        matched = _ESCAPE.match(text, at)
        if matched:
            code = matched[1] or matched[2] or matched[3]
            out.append(chr(int(code, 16)) if code else matched[4])
            at = matched.end()
        else:
            out.append(text[at])
            at += 1
    return "".join(out)


class Walker:
    """Says texts of a grammar, chosen by chance; the deeper it is, the shorter it makes it."""

    def __init__(self, grammar: str, chance: random.Random) -> None:
        self.chance = chance
        self.rules: dict[str, Any] = {}
        for line in grammar.splitlines():
            name, _, body = line.partition(" ::= ")
            assert name not in self.rules, f"two rules {name}"
            tokens = [(one.lastgroup, one[one.lastgroup]) for one in _TOKEN.finditer(body) if one.lastgroup]
            self.rules[name], rest = self._choice(tokens)
            assert not rest
        self.depths = dict.fromkeys(self.rules, 1_000_000)
        changed = True
        while changed:
            changed = False
            for name, node in self.rules.items():
                depth = 1 + self._depth(node)
                if depth < self.depths[name]:
                    self.depths[name], changed = depth, True
        assert max(self.depths.values()) < 1_000_000, "a rule without an end"

    def _choice(self, tokens: list[Any]) -> tuple[Any, list[Any]]:
        options = []
        while True:
            items: list[Any] = []
            while tokens and tokens[0][1] not in {"|", ")"}:
                (kind, text), *tokens = tokens
                if kind == "mark" and text == "(":
                    item, tokens = self._choice(tokens)
                    tokens = tokens[1:]
                elif kind == "literal":
                    item = ("literal", unescaped(text[1:-1]))
                elif kind == "class":
                    item = ("class", text[1:-1])
                else:
                    assert kind == "name", text
                    item = ("rule", text)
                if tokens and tokens[0][0] in {"count", "mark"} and tokens[0][1][0] in "{?*+":
                    (_, mark), *tokens = tokens
                    low, _, high = {"?": "0,1", "*": "0,", "+": "1,"}.get(mark, mark.strip("{}")).partition(",")
                    item = (
                        "repeat",
                        item,
                        int(low),
                        int(high) if high else None if "," in mark or mark in "*+" else int(low),
                    )
                items.append(item)
            options.append(("run", items))
            if not tokens or tokens[0][1] != "|":
                return ("choice", options), tokens
            tokens = tokens[1:]

    def _depth(self, node: Any) -> int:
        if node[0] == "rule":
            return self.depths[node[1]]
        if node[0] == "choice":
            return min(self._depth(option) for option in node[1])
        if node[0] == "run":
            return max((self._depth(item) for item in node[1]), default=0)
        if node[0] == "repeat":
            return self._depth(node[1]) if node[2] else 0
        return 0

    def text(self, name: str = "root") -> str:
        return "".join(self._say(("rule", name), 0))

    def _say(self, node: Any, depth: int) -> Iterator[str]:
        kind = node[0]
        if kind == "literal":
            yield node[1]
        elif kind == "class":
            yield self._character(node[1])
        elif kind == "rule":
            yield from self._say(self.rules[node[1]], depth + 1)
        elif kind == "run":
            for item in node[1]:
                yield from self._say(item, depth)
        elif kind == "choice":
            options = node[1]
            if depth > 40:
                least = min(self._depth(option) for option in options)
                options = [option for option in options if self._depth(option) == least]
            yield from self._say(self.chance.choice(options), depth)
        else:
            _, item, low, high = node
            most = low + 3 if high is None else high
            count = low if depth > 40 else self.chance.choice([low, most, self.chance.randint(low, most)])
            for _ in range(count):
                yield from self._say(item, depth)

    def _character(self, inside: str) -> str:
        assert not inside.startswith("^")
        ranges = [
            (ord(unescaped(one[1])), ord(unescaped(one[2] or one[1])))
            for one in re.finditer(rf"({_CLASS_CHARACTER})(?:-({_CLASS_CHARACTER}))?", inside)
        ]
        low, high = self.chance.choice(ranges)
        return chr(self.chance.choice([low, high, self.chance.randint(low, min(high, low + 90))]))


def said(schema: Any, count: int = 60, seed: int = 1) -> list[str]:
    walker = Walker(grammar_of_schema(schema), random.Random(seed))  # noqa: S311 - the same on every run
    return [walker.text() for _ in range(count)]


def accepted(model: Model, grammar: str, text: str) -> bool:
    """Whether llama.cpp lets the model say `text`, byte by byte, and end there."""
    judge = Grammar(model, grammar)
    try:
        for token in model.tokenize(text.encode()):
            if not judge.allows(token):
                return False
            judge.accept(token)
        return all(judge.allows(token) for token in model.ends)
    finally:
        judge.close()


def check(schema: Any, texts: list[str]) -> None:
    validator = jsonschema.Draft202012Validator(schema)
    for text in texts:
        validator.validate(json.loads(text))
