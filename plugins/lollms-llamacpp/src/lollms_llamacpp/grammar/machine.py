"""A grammar as llama.cpp reads texts by it, and whether it would come to an end.

llama.cpp keeps a stack of what is to come for every way in which the text so far can be read. Some grammars take it
beyond all bounds, in a single call that nothing can stop: where a rule begins with itself, its stacks grow for ever;
where the same text can be read in two ways at every character, a token of twenty has a million. Its own search for left
recursion goes every way there is, and takes rules that are empty by way of others for such that are not.

Source: the functions llama_grammar_detect_left_recursion, llama_grammar_advance_stack and
llama_grammar_reject_candidates_for_stack of https://github.com/ggml-org/llama.cpp/blob/master/src/llama-grammar.cpp.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Final, TypeAlias

from lollms_llamacpp.grammar.nodes import Chars, Choice, Literal, Node, Repeat, Rule, Rules, Run
from lollms_llamacpp.grammar.ranges import Ranges

__all__ = ["grammar_fault"]

_MOST_ELEMENTS: Final = 250_000
_MOST_CALLS: Final = 1_000_000
"""How often llama.cpp may look at a rule in its search for left recursion, which forgets where it has been."""
_MOST_DEPTH: Final = 500
"""How deep that search may go, as it is recursive."""
_MOST_STACKS: Final = 2_000
"""Stacks at one place in the text."""
_CHARACTERS: Final = 16
_ALIKE: Final = 64
"""How far texts are read: tokens are not longer, as a rule, and the longest repeat one character."""
_MOST_WAYS: Final = 100_000
"""In how many ways the beginnings of such a text may be read, all together.

