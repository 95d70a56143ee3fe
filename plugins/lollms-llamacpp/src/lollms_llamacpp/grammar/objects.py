"""Objects and arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from lollms_llamacpp.grammar.nodes import EMPTY, Choice, Impossible, Literal, Node, Rule, run
from lollms_llamacpp.grammar.patterns import pattern
from lollms_llamacpp.grammar.strings import json_text, other_keys, string_of

if TYPE_CHECKING:
    from lollms_llamacpp.grammar.schemas import SchemaWriter

__all__ = ["ArrayWriter", "ObjectWriter"]

_MOST_PROPERTIES: Final = 1000
_MOST_JOINED: Final = 24
_ROOM_TO_JOIN: Final = 20_000
_MOST_UNIQUE: Final = 6

_BEGIN, _END = Literal("{"), Literal("}")
_COMMA: Final = Literal(", ")


class ObjectWriter:
    """Objects of a schema: the properties that it names, in its order, then others if it lets them in.

    Others are let in by ``additionalProperties`` and ``patternProperties``; a schema that names properties and says
    nothing about others gets none, since a model that may add what it likes does.
    """

    def __init__(self, writer: SchemaWriter, schema: Mapping[str, Any], where: str) -> None:
        self._writer, self._rules = writer, writer.rules
        self._schema, self._where = schema, where
        self._required = list(schema.get("required", ()))
        self._properties = dict(schema.get("properties", {}))
        named = bool(self._properties)
        names = writer.finite(schema.get("propertyNames"), _MOST_PROPERTIES)
        if names is not None and not named:
            # A few names that may come are properties, each of which comes once.
            rest = schema.get("additionalProperties", True)
            self._properties = {name: rest for name in names if isinstance(name, str)}
        for name in self._required:
            if name not in self._properties:
                self._properties[name] = self._rest(name)
        self._others = names is None and schema.get("additionalProperties", "propertyNames" in schema or not named)
        if len(self._properties) > _MOST_PROPERTIES:
            raise ValueError(
                f"the schema has {len(self._properties)} properties at {where}; the most are {_MOST_PROPERTIES}"
            )

    def _rest(self, name: str) -> Any:
        if "patternProperties" in self._schema:
            return {"allOf": list(self._schema["patternProperties"].values())[:1]}
        return self._schema.get("additionalProperties", True)

    def node(self) -> Node:
        members = self._members()
        other = self._other()
        low, high = self._writer.counts(self._schema, "Properties", self._where)
        if high is not None and high < len(set(self._required)):
            raise Impossible(f"at {self._where}, maxProperties is less than the number of required properties")
        if not members:
            return self._map(other, low, high)
        return run(_BEGIN, self._sequence(members, other))

    def _members(self) -> list[tuple[Node, bool]]:
        """Key with value, and whether it must be there, of each property that can be."""
        members: list[tuple[Node, bool]] = []
        for name, schema in self._properties.items():
            needed = name in self._required
            try:
                value = self._rules.share(self._writer.node(schema, f"{self._where}/properties/{_escaped(name)}"))
            except Impossible:
                if needed:
                    raise
                continue
            members.append((run(json_text(name), Literal(": "), value), needed))
        return members

    def _other(self) -> Rule | None:
        """Key with value of a property that the schema does not name; None if there can be none."""
        options: list[Node] = []
        for expression, schema in self._schema.get("patternProperties", {}).items():
            content = pattern(self._rules, expression)
            if content is not None and not self._properties:
                try:
                    value = self._writer.node(schema, f"{self._where}/patternProperties/{_escaped(expression)}")
                except Impossible:
                    continue
                options.append(run(string_of(content), Literal(": "), self._rules.share(value)))
        if self._others is not False and not self._schema.get("patternProperties"):
            try:
                value = self._writer.node(self._others, f"{self._where}/additionalProperties")
                options.append(run(self._key(), Literal(": "), self._rules.share(value)))
            except Impossible:
                pass
        return self._rules.share(Choice(tuple(options)) if len(options) > 1 else options[0]) if options else None

    def _key(self) -> Node:
        names = self._schema.get("propertyNames", True)
        if isinstance(names, Mapping):
            return self._rules.share(
                self._writer.node({"allOf": [{"type": "string"}, names]}, f"{self._where}/propertyNames")
            )
        return self._rules.share(other_keys(self._rules, self._properties))

    def _map(self, other: Rule | None, low: int, high: int | None) -> Node:
        """An object of nothing but others."""
        if other is None or high == 0:
            if low:
                raise Impossible(f"{self._where} asks for properties and lets none in")
            return Literal("{}")
        return self._writer.at(self._where, lambda: _listed(self._writer, _BEGIN, other, low, high, _END))

    def _sequence(self, members: list[tuple[Node, bool]], other: Rule | None) -> Node:
        """What stands after the opening brace."""
        rules = self._rules
        many = len(members) > _MOST_JOINED or rules.room < _ROOM_TO_JOIN
        if other is None:
            begun: Node = _END
            fresh: Node = _END
        else:
            more = rules.repeat(run(_COMMA, other), 0, None)
            begun = rules.share(run(more, _END))
            fresh = rules.share(Choice((run(other, more, _END), _END)))
        # From the last to the first: what may follow when there is a property before, and when there is none.
        for member, needed in reversed(members):
            after = begun
            with_comma = run(_COMMA, member, after)
            without_comma = run(member, after)
            if needed:
                begun, fresh = rules.share(with_comma, tail=not many), rules.share(without_comma, tail=not many)
            elif many:
                begun = rules.share(Choice((with_comma, begun)))
                fresh = rules.share(Choice((without_comma, fresh)))
            else:
                begun = rules.share(rules.choice([with_comma, begun]), tail=True)
                fresh = rules.share(rules.choice([without_comma, fresh]), tail=True)
        return fresh


class ArrayWriter:
    """Arrays of a schema: the items that it lists one by one, then others."""

    def __init__(self, writer: SchemaWriter, schema: Mapping[str, Any], where: str) -> None:
        self._writer, self._rules = writer, writer.rules
        self._schema, self._where = schema, where
        self._first = list(schema.get("prefixItems", ()))
        rest = "items"
        if isinstance(schema.get("items"), list):  # before draft 2020-12
            self._first, rest = list(schema["items"]), "additionalItems"
        self._rest: Any = schema.get(rest, True)
        self._says_rest = rest in schema

    def node(self) -> Node:
        low, high = self._writer.counts(self._schema, "Items", self._where)
        if len(self._first) > _MOST_PROPERTIES:
            raise ValueError(f"the schema lists {len(self._first)} items at {self._where}; the most are 1000")
        if high is not None:
            del self._first[high:]
        first: list[Rule] = []
        ended = False
        for at, schema in enumerate(self._first):
            try:
                first.append(self._rules.share(self._writer.node(schema, f"{self._where}/prefixItems/{at}")))
            except Impossible:
                if at < low:
                    raise
                ended = True
                break
        rest = None if ended else self._others(len(first), low, high)
        if rest is None:
            high = len(first)
        if not first and rest is not None:
            unique = self._unique(low, high)
            if unique is not None:
                return unique
            return self._writer.at(
                self._where, lambda: _listed(self._writer, Literal("["), rest, low, high, Literal("]"))
            )
        return self._with_first(first, rest, low, high)

    def _others(self, listed: int, low: int, high: int | None) -> Rule | None:
        # A list of the schema's own length is what a schema with places means, unless it says more.
        if (high is not None and high <= listed) or (self._first and not self._says_rest and low <= listed):
            return None
        try:
            return self._rules.share(self._writer.node(self._rest, f"{self._where}/items"))
        except Impossible:
            if low > listed:
                raise
            return None

    def _with_first(self, first: list[Rule], rest: Rule | None, low: int, high: int | None) -> Node:
        rules = self._rules
        end: Node = Literal("]")
        if rest is not None:
            most = None if high is None else high - len(first)
            more = rules.share(run(_COMMA, rest))
            end = run(self._writer.at(self._where, lambda: rules.repeat(more, max(0, low - len(first)), most)), end)
        for at in range(len(first) - 1, -1, -1):
            item = run(_COMMA if at else EMPTY, first[at], end if isinstance(end, Literal) else rules.share(end))
            end = item if at < low else Choice((item, Literal("]")))
        return run(Literal("["), rules.share(end) if isinstance(end, Choice) else end)

    def _unique(self, low: int, high: int | None) -> Node | None:
        """Arrays of a few values, each at most once; None if they are not few, or may come again."""
        values = self._writer.finite(self._rest, _MOST_UNIQUE) if self._schema.get("uniqueItems") is True else None
        if values is None:
            return None
        if low > len(values):
            raise Impossible(f"{self._where} asks for {low} different items, and there are {len(values)}")
        most = len(values) if high is None else min(high, len(values))
        known: dict[frozenset[int], Node] = {}

        def after(used: frozenset[int]) -> Node:
            if used not in known:
                options: list[Node] = []
                if len(used) < most:
                    options += [
                        run(_COMMA if used else EMPTY, json_text(value), after(used | {at}))
                        for at, value in enumerate(values)
                        if at not in used
                    ]
                if len(used) >= low:
                    options.append(Literal("]"))
                known[used] = self._rules.share(self._rules.choice(options))
            return known[used]

        return run(Literal("["), after(frozenset()))


def _listed(writer: SchemaWriter, begin: Node, item: Rule, low: int, high: int | None, end: Node) -> Node:
    """`low` to `high` items with commas between them."""
    rules = writer.rules
    if high == 0:
        return run(begin, end)
    more = rules.share(run(_COMMA, item))
    some = run(item, rules.repeat(more, max(0, low - 1), None if high is None else high - 1))
    return run(begin, some if low else rules.share(Choice((some, EMPTY))), end)


def _escaped(name: str) -> str:
    """A name as a part of a JSON pointer (RFC 6901)."""
    return name.replace("~", "~0").replace("/", "~1")
