"""From a JSON schema (draft 2020-12, and what earlier drafts called differently) to rules."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from functools import partial
from typing import Any, Final
from urllib.parse import unquote

from lollms_llamacpp.grammar.merging import ASSERTIONS, fits, merged, types_of
from lollms_llamacpp.grammar.nodes import EMPTY, Choice, Impossible, Literal, Node, Rule, Rules, run
from lollms_llamacpp.grammar.numbers import Bounds, any_number, integers, numbers
from lollms_llamacpp.grammar.objects import ArrayWriter, ObjectWriter
from lollms_llamacpp.grammar.patterns import pattern
from lollms_llamacpp.grammar.strings import FORMATS, any_string, json_text, string_of

__all__ = ["SchemaWriter"]

_MOST_DEPTH: Final = 100
_MOST_CHOICES: Final = 2000
_MOST_ALTERNATIVES: Final = 200
_MOST_BOUND: Final = Decimal(10) ** 40


class SchemaWriter:
    """Writes one schema as the rule `name` and others that it needs.

    Raises:
        ValueError: see :func:`~lollms_llamacpp.grammar.grammar_of_schema`.
    """

    def __init__(self, rules: Rules, schema: Mapping[str, Any] | bool, name: str) -> None:
        self.rules = rules
        self._root = schema
        self._name = name
        self._references: dict[str, Rule] = {}
        self._depth = 0

    def write(self) -> None:
        """Define the rule.

        Raises:
            ValueError: nothing satisfies the schema, or the grammar is too large.
        """
        try:
            node = self.node(self._root, "#")
            self.rules.define(self._name, node)
        except Impossible as error:
            raise ValueError(f"nothing satisfies the schema: {error}") from None
        except RecursionError:
            raise ValueError("the schema is nested too deep for a grammar") from None
        if not self.rules.finish(self._name):
            raise ValueError("nothing satisfies the schema: what it asks for contains itself without an end")

    def node(self, schema: Any, where: str) -> Node:
        """The texts that satisfy the part `schema` of the schema, which stands at `where`.

        Raises:
            Impossible: there are none.
        """
        if schema is True:
            return self.any_value()
        if schema is False:
            raise Impossible(f"{where} is false")
        if not isinstance(schema, Mapping):
            raise ValueError(f"the schema at {where} must be an object, true or false")  # noqa: TRY004 - of a value
        self._depth += 1
        if self._depth > _MOST_DEPTH:
            raise ValueError(f"the schema is nested deeper than {_MOST_DEPTH} levels at {where}")
        try:
            return self._node(schema, where)
        finally:
            self._depth -= 1

    def _node(self, schema: Mapping[str, Any], where: str) -> Node:
        keys = {key for key in schema if key in _APPLICATORS or key in ASSERTIONS}
        if not keys:
            return self.any_value()
        if keys <= {"$ref"} or keys <= {"$dynamicRef"}:
            return self._reference(schema[next(iter(keys))], where)
        if len(keys) == 1 and (key := next(iter(keys))) in {"anyOf", "oneOf"}:
            options = [partial(self.node, option, f"{where}/{key}/{at}") for at, option in enumerate(schema[key])]
            return self._first_possible(options, where)
        if keys & _APPLICATORS:
            flats = self._flattened(schema, where, ())
            return self._first_possible([partial(self._plain, flat, where) for flat in flats], where)
        return self._plain(schema, where)

    def _first_possible(self, writers: Sequence[Callable[[], Node]], where: str) -> Node:
        """A choice of what can be satisfied."""
        if len(writers) > _MOST_CHOICES:
            raise ValueError(f"the schema has {len(writers)} alternatives at {where}; the most are {_MOST_CHOICES}")
        options: list[Node] = []
        problem: Impossible | None = None
        for writer in writers:
            try:
                options.append(writer())
            except Impossible as error:
                problem = error
        if not options:
            raise problem or Impossible(f"{where} has no alternative")
        return self.rules.choice(options)

    # References and alternatives ----------------------------------------------------------------------

    def _reference(self, target: Any, where: str) -> Rule:
        if not isinstance(target, str):
            raise ValueError(f"the reference at {where} must be a text")  # noqa: TRY004 - of a value
        rule = self._references.get(target)
        if rule is None:
            # Defined after its name is known, as it may refer to itself.
            rule = self._references[target] = self.rules.reserve()
            try:
                node = self.node(self._resolved(target, where), target)
            except Impossible:
                node = Choice(())
            self.rules.define(rule.name, node)
        return rule

    def _resolved(self, target: str, where: str) -> Any:
        """What a reference leads to.

        Raises:
            ValueError: it leads nowhere, or out of the schema.
        """
        if not target.startswith("#"):
            raise ValueError(f"the schema refers at {where} to {target!r}, which is outside of it")
        found: Any = self._root
        pointer = unquote(target[1:])
        if pointer and not pointer.startswith("/"):
            return self._anchor(pointer, where)
        for part in pointer.split("/")[1:]:
            key = part.replace("~1", "/").replace("~0", "~")
            if isinstance(found, list) and key.isdecimal() and int(key) < len(found):
                found = found[int(key)]
            elif isinstance(found, Mapping) and key in found:
                found = found[key]
            else:
                raise ValueError(f"the schema refers at {where} to {target!r}, which it does not have")
        return found

    def _anchor(self, name: str, where: str) -> Any:
        todo: list[Any] = [self._root]
        while todo:
            part = todo.pop()
            if isinstance(part, Mapping):
                if name in (part.get("$anchor"), part.get("$dynamicAnchor")):
                    return part
                todo.extend(part.values())
            elif isinstance(part, list):
                todo.extend(part)
        raise ValueError(f"the schema refers at {where} to '#{name}', which it does not have")

    def _flattened(self, schema: Any, where: str, passed: tuple[str, ...]) -> list[Mapping[str, Any]]:
        """Schemas without references and alternatives at their top, of which one must be satisfied."""
        if schema is True:
            return [{}]
        if schema is False:
            return []
        if not isinstance(schema, Mapping):
            raise ValueError(f"the schema at {where} must be an object, true or false")  # noqa: TRY004 - of a value
        if len(passed) > _MOST_DEPTH:
            raise ValueError(f"the schema is nested deeper than {_MOST_DEPTH} levels at {where}")
        found: list[Mapping[str, Any]] = [{key: value for key, value in schema.items() if key in ASSERTIONS}]
        for reference in ("$ref", "$dynamicRef"):
            target = schema.get(reference)
            # What refers to itself adds nothing to itself.
            if isinstance(target, str) and target not in passed:
                found = _each_with_each(
                    found, self._flattened(self._resolved(target, where), target, (*passed, target))
                )
        inner = (*passed, where)
        for at, part in enumerate(schema.get("allOf", ())):
            found = _each_with_each(found, self._flattened(part, f"{where}/allOf/{at}", inner))
        for key in ("anyOf", "oneOf"):
            if key in schema:
                options: list[Mapping[str, Any]] = []
                for at, part in enumerate(schema[key]):
                    options += self._flattened(part, f"{where}/{key}/{at}", inner)
                if len(found) * len(options) > _MOST_ALTERNATIVES:
                    raise ValueError(f"the schema has more than {_MOST_ALTERNATIVES} combined alternatives at {where}")
                found = _each_with_each(found, options)
        return found

    # Values -------------------------------------------------------------------------------------------

    def _plain(self, schema: Mapping[str, Any], where: str) -> Node:
        if "enum" in schema or "const" in schema:
            return self._choices(schema, where)
        kinds = types_of(schema)
        if "number" in kinds and "integer" in kinds:
            kinds.remove("integer")
        return self._first_possible([partial(self._of_type, kind, schema, where) for kind in kinds], where)

    def _of_type(self, kind: str, schema: Mapping[str, Any], where: str) -> Node:
        if kind == "object":
            return ObjectWriter(self, schema, where).node()
        if kind == "array":
            return ArrayWriter(self, schema, where).node()
        if kind == "string":
            return self._string(schema, where)
        if kind in {"integer", "number"}:
            return self._number(kind, schema, where)
        if kind == "boolean":
            return self.rules.choice([Literal("true"), Literal("false")])
        if kind == "null":
            return Literal("null")
        raise ValueError(f"the schema at {where} has the unknown type {kind!r}")

    def _choices(self, schema: Mapping[str, Any], where: str) -> Node:
        values = schema.get("enum", [schema.get("const")])
        if len(values) > _MOST_CHOICES:
            raise ValueError(f"the schema has {len(values)} values at {where}/enum; the most are {_MOST_CHOICES}")
        fitting = [value for value in values if fits(value, schema)]
        if not fitting:
            raise Impossible(f"no value of {where} satisfies its other keywords")
        return self.rules.choice(json_text(value) for value in fitting)

    def finite(self, schema: Any, most: int) -> list[Any] | None:
        """The values that satisfy `schema`, None if they are not listed or more than `most`."""
        if not isinstance(schema, Mapping) or any(key in _APPLICATORS for key in schema):
            return None
        if "enum" in schema or "const" in schema:
            values = [value for value in schema.get("enum", [schema.get("const")]) if fits(value, schema)]
        elif schema.get("type") == "boolean":
            values = [True, False]
        else:
            return None
        different = {json.dumps(value, sort_keys=True): value for value in values}
        return list(different.values()) if len(different) <= most else None

    def _string(self, schema: Mapping[str, Any], where: str) -> Node:
        low, high = self.counts(schema, "Length", where)
        known = FORMATS.get(schema.get("format", ""))
        if known is not None:
            return string_of(self.rules.share(known(self.rules)))
        expression = schema.get("pattern")
        content = pattern(self.rules, expression) if isinstance(expression, str) else None
        if content is not None:
            return string_of(content)
        return self.at(where, lambda: any_string(self.rules, low, high))

    def _number(self, kind: str, schema: Mapping[str, Any], where: str) -> Node:
        low, above = _bound(schema, "minimum", "exclusiveMinimum", max)
        high, below = _bound(schema, "maximum", "exclusiveMaximum", min)
        if (low is not None and low > _MOST_BOUND) or (high is not None and high < -_MOST_BOUND):
            raise ValueError(f"the numbers of the schema at {where} are too large for a grammar")
        if low is not None and low < -_MOST_BOUND:
            low, above = None, False
        if high is not None and high > _MOST_BOUND:
            high, below = None, False
        multiple = 1
        step = schema.get("multipleOf")
        if step is not None and step == int(step) and step > 1:
            multiple, kind = int(step), "integer"
        writer = integers if kind == "integer" else numbers
        node = writer(self.rules, Bounds(low, high, above, below, multiple))
        if node is None:
            raise Impossible(f"there is no such number as {where} asks for")
        return node

    def counts(self, schema: Mapping[str, Any], what: str, where: str) -> tuple[int, int | None]:
        """The bounds ``min...`` and ``max...`` of `schema`.

        Raises:
            Impossible: the least is more than the most.
        """
        low = int(schema.get(f"min{what}", 0))
        high = None if f"max{what}" not in schema else int(schema[f"max{what}"])
        if high is not None and high < low:
            raise Impossible(f"at {where}, max{what} is less than min{what}")
        return low, high

    def at(self, where: str, write: Callable[[], Node]) -> Node:
        """What `write` gives.

        Raises:
            ValueError: from `write`; the text then says where.
        """
        try:
            return write()
        except ValueError as error:
            raise ValueError(f"the schema at {where}: {error}") from None

    def any_value(self) -> Rule:
        """Any JSON value."""
        rule = self._references.get("")
        if rule is None:
            rule = self._references[""] = self.rules.reserve()
            text = self.rules.share(any_string(self.rules))
            value = self.rules.share(run(Literal(", "), rule), tail=False)
            pair = self.rules.share(run(Literal(", "), text, Literal(": "), rule))
            self.rules.define(
                rule.name,
                Choice(
                    (
                        run(
                            Literal("{"),
                            self.rules.share(
                                Choice((run(text, Literal(": "), rule, self.rules.repeat(pair, 0, None)), EMPTY))
                            ),
                            Literal("}"),
                        ),
                        run(
                            Literal("["),
                            self.rules.share(Choice((run(rule, self.rules.repeat(value, 0, None)), EMPTY))),
                            Literal("]"),
                        ),
                        text,
                        self.rules.share(any_number(self.rules)),
                        Literal("true"),
                        Literal("false"),
                        Literal("null"),
                    )
                ),
            )
        return rule


_APPLICATORS: Final = frozenset({"$ref", "$dynamicRef", "allOf", "anyOf", "oneOf"})


def _each_with_each(some: list[Mapping[str, Any]], others: list[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    if len(some) * len(others) > _MOST_ALTERNATIVES:
        raise ValueError(f"the schema has more than {_MOST_ALTERNATIVES} combined alternatives")
    return [merged(one, other) for one in some for other in others]


def _bound(
    schema: Mapping[str, Any], inclusive: str, exclusive: str, nearer: Callable[[Decimal, Decimal], Decimal]
) -> tuple[Decimal | None, bool]:
    """A bound and whether it is left out itself."""
    values = {key: _decimal(schema[key]) for key in (inclusive, exclusive) if _is_number(schema.get(key))}
    if schema.get(exclusive) is True and inclusive in values:
        return values[inclusive], True  # as draft 4 has it
    if not values:
        return None, False
    if len(values) == 2 and values[inclusive] == values[exclusive]:
        return values[exclusive], True
    bound = nearer(*values.values()) if len(values) == 2 else next(iter(values.values()))
    return bound, values.get(exclusive) == bound


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _decimal(value: float) -> Decimal:
    try:
        return Decimal(repr(value))
    except ValueError:
        # More digits than Python writes out.
        return Decimal("1e5000") if value > 0 else Decimal("-1e5000")