Three loops one after the other over the same characters make 47,905 of 64 characters, a loop in a loop some 10**19.
"""
_MOST_WORK: Final = 1_000_000

Element: TypeAlias = "int | Ranges | None"
"""A rule by its number, characters, or the end of an alternative."""


def grammar_fault(rules: Rules, roots: Iterable[Node]) -> str | None:
    """Why llama.cpp would not manage the grammar of `roots`, as a clause that names a rule; None if it does.

    It is looked at from all rules that can be reached from `roots`.
    """
    program = _Program(rules, roots)
    if program.too_large:
        return "its repetitions make it too large"
    endless = program.first_without(program.known(texts=True))
    if endless is not None:
        return f"the rule {endless!r} has no end: all that it says contains itself"
    begins = _Begins(program, program.known(texts=False))
    return begins.fault() or _Reading(program).fault()


class _Program:
    """The rules, one element after the other, with repetitions as rules of their own, which is what llama.cpp does."""

    def __init__(self, rules: Rules, roots: Iterable[Node]) -> None:
        self.elements: list[Element] = []
        self.alternatives: list[tuple[int, ...]] = []
        """Of each rule, the places where its alternatives begin."""
        self.owners: list[str] = []
        """Of each rule, the name of that rule in the grammar's text which it is or is part of."""
        self.named: list[int] = []
        """The rules that are not parts of repetitions."""
        self.endless: list[int] = []
        """The rules that are repetitions without an end."""
        self.too_large = False
        self._rules = rules
        self._numbers: dict[str, int] = {}
        self._todo: list[tuple[int, Node]] = []
        for root in roots:
            self._named(root, root.name if isinstance(root, Rule) else "")
        while self._todo and not self.too_large:
            number, node = self._todo.pop()
            self._define(number, [self._flat(one, number) for one in _options(node)])

    def __len__(self) -> int:
        return len(self.alternatives)

    def alternative(self, at: int) -> Iterable[int | Ranges]:
        """The elements from the place `at` to the end of the alternative."""
        while (element := self.elements[at]) is not None:
            yield element
            at += 1

    def known(self, *, texts: bool) -> set[int]:
        """The rules that can be said to their end: with texts, or (else) by saying nothing."""
        waiting: dict[int, list[int]] = defaultdict(list)
        missing: list[int] = []
        owner: list[int] = []
        found: set[int] = set()
        for rule, alternatives in enumerate(self.alternatives):
            for start in alternatives:
                parts = list(self.alternative(start))
                if not texts and any(not isinstance(part, int) for part in parts):
                    continue
                rule_parts = [part for part in parts if isinstance(part, int)]
                missing.append(len(rule_parts))
                owner.append(rule)
                for part in rule_parts:
                    waiting[part].append(len(missing) - 1)
        todo = [owner[one] for one, count in enumerate(missing) if not count]
        while todo:
            rule = todo.pop()
            if rule in found:
                continue
            found.add(rule)
            for one in waiting[rule]:
                missing[one] -= 1
                if not missing[one]:
                    todo.append(owner[one])
        return found

    def first_without(self, found: set[int]) -> str | None:
        """The owner of a rule that is not among those `found`."""
        return next((self.owners[rule] for rule in range(len(self)) if rule not in found), None)

    def _new(self, owner: str) -> int:
        self.alternatives.append(())
        self.owners.append(owner)
        return len(self.alternatives) - 1

    def _named(self, node: Node, owner: str) -> int:
        """The number of what will be the rule for `node`."""
        if isinstance(node, Rule):
            if node.name not in self._numbers:
                # Names of our own are numbers; their owner is who mentions them first.
                self._numbers[node.name] = number = self._new(owner if node.name.isdecimal() else node.name)
                self.named.append(number)
                self._todo.append((number, self._rules[node.name]))
            return self._numbers[node.name]
        number = self._new(owner)
        self.named.append(number)
        self._todo.append((number, node))
        return number

    def _define(self, number: int, alternatives: Iterable[Sequence[int | Ranges]]) -> None:
        starts = []
        for parts in alternatives:
            starts.append(len(self.elements))
            self.elements += parts
            self.elements.append(None)
        self.alternatives[number] = tuple(starts)
        self.too_large = self.too_large or len(self.elements) > _MOST_ELEMENTS

    def _flat(self, node: Node, rule: int) -> list[int | Ranges]:
        owner = self.owners[rule]
        if isinstance(node, Literal):
            return [((ord(char), ord(char)),) for char in node.text]
        if isinstance(node, Chars):
            return [_united(node.ranges)]
        if isinstance(node, Run):
            return [element for part in node.items for element in self._flat(part, rule)]
        if isinstance(node, Repeat):
            return self._repeated(node, rule)
        return [self._named(node, owner)]

    def _repeated(self, node: Repeat, rule: int) -> list[int | Ranges]:
        """S{2,4} becomes S S x with x ::= S y | "" and y ::= S | "", and S* becomes x with x ::= S x | ""."""
        item = self._flat(node.item, rule)
        parts = item * node.low
        inner: list[int | Ranges] = []
        if node.high is None:
            number = self._new(self.owners[rule])
            self.endless.append(number)
            inner = [number]
            self._define(number, [[*item, number], []])
        else:
            for _ in range(node.high - node.low):
                number = self._new(self.owners[rule])
                self._define(number, [[*item, *inner], []])
                inner = [number]
        return parts + inner


def _options(node: Node) -> tuple[Node, ...]:
    return node.options if isinstance(node, Choice) else (node,)


def _united(ranges: Ranges) -> Ranges:
    """`ranges` in their order, without overlaps."""
    found: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if found and low <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(found[-1][1], high))
        else:
            found.append((low, high))
    return tuple(found)


