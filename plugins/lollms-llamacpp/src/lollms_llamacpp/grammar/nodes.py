"""The parts of a grammar, and the rules made of them.

llama.cpp follows all alternatives that fit the text so far at once, at a cost that grows with their number. Two
objects with the same first key would double it, and a schema that nests them would double it at each level. So
alternatives that begin alike are joined up to where they differ (:meth:`Rules.choice`), as in a trie.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

__all__ = [
    "EMPTY",
    "Chars",
    "Choice",
    "Impossible",
    "Literal",
    "Node",
    "Repeat",
    "Rule",
    "Rules",
    "Run",
    "TooLargeError",
    "rendered",
    "run",
]

MOST_REPEATS: Final = 2000
"""llama.cpp refuses to repeat anything more often (llama-grammar.cpp, MAX_REPETITION_THRESHOLD)."""
_MOST_SIZE: Final = 60_000  # elements of all rules, as llama.cpp expands them: some 50 ms to read, a few MB
_MOST_PATHS: Final = 200_000
_MOST_DEPTH: Final = 150  # of joined alternatives
_MOST_OPENED: Final = 100


class Impossible(Exception):  # becomes a ValueError where there is no other way
    """Nothing satisfies the schema at some place; the text names it."""


class TooLargeError(ValueError):
    """The grammar has become more than llama.cpp can be given."""


@dataclass(frozen=True, slots=True)
class Literal:
    """This very text."""

    text: str


@dataclass(frozen=True, slots=True)
class Chars:
    """One character of these ranges, first and last code point each."""

    ranges: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Rule:
    """What the rule of this name says."""

    name: str


@dataclass(frozen=True, slots=True)
class Run:
    """These, one after the other."""

    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """One of these."""

    options: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Repeat:
    """`item`, a rule or characters, `low` to `high` times; None is any number."""

    item: Rule | Chars
    low: int
    high: int | None


Node: TypeAlias = "Literal | Chars | Rule | Run | Choice | Repeat"

EMPTY: Final = Run(())


def run(*parts: Node) -> Node:
    """`parts` one after the other, as few as possible."""
    items: list[Node] = []
    for part in parts:
        for item in part.items if isinstance(part, Run) else (part,):
            if isinstance(item, Literal) and items and isinstance(items[-1], Literal):
                items[-1] = Literal(items[-1].text + item.text)
            elif item != Literal(""):
                items.append(item)
    return items[0] if len(items) == 1 else Run(tuple(items))


class Rules:
    """The named rules of one grammar. Names of our own are numbers, so that they are nobody else's."""

    def __init__(self) -> None:
        self._nodes: dict[str, Node] = {}
        self._names: dict[Node, Rule] = {}
        self._choices: dict[frozenset[Node], Node] = {}
        self._tails: set[str] = set()
        self._size = 0
        self._count = 0

    def __contains__(self, name: object) -> bool:
        return name in self._nodes

    def __getitem__(self, name: str) -> Node:
        return self._nodes[name]

    @property
    def room(self) -> int:
        """Elements that may still be added."""
        return _MOST_SIZE - self._size

    # Making -----------------------------------------------------------------------------------------------

    def define(self, name: str, node: Node) -> None:
        """Make `name` a rule.

        Raises:
            TooLargeError: the grammar becomes too large.
        """
        self._nodes[name] = node
        self._size += _size(node)
        if self._size > _MOST_SIZE:
            raise TooLargeError(
                "the grammar of the schema would be too large: fewer alternatives or smaller bounds, please"
            )

    def reserve(self) -> Rule:
        """A name to be defined later."""
        self._count += 1
        return Rule(str(self._count))

    def share(self, node: Node, *, tail: bool = False) -> Rule:
        """The rule that says `node`, a new one if there is none yet.

        Args:
            node: what the rule says.
            tail: whether :meth:`choice` may look into it to join what begins alike.
        """
        if isinstance(node, Rule):
            return node
        rule = self._names.get(node)
        if rule is None:
            rule = self._names[node] = self.reserve()
            self.define(rule.name, node)
        if tail:
            self._tails.add(rule.name)
        return rule

    def repeat(self, node: Node, low: int, high: int | None) -> Node:
        """`node`, `low` to `high` times. A `high` too high for llama.cpp is none.

        Raises:
            ValueError: `low` is too high for llama.cpp.
        """
        if low > self.room // 2:
            raise ValueError(f"{low} repetitions are too many for a grammar")
        item = node if isinstance(node, Chars) else self.share(node)
        if high is not None and (high - low > MOST_REPEATS or high - low > self.room // 8):
            high = None
        if (low, high) == (1, 1):
            return item
        blocks, rest = divmod(low, MOST_REPEATS)
        parts: list[Node] = [Repeat(item, MOST_REPEATS, MOST_REPEATS)] * blocks
        if rest:
            parts.append(Repeat(item, rest, rest))
        if high is None:
            parts.append(Repeat(item, 0, None))
        elif high > low:
            parts.append(Repeat(item, 0, high - low))
        return run(*parts)

    def choice(self, options: Iterable[Node]) -> Node:
        """One of `options`, joined where they begin alike."""
        return self._joined(options, 0)

    def _joined(self, options: Iterable[Node], depth: int) -> Node:
        flat = list(dict.fromkeys(self._flat(options)))
        if len(flat) == 1:
            return flat[0]
        flat = list(dict.fromkeys(self._opened(flat)))
        key = frozenset(flat)
        known = self._choices.get(key)
        if known is not None:
            return known
        if depth > _MOST_DEPTH:
            return Choice(tuple(flat))
        groups: dict[Node | str, list[Node]] = {}
        for option in flat:
            groups.setdefault(_head(option), []).append(option)
        made = tuple(
            group[0] if len(group) == 1 else self._with_common_beginning(group, depth) for group in groups.values()
        )
        node = made[0] if len(made) == 1 else Choice(made)
        self._choices[key] = node
        return node

    def _flat(self, options: Iterable[Node]) -> Iterator[Node]:
        for option in options:
            if isinstance(option, Choice):
                yield from self._flat(option.options)
            else:
                yield option

    def _opened(self, options: Iterable[Node]) -> Iterator[Node]:
        """`options` with what they begin with in place of its name, where that is a tail."""
        for option in options:
            first, rest = (
                (option.items[0], option.items[1:]) if isinstance(option, Run) and option.items else (option, ())
            )
            if isinstance(first, Rule) and first.name in self._tails:
                for inner in self._opened(self._flat([self._nodes[first.name]])):
                    yield run(inner, *rest)
            else:
                yield option

    def _with_common_beginning(self, group: Sequence[Node], depth: int) -> Node:
        lists = [option.items if isinstance(option, Run) else (option,) for option in group]
        first = lists[0][0]
        if isinstance(first, Literal):
            texts = [items[0].text for items in lists if isinstance(items[0], Literal)]
            length = _common(texts)
            begin: Node = Literal(first.text[:length])
            rests = [run(Literal(text[length:]), *items[1:]) for text, items in zip(texts, lists, strict=True)]
        else:
            begin = first
            rests = [run(*items[1:]) for items in lists]
        rest = self._joined(rests, depth + 1)
        return run(begin, self.share(rest, tail=True) if isinstance(rest, Choice) else rest)

    # Writing ----------------------------------------------------------------------------------------------

    def finish(self, name: str) -> bool:
        """Drop, from what the rules say, all that has no end; False if nothing remains of the rule `name`.

        A schema that must contain itself is an example. Rules that say each other and nothing more ("a is b or a
        text, b is a or a number") are what llama.cpp calls left recursion; they become their other alternatives.
        """
        self._unite()
        for rule in list(self._nodes):
            self._nodes[rule] = self._joined_by_rules(self._nodes[rule])
        ending: set[str] = set()
        changed = True
        while changed:
            changed = False
            for rule, node in self._nodes.items():
                if rule not in ending and _ends(node, ending):
                    ending.add(rule)
                    changed = True
        if name not in ending:
            del self._nodes[name]
            return False
        for rule in ending:
            self._nodes[rule] = _pruned(self._nodes[rule], ending)
        return True

    def _joined_by_rules(self, node: Node) -> Node:
        """A choice between rules with what they say in their place, where some of that begins alike."""
        if not isinstance(node, Choice):
            return node
        opened: list[Node] = []
        seen: set[str] = set()
        todo = list(reversed(node.options))
        while todo:
            option = todo.pop()
            if isinstance(option, Choice):
                todo.extend(reversed(option.options))
            elif isinstance(option, Rule) and option.name not in seen and self._begins_with_text(option.name):
                seen.add(option.name)
                todo.extend(reversed(_options(self._nodes[option.name])))
            elif not isinstance(option, Rule) or option.name not in seen:
                opened.append(option)
        opened = list(dict.fromkeys(opened))
        alike = len(opened) - len({_head(option) for option in opened})
        if not alike or len(opened) > _MOST_OPENED or self.room < _MOST_SIZE // 3:
            return node
        return self._joined(opened, 0)

    def _begins_with_text(self, name: str) -> bool:
        return all(isinstance(option, Rule) or isinstance(_head(option), str) for option in _options(self._nodes[name]))

    def _unite(self) -> None:
        units = {
            name: {option.name for option in _options(node) if isinstance(option, Rule)}
            for name, node in self._nodes.items()
        }
        for name in list(self._nodes):
            if not units[name]:
                continue
            reached = _reached(name, units)
            if name not in reached:
                continue
            # It says itself: it says what all rules on that circle say.
            circle = [other for other in reached if name in _reached(other, units)]
            others = [
                option
                for other in circle
                for option in _options(self._nodes[other])
                if not (isinstance(option, Rule) and option.name in circle)
            ]
            self._nodes[name] = Choice(tuple(dict.fromkeys(others)))
            units[name] = {option.name for option in others if isinstance(option, Rule)}

    def lines(self) -> list[str]:
        """The rules as lines of GBNF.

        Raises:
            ValueError: they are too much for llama.cpp.
        """
        lines = []
        # Rendering gives names to what stands within others, which makes further rules.
        todo = [name for name in self._nodes if not name.isdecimal()]
        wanted = set(todo)
        while todo:
            name = todo.pop(0)
            lines.append(f"{name} ::= {self._body(self._nodes[name], named=wanted, todo=todo)}")
        self._check_paths(wanted)
        return lines

    def _body(self, node: Node, named: set[str], todo: list[str]) -> str:
        if isinstance(node, Choice):
            return " | ".join(self._body(option, named, todo) for option in node.options)
        pieces = []
        for item in node.items if isinstance(node, Run) else (node,):
            part: Node = self.share(item) if isinstance(item, Choice) else item
            for rule in (part, part.item) if isinstance(part, Repeat) else (part,):
                if isinstance(rule, Rule) and rule.name not in named:
                    named.add(rule.name)
                    todo.append(rule.name)
            pieces.append(rendered(part))
        return " ".join(pieces) or '""'

    def _check_paths(self, names: Iterable[str]) -> None:
        """llama.cpp, looking for left recursion, goes every way from a rule to what it can begin with: not too many."""
        counts: dict[str, int] = {}
        for start in names:
            todo = [start]
            while todo:
                name = todo[-1]
                begins = _begins(self._nodes[name])
                missing = [other for other in begins if other not in counts]
                if name not in counts and missing:
                    todo.extend(missing)
                    if len(todo) > _MOST_SIZE:
                        raise ValueError("the grammar of the schema refers to itself without an end")
                    continue
                counts[name] = min(_MOST_PATHS, 1 + sum(counts.get(other, 1) for other in begins))
                todo.pop()
        if sum(counts.values()) > _MOST_PATHS * 5 or any(count >= _MOST_PATHS for count in counts.values()):
            raise TooLargeError("the grammar of the schema would be too large: its alternatives are nested too often")


def rendered(node: Node) -> str:
    """A node without alternatives as GBNF."""
    if isinstance(node, Literal):
        return f'"{"".join(_escaped(char) for char in node.text)}"'
    if isinstance(node, Chars):
        return f"[{''.join(_range(low, high) for low, high in node.ranges)}]"
    if isinstance(node, Rule):
        return node.name
    if isinstance(node, Repeat):
        item = rendered(node.item)
        if node.high is None:
            return f"{item}*" if not node.low else f"{item}{{{node.low},}}"
        return f"{item}?" if (node.low, node.high) == (0, 1) else f"{item}{{{node.low},{node.high}}}"
    if isinstance(node, Run):
        return " ".join(rendered(item) for item in node.items) or '""'
    raise TypeError("alternatives need a rule of their own")


def _escaped(char: str) -> str:
    if char in '"\\':
        return f"\\{char}"
    code = ord(char)
    # Control characters, NUL among them, would end or break the line.
    return char if 0x20 <= code < 0x7F else _code(code)


def _range(low: int, high: int) -> str:
    return _class_char(low) if low == high else f"{_class_char(low)}-{_class_char(high)}"


def _class_char(code: int) -> str:
    return chr(code) if chr(code).isascii() and chr(code).isalnum() else _code(code)


def _code(code: int) -> str:
    return f"\\x{code:02X}" if code < 0x100 else f"\\u{code:04X}" if code < 0x10000 else f"\\U{code:08X}"


def _common(texts: Sequence[str]) -> int:
    """The length of the beginning that all `texts` share."""
    first, last = min(texts), max(texts)
    length = 0
    while length < min(len(first), len(last)) and first[length] == last[length]:
        length += 1
    return length


def _head(node: Node) -> Node | str:
    """What alternatives are joined by: the first part, of a literal its first character."""
    first = (node.items[0] if node.items else EMPTY) if isinstance(node, Run) else node
    return json.dumps(first.text[:1]) if isinstance(first, Literal) else first


def _size(node: Node) -> int:
    """How many elements llama.cpp makes of it."""
    if isinstance(node, Literal):
        return 1 + len(node.text)
    if isinstance(node, Chars):
        return 2 * len(node.ranges)
    if isinstance(node, Repeat):
        optional = 1 if node.high is None else node.high - node.low
        return _size(node.item) * node.low + (_size(node.item) + 3) * optional
    if isinstance(node, Rule):
        return 1
    return 1 + sum(_size(part) for part in (node.items if isinstance(node, Run) else node.options))


def _options(node: Node) -> tuple[Node, ...]:
    return node.options if isinstance(node, Choice) else (node,)


def _reached(name: str, units: dict[str, set[str]]) -> set[str]:
    found: set[str] = set()
    todo = list(units[name])
    while todo:
        other = todo.pop()
        if other not in found:
            found.add(other)
            todo.extend(units.get(other, ()))
    return found


def _ends(node: Node, ending: set[str]) -> bool:
    """Whether `node` can be said to its end, given the rules that can."""
    if isinstance(node, Rule):
        return node.name in ending
    if isinstance(node, Run):
        return all(_ends(item, ending) for item in node.items)
    if isinstance(node, Choice):
        return any(_ends(option, ending) for option in node.options)
    if isinstance(node, Repeat):
        return not node.low or _ends(node.item, ending)
    return True


def _pruned(node: Node, ending: set[str]) -> Node:
    """`node`, which can be said to its end, without what cannot."""
    if isinstance(node, Choice):
        kept = tuple(_pruned(option, ending) for option in node.options if _ends(option, ending))
        return kept[0] if len(kept) == 1 else Choice(kept)
    if isinstance(node, Run):
        return run(*(_pruned(item, ending) for item in node.items))
    if isinstance(node, Repeat) and not _ends(node.item, ending):
        return EMPTY
    return node


def _begins(node: Node) -> list[str]:
    """The rules that `node` can begin with, each as often as it does."""
    if isinstance(node, Rule):
        return [node.name]
    if isinstance(node, Repeat):
        return _begins(node.item)
    if isinstance(node, Choice):
        return [name for option in node.options for name in _begins(option)]
    if isinstance(node, Run):
        found: list[str] = []
        for item in node.items:
            found += _begins(item)
            if not isinstance(item, Repeat) or item.low:
                break
        return found
    return []