class _Begins:
    """What rules begin with."""

    def __init__(self, program: _Program, empty: set[int]) -> None:
        self._program = program
        self._empty = empty
        self._first = [self._firsts(rule) for rule in range(len(program))]

    def fault(self) -> str | None:
        order, circle = self._order()
        owners = self._program.owners
        if circle is not None:
            return f"the rule {owners[circle]!r} can begin with itself, directly or through others (left recursion)"
        calls, depth = [0] * len(self._first), [0] * len(self._first)
        for rule in order:
            calls[rule] = 1 + sum(calls[one] for one in self._first[rule])
            depth[rule] = 1 + max((depth[one] for one in self._first[rule]), default=0)
            if depth[rule] > _MOST_DEPTH:
                return f"the rule {owners[rule]!r} begins with rules in more than {_MOST_DEPTH} levels"
            if calls[rule] > _MOST_CALLS:
                break
        if sum(calls) > _MOST_CALLS:
            return f"the rule {owners[calls.index(max(calls))]!r} has alternatives that are nested too often"
        return self._stacks_fault(order)

    def _stacks_fault(self, order: Iterable[int]) -> str | None:
        """llama.cpp holds all ways to go on at once."""
        program = self._program
        ways = [0] * len(program)
        for rule in order:
            for start in program.alternatives[rule]:
                ways[rule] += self._ways(program.alternative(start), ways)
            if ways[rule] > _MOST_STACKS:
                return f"the rule {program.owners[rule]!r} can begin in more than {_MOST_STACKS:,} ways"
        for rule, alternatives in enumerate(program.alternatives):
            for start in alternatives:
                after = 1
                for part in reversed(list(program.alternative(start))):
                    after = (ways[part] + (after if part in self._empty else 0)) if isinstance(part, int) else 1
                    if after > _MOST_STACKS:
                        return f"the rule {program.owners[rule]!r} can go on in more than {_MOST_STACKS:,} ways"
        return None

    def _ways(self, parts: Iterable[int | Ranges], ways: Sequence[int]) -> int:
        found = 0
        for part in parts:
            if not isinstance(part, int):
                return found + 1
            found += ways[part]
            if part not in self._empty:
                return found
        return found + 1

    def _firsts(self, rule: int) -> list[int]:
        found = []
        for start in self._program.alternatives[rule]:
            for part in self._program.alternative(start):
                if not isinstance(part, int):
                    break
                found.append(part)
                if part not in self._empty:
                    break
        return found

    def _order(self) -> tuple[list[int], int | None]:
        """The rules, each after those that it begins with; and one that begins with itself, if there is one."""
        order: list[int] = []
        open_, done = set[int](), set[int]()
        for root in range(len(self._first)):
            path = [(root, iter(self._first[root]))]
            while path:
                rule, rest = path[-1]
                if rule in done:
                    path.pop()
                    continue
                open_.add(rule)
                following = next(rest, None)
                if following is None:
                    path.pop()
                    open_.discard(rule)
                    done.add(rule)
                    order.append(rule)
                elif following in open_:
                    return order, following
                elif following not in done:
                    path.append((following, iter(self._first[following])))
        return order, None


class _Reading:
    """Reads by the grammar what can be read in many ways.

    A stack is a number: the place in the program that comes next, and the stack below; 0 is the empty one.
    """

    def __init__(self, program: _Program) -> None:
        self._program = program
        self._tops: list[int] = [0]
        self._below: list[int] = [0]
        self._known: dict[tuple[int, int], int] = {}
        self._expanded: dict[int, tuple[int, ...]] = {0: (0,)}
        self._work = 0

    def fault(self) -> str | None:
        for rule, starts in self._starts():
            ways = dict.fromkeys((one for start in starts for one in self._expand(self._pushed(start, 0))), 1)
            if self._ambiguous(ways):
                return (
                    f"the rule {self._program.owners[rule]!r} is too ambiguous, as short texts can be read in more "
                    f"than {_MOST_WAYS:,} ways: join what begins alike, and put something between repetitions"
                )
            if self._work > _MOST_WORK:
                return "it is too large to be followed"
        return None

    def _starts(self) -> Iterator[tuple[int, Sequence[int]]]:
        """The places from which a rule is read: its beginning, and wherever something else follows than a letter."""
        alternatives = self._program.alternatives
        # Those that others mention first, to name the one that is to blame.
        for rule in (*self._program.endless, *reversed(self._program.named)):
            yield rule, alternatives[rule]
        for rule in self._program.named:
            for start in alternatives[rule]:
                for at, (before, part) in enumerate(pairwise(self._program.alternative(start)), start + 1):
                    # What is repeated is read from where its repetition begins.
                    if part != before and (isinstance(part, int) or part[0][0] != part[-1][1]):
                        yield rule, [at]

    def _ambiguous(self, ways: Mapping[int, int]) -> bool:
        """Whether what begins with the stacks `ways` can be read in too many ways.

        It is read with the character that leaves most ways at each step, and before each of these steps also with the
        same character again and again.
        """
        tried: set[tuple[frozenset[int], int]] = set()
        chars = {low for stack in ways if stack for low, _ in self._characters(stack)}
        total = 0
        for _ in range(_CHARACTERS):
            best = self._best(ways)
            stacks = frozenset(ways)
            for char in {best, *chars}:
                if (stacks, char) not in tried and self._exceeds(dict.fromkeys(stacks, 1), char):
                    return True
                tried.add((stacks, char))
            ways, chars = self._read(ways, best), set()
            total += sum(ways.values())
            if not ways or total > _MOST_WAYS or self._work > _MOST_WORK:
                break
        return total > _MOST_WAYS

    def _exceeds(self, ways: Mapping[int, int], char: int) -> bool:
        total = 0
        for _ in range(_ALIKE):
            ways = self._read(ways, char)
            total += sum(ways.values())
            if not ways or total > _MOST_WAYS or self._work > _MOST_WORK:
                break
        return total > _MOST_WAYS

    def _best(self, ways: Mapping[int, int]) -> int:
        """The character after which there are most ways."""
        changes: dict[int, int] = defaultdict(int)
        for stack, count in ways.items():
            if stack:
                weight = count * len(self._after(stack))
                for low, high in self._characters(stack):
                    changes[low] += weight
                    changes[high + 1] -= weight
        best = most = level = 0
        for char in sorted(changes):
            level += changes[char]
            if level > most:
                best, most = char, level
        self._work += len(changes)
        return best

    def _read(self, ways: Mapping[int, int], char: int) -> Mapping[int, int]:
        """The ways after `char`: stacks, and how often each."""
        after: dict[int, int] = defaultdict(int)
        for stack, count in ways.items():
            if stack and any(low <= char <= high for low, high in self._characters(stack)):
                for one in self._after(stack):
                    after[one] += count
        self._work += len(ways) + len(after)
        return after

    def _characters(self, stack: int) -> Ranges:
        element = self._program.elements[self._tops[stack]]
        assert isinstance(element, tuple)
        return element

    def _after(self, stack: int) -> tuple[int, ...]:
        """The stacks when the character on top of `stack` has been read."""
        return self._expand(self._pushed(self._tops[stack] + 1, self._below[stack]))

    def _pushed(self, place: int, stack: int) -> int:
        """`stack` with what stands at `place` upon it, unless that is an end."""
        if self._program.elements[place] is None:
            return stack
        number = self._known.setdefault((place, stack), len(self._tops))
        if number == len(self._tops):
            self._tops.append(place)
            self._below.append(stack)
        return number

    def _expand(self, stack: int) -> tuple[int, ...]:
        """`stack` with the rule on top replaced by what it begins with, until there are characters on top."""
        found = self._expanded.get(stack)
        if found is not None:
            return found
        seen: dict[int, bool] = {}
        todo = [stack]
        while todo:
            one = todo.pop()
            if one in seen:
                continue
            element = self._program.elements[self._tops[one]] if one else None
            seen[one] = not isinstance(element, int)
            if isinstance(element, int):
                below = self._pushed(self._tops[one] + 1, self._below[one])
                todo.extend(self._pushed(start, below) for start in self._program.alternatives[element])
        self._expanded[stack] = found = tuple(one for one, ready in seen.items() if ready)
        return found
