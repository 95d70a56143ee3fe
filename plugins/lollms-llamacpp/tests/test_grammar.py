"""Grammars of schemas: what they let through satisfies the schema, and llama.cpp reads them as we do."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator, Mapping
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from gbnf_texts import accepted, check, said
from random_schemas import Schemas

from lollms_llamacpp.grammar import GrammarBuilder, grammar_of_schema
from lollms_llamacpp.native import Model
from lollms_llamacpp.options import LoadOptions
from lollms_llamacpp.samplers import Grammar


@pytest.fixture(scope="module")
def model(tiny_folder: Path) -> Iterator[Model]:
    model = Model(tiny_folder / "chatty.gguf", LoadOptions())
    yield model
    model.close()


@pytest.mark.parametrize("part", range(10))
def test_schemas_by_chance(model: Model, part: int) -> None:
    """Of any schema: texts of its grammar satisfy it and are accepted by llama.cpp, and so are values of it."""
    for seed in range(part * 30, part * 30 + 30):
        schema, value = Schemas(seed).any()
        jsonschema.validate(value, schema, jsonschema.Draft202012Validator)
        grammar = grammar_of_schema(schema)
        for text in (json.dumps(value), json.dumps(value, ensure_ascii=False)):
            assert accepted(model, grammar, text), (schema, text)
        texts = said(schema, 6, seed)
        check(schema, texts)
        for text in texts[:2]:
            assert accepted(model, grammar, text), (schema, text)


# Each keyword -------------------------------------------------------------------------------------------

NODE = {
    "$defs": {
        "node": {
            "type": "object",
            "properties": {"v": {"type": "integer"}, "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}},
            "required": ["v", "next"],
            "additionalProperties": False,
        }
    },
    "$ref": "#/$defs/node",
}
SCHEMAS: dict[str, Any] = {
    "anything": {},
    "true": True,
    "annotations only": {"title": "T", "description": "d", "default": 1},
    "recursive": NODE,
    "root reference": {"type": "object", "properties": {"sub": {"$ref": "#"}}, "additionalProperties": False},
    "reference with more": {"$defs": {"a": {"type": "integer", "minimum": 3}}, "$ref": "#/$defs/a", "maximum": 7},
    "anchor": {"$defs": {"x": {"$anchor": "here", "enum": [1, 2]}}, "type": "array", "items": {"$ref": "#here"}},
    "pointer with escapes": {"$defs": {"a/b~c": {"const": 5}}, "$ref": "#/$defs/a~1b~0c"},
    "allOf": {
        "allOf": [
            {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
            {"properties": {"a": {"minimum": 5}, "b": {"const": None}}, "required": ["b"]},
        ]
    },
    "allOf with anyOf": {
        "type": "object",
        "properties": {"k": {"type": "string", "maxLength": 3}},
        "anyOf": [{"required": ["k"]}, {"properties": {"n": {"type": "integer"}}, "required": ["n"]}],
    },
    "allOf of types": {"allOf": [{"type": ["number", "string"]}, {"type": ["integer", "null"]}]},
    "allOf of enums": {"allOf": [{"enum": [1, 2, "a", True]}, {"enum": [True, "a", 7]}]},
    "enum with a type": {"type": "string", "enum": ["a", 1, None]},
    "types": {"type": ["integer", "boolean", "null", "array"], "maxItems": 2, "items": {"type": "null"}},
    "no type": {"properties": {"a": {"type": "null"}}, "required": ["a"]},
    "required without a property": {"type": "object", "required": ["z"], "additionalProperties": {"type": "integer"}},
    "a map": {"type": "object", "additionalProperties": {"type": "boolean"}, "minProperties": 1, "maxProperties": 1},
    "names of a map": {
        "type": "object",
        "propertyNames": {"enum": ["x", "y"]},
        "additionalProperties": {"type": "null"},
    },
    "patterns of names": {
        "type": "object",
        "patternProperties": {"^x-[a-z]+$": {"type": "null"}},
        "additionalProperties": False,
    },
    "others beside properties": {
        "type": "object",
        "properties": {"ab": {"type": "null"}, 'q"\n': {"type": "null"}},
        "additionalProperties": {"type": "integer"},
    },
    "nothing in it": {"type": "object", "additionalProperties": False},
    "a property that cannot be": {
        "type": "object",
        "properties": {"a": False, "b": {"type": "null"}},
        "additionalProperties": False,
    },
    "an alternative that cannot be": {"anyOf": [{"type": "integer", "minimum": 2, "maximum": 1}, {"const": "ok"}]},
    "an alternative without an end": {
        "$defs": {"x": {"type": "array", "items": {"$ref": "#/$defs/x"}, "minItems": 1}},
        "anyOf": [{"$ref": "#/$defs/x"}, {"const": 0}],
    },
    "tuple": {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}], "minItems": 2, "maxItems": 2},
    "tuple and more": {
        "type": "array",
        "prefixItems": [{"const": 1}],
        "items": {"const": 2},
        "minItems": 3,
        "maxItems": 5,
    },
    "tuple without more": {"type": "array", "prefixItems": [{"const": 1}, {"const": 2}], "items": False},
    "no items": {"type": "array", "items": False},
    "different items": {"type": "array", "items": {"enum": ["a", "b", 3]}, "uniqueItems": True, "minItems": 2},
    "strings": {"type": "string", "minLength": 2, "maxLength": 4},
    "long strings": {"type": "string", "minLength": 2100, "maxLength": 2101},
    "one number": {"type": "number", "minimum": 2.5, "maximum": 2.5},
    "above and below": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
    "below zero": {"type": "number", "exclusiveMaximum": 0, "minimum": -0.05},
    "around zero": {"type": "number", "minimum": -12.5, "exclusiveMaximum": 3.25},
    "from a thousand": {"type": "number", "minimum": 1000.125},
    "to minus a thousand": {"type": "number", "maximum": -999.5},
    "integers within fractions": {"type": "integer", "minimum": -2.5, "maximum": 2.5},
    "multiples": {"type": "integer", "multipleOf": 12, "minimum": -1000000, "maximum": 1000000},
    "few multiples": {"type": "integer", "multipleOf": 1000, "minimum": -5000, "maximum": 5000},
    "number of whole steps": {"type": "number", "multipleOf": 3},
    "large integers": {"type": "integer", "minimum": 10**20, "maximum": 3 * 10**21},
    "negative integers": {"type": "integer", "maximum": -1005},
    "draft 7 tuple": {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": "array",
        "items": [{"const": 1}],
        "additionalItems": False,
    },
}


@pytest.mark.parametrize("name", SCHEMAS)
def test_keywords(model: Model, name: str) -> None:
    """What the grammar of a keyword lets through satisfies it; llama.cpp reads the grammar the same."""
    schema = SCHEMAS[name]
    validator = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)(schema)
    texts = said(schema)
    for text in texts:
        validator.validate(json.loads(text))
        bare = re.sub(r'"(?:\\.|[^"\\])*"', '""', text)
        assert bare == re.sub("([,:])", r"\1 ", bare.replace(" ", ""))
    assert all(accepted(model, grammar_of_schema(schema), text) for text in texts[:5])


@pytest.mark.parametrize(
    ("low", "high"),
    [(0, 0), (0, 9), (3, 17), (-3, 17), (-20, -11), (99, 1001), (-105, -98), (10, 10), (0, 100), (-1, 0)],
)
@pytest.mark.parametrize("multiple", [1, 3])
def test_exactly_these_integers(model: Model, low: int, high: int, multiple: int) -> None:
    """Of the integers around a range, those within are accepted and no others."""
    wanted = [number for number in range(low, high + 1) if number % multiple == 0]
    schema = {"type": "integer", "minimum": low, "maximum": high, "multipleOf": multiple}
    if not wanted:
        with pytest.raises(ValueError, match="no such number"):
            grammar_of_schema(schema)
        return
    grammar = grammar_of_schema(schema)
    found = [number for number in range(low - 30, high + 30) if accepted(model, grammar, str(number))]
    assert found == wanted
    for text in ("-0", "00", "01", "1.0", "", "-"):
        assert not accepted(model, grammar, text)


@pytest.mark.parametrize(
    ("schema", "yes", "no"),
    [
        ({"minimum": 0, "maximum": 1}, "0 1 0.5 1.0 1.00 0.0 0.999", "-0.1 1.01 2 1.001 01 .5 1. 1e0"),
        ({"exclusiveMinimum": 0, "exclusiveMaximum": 1}, "0.5 0.001 0.99", "0 1 0.0 1.0 0.00 -0.0"),
        (
            {"minimum": -1.5, "maximum": 22.25},
            "-1.5 -1.50 0 -0.5 9.99 22.25 22.2 22.250 22 7",
            "-1.51 22.26 -2 22.2501 100 30",
        ),
        ({"minimum": 99.5}, "99.5 99.51 100 1000.5 123456", "99.4 99 -100 9"),
        ({"exclusiveMaximum": -10}, "-10.1 -11 -10.001 -1000", "-10 -10.0 -9 0 10"),
        ({}, "0 -0.0 1e5 1.5E-7 1e+300 -2.5e307 12.5e3"[:-6], "1e308 NaN Infinity 0x1 +1 1e 00"),
    ],
)
def test_exactly_these_numbers(model: Model, schema: Mapping[str, Any], yes: str, no: str) -> None:
    """Numbers at and around their bounds."""
    grammar = grammar_of_schema({"type": "number", **schema})
    assert [text for text in yes.split() if not accepted(model, grammar, text)] == []
    assert [text for text in no.split() if accepted(model, grammar, text)] == []


def test_formats() -> None:
    """Dates and times that the calendar and the clock have."""
    days = [date.fromisoformat(json.loads(text)) for text in said({"type": "string", "format": "date"}, 300)]
    assert len(set(days)) > 100
    for text in said({"type": "string", "format": "date-time"}, 100):
        assert datetime.fromisoformat(json.loads(text)).tzinfo is not None
    for text in said({"type": "string", "format": "time"}, 100):
        assert time.fromisoformat(json.loads(text)).tzinfo is not None
    for text in said({"type": "string", "format": "uuid"}, 20):
        assert str(uuid.UUID(json.loads(text))) == json.loads(text).lower()


@pytest.mark.parametrize("day", ["2024-02-29", "2000-02-29", "1999-12-31", "2023-04-30", "0001-01-01"])
def test_days(model: Model, day: str) -> None:
    """Leap years and the lengths of months are known."""
    grammar = grammar_of_schema({"type": "string", "format": "date"})
    assert accepted(model, grammar, f'"{day}"')
    for wrong in ("2023-02-29", "1900-02-29", "2023-04-31", "2023-13-01", "0000-01-01", "2023-00-10", "2023-1-1"):
        assert not accepted(model, grammar, f'"{wrong}"')


@pytest.mark.parametrize(
    "expression",
    [
        "^[a-z]+$",
        "^a(b|c)*d?$",
        r"^\d{3}-\d{2,4}$",
        "abc",
        "^x",
        "y$",
        r"^[^\s,]+$",
        r"^\w+@\w+\.[a-z]{2,3}$",
        "^(yes|no)$",
        r'^["\\]{2}$',
        "^[é-ü]{1,3}$",
        r"^\(\d+\)$",
        r"^.{2}$",
        r"^[^\"]$",
        "^$",
        r"^\u00e9\x41$",
        "^(?:ab){2,3}?$",
        "^[+-]?[0-9]$",
        "",
        "^[a-]$",
        r"^\S\D\W$",
        "a|b",
        r"^(a|b)|c$",
        r"^\bx$",
        "^(?=a)b$",
        r"^(a)\1$",
        "^(a*)*$",
        "^[a-z]{1,1000}$",
        "[]a]",
    ],
)
def test_patterns(model: Model, expression: str) -> None:
    """What a grammar makes of a pattern matches it, if it can be made; else any string may come."""
    schema = {"type": "string", "pattern": expression}
    grammar = grammar_of_schema(schema)
    too_much = grammar == grammar_of_schema({"type": "string"})
    beyond = {r"^(a|b)|c$", r"^\bx$", "^(?=a)b$", r"^(a)\1$", "^(a*)*$", "^[a-z]{1,1000}$", "[]a]"}
    assert too_much == (expression in beyond)
    if expression not in beyond:
        texts = said(schema, 40)
        check(schema, texts)
        assert all(accepted(model, grammar, text) for text in texts[:5])


def test_strings(model: Model) -> None:
    """Every string has its place, in all its escaped forms; what JSON forbids has none."""
    grammar = grammar_of_schema({"type": "string", "minLength": 1, "maxLength": 1})
    for text in (
        '"a"',
        '"é"',
        '"😀"',
        r'"\n"',
        r'"\u00e9"',
        r'"\uD83D\uDE00"',
        r'"\ud83d\ude00"',
        r'"\""',
        r'"\/"',
        '"\x7f"',
    ):
        assert accepted(model, grammar, text), text
    for text in (
        '""',
        '"ab"',
        '"\n"',
        '"\t"',
        r'"\x"',
        r'"\ud83d"',
        r'"\ude00"',
        r'"\u12"',
        '"',
        r'"\"',
        "'a'",
        '"a" ',
        ' "a"',
    ):
        assert not accepted(model, grammar, text), text


def test_blanks(model: Model) -> None:
    """There is one way to write blanks: that of json.dumps."""
    grammar = grammar_of_schema({"type": "object", "properties": {"a": {"type": "array"}, "b": {}}, "required": ["b"]})
    assert accepted(model, grammar, '{"a": [1, 2], "b": {"c": []}}')
    for text in (
        '{"a":[1, 2], "b": 1}',
        '{"a": [1,2], "b": 1}',
        '{ "b": 1}',
        '{"b": 1 }',
        '{"b":  1}',
        '{\n"b": 1}',
        '{"b": 1}\n',
    ):
        assert not accepted(model, grammar, text), text


def test_properties_in_their_order(model: Model) -> None:
    """Optional ones may be left out in any combination, required ones may not, none comes twice."""
    names = "abcdef"
    required = {"b", "e"}
    schema = {"type": "object", "properties": {name: {"const": 1} for name in names}, "required": sorted(required)}
    grammar = grammar_of_schema(schema)
    for number in range(2 ** len(names)):
        some = [name for at, name in enumerate(names) if number >> at & 1]
        assert accepted(model, grammar, json.dumps(dict.fromkeys(some, 1))) == (required <= set(some))
    assert not accepted(model, grammar, '{"e": 1, "b": 1}')
    assert not accepted(model, grammar, '{"b": 1, "b": 1, "e": 1}')
    assert not accepted(model, grammar, '{"b": 1, "e": 1, "x": 1}')


@pytest.mark.parametrize("count", [100, 1000])
def test_many_properties(model: Model, count: int) -> None:
    """Hundreds of optional properties are no trouble."""
    schema = {"type": "object", "properties": {f"p{number}": {"type": "integer"} for number in range(count)}}
    grammar = grammar_of_schema(schema)
    assert accepted(model, grammar, json.dumps({f"p{number}": 1 for number in range(0, count, 7)}))
    assert not accepted(model, grammar, '{"p2": 1, "p1": 1}')


# What cannot be -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schema", "place"),
    [
        (False, "# is false"),
        ({"type": "object", "properties": {"a": False}, "required": ["a"]}, "#/properties/a"),
        ({"type": "integer", "minimum": 3, "maximum": 2}, "#"),
        ({"type": "number", "exclusiveMinimum": 1, "maximum": 1}, "#"),
        ({"type": "string", "minLength": 3, "maxLength": 2}, "minLength"),
        ({"type": "array", "items": False, "minItems": 1}, "#/items"),
        ({"enum": []}, "#"),
        ({"type": "string", "enum": [1, 2]}, "#"),
        ({"anyOf": [False, {"type": "integer", "minimum": 1, "maximum": 0}]}, "#/anyOf/1"),
        ({"allOf": [{"type": "string"}, {"type": "integer"}]}, "#"),
        ({"$ref": "#"}, "without an end"),
        ({"type": "object", "properties": {"me": {"$ref": "#"}}, "required": ["me"]}, "without an end"),
        ({"$ref": "#/$defs/none"}, "'#/\\$defs/none', which it does not have"),
        ({"$ref": "https://example.org/schema"}, "outside"),
        ({"type": "array", "items": {"enum": [1, 2]}, "uniqueItems": True, "minItems": 3}, "2"),
        ({"type": "object", "additionalProperties": False, "minProperties": 1}, "#"),
    ],
)
def test_what_cannot_be(schema: Any, place: str) -> None:
    """A schema that nothing satisfies is refused, with the place that is to blame."""
    with pytest.raises(ValueError, match=place):
        grammar_of_schema(schema)


def nested(levels: int, wrap: Any) -> Any:
    schema: Any = {"type": "string"}
    for _ in range(levels):
        schema = wrap(schema)
    return schema


HOSTILE: dict[str, Any] = {
    "values": {"enum": list(range(3000))},
    "long values": {"enum": ["x" * 100_000]},
    "values within each other": {"enum": ["a" * number for number in range(1000)]},
    "a million items": {"type": "array", "minItems": 10**6},
    "a million characters": {"type": "string", "minLength": 10**6},
    "items of items": {
        "type": "array",
        "minItems": 500,
        "items": {"type": "array", "minItems": 500, "items": {"type": "array", "minItems": 10**5}},
    },
    "levels": nested(5000, lambda schema: {"type": "array", "items": schema}),
    "alternatives in levels": nested(500, lambda schema: {"anyOf": [schema, {"type": "null"}]}),
    "references in a row": {
        "$defs": {f"d{at}": {"$ref": f"#/$defs/d{at + 1}"} for at in range(5000)} | {"d5000": {}},
        "$ref": "#/$defs/d0",
    },
    "properties": {"type": "object", "properties": {f"p{at}": {} for at in range(5000)}},
    "combinations": {"allOf": [{"anyOf": [{"minimum": at}, {"maximum": at}]} for at in range(30)]},
    "large numbers": {"type": "integer", "minimum": 10**5000},
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.timeout(20)
def test_hostile_schemas(name: str) -> None:
    """A schema made to hurt is refused in time, and in one sentence."""
    with pytest.raises(ValueError, match="schema") as caught:
        grammar_of_schema(HOSTILE[name])
    assert "\n" not in str(caught.value)


def test_bounds_too_large_for_a_grammar(model: Model) -> None:
    """A limit that llama.cpp could not count to is left to validation; the rest of the schema still holds."""
    for schema in (
        {"type": "array", "maxItems": 10**6, "items": {"const": 1}, "minItems": 1},
        {
            "type": "array",
            "maxItems": 2000,
            "items": {"type": "array", "maxItems": 2000, "items": {"const": 1}},
            "minItems": 1,
        },
    ):
        grammar = grammar_of_schema(schema)
        text = "[1, 1]" if schema["items"] == {"const": 1} else "[[1], []]"
        assert accepted(model, grammar, text)
        assert not accepted(model, grammar, "[]")


def test_alternatives_that_begin_alike(model: Model) -> None:
    """Objects whose keys begin alike and contain each other do not double the work at each level."""
    kinds = [
        {
            "type": "object",
            "properties": {"left": {"$ref": "#"}, "right": {"$ref": "#"}, "kind": {"const": kind}},
            "required": ["left", "right", "kind"],
            "additionalProperties": False,
        }
        for kind in ("add", "sub", "mul", "div")
    ]
    schema = {"anyOf": [*kinds, {"type": "integer"}]}
    value: Any = 1
    for number in range(40):
        value = {"left": value, "right": 2, "kind": ("add", "mul")[number % 2]}
    assert accepted(model, grammar_of_schema(schema), json.dumps(value))
    check(schema, said(schema))


# The builder --------------------------------------------------------------------------------------------


def test_builder(model: Model) -> None:
    """Literals, schemas and rules of one's own make one grammar."""
    builder = GrammarBuilder()
    city = builder.schema({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}, "city")
    number = builder.schema({"type": "integer", "minimum": 0, "maximum": 5}, "number")
    begin, end = builder.literal('<é "call">'), builder.literal("\n")
    call = builder.rule("call", f"{begin} ({city} | {number}) {end}")
    grammar = builder.text(builder.rule("calls", f"{call}{{1,2}}"))
    for text in ('<é "call">5\n', '<é "call">{"city": "x"}\n<é "call">0\n'):
        assert accepted(model, grammar, text)
    for text in ('<é "call">6\n', "", '<é "call">5\n' * 3, '<é "call">{}\n'):
        assert not accepted(model, grammar, text)


def test_builder_refuses() -> None:
    """Names and bodies that would break the grammar's lines."""
    builder = GrammarBuilder()
    builder.rule("a", '"x"')
    for name in ("", "1a", "a b", "ä", "a_b", "a"):
        with pytest.raises(ValueError, match="rule"):
            builder.rule(name, '"x"')
        with pytest.raises(ValueError, match="rule"):
            builder.schema({}, name)
    for body in ("", " ", "a\nb"):
        with pytest.raises(ValueError, match="one line"):
            builder.rule("b", body)
    with pytest.raises(ValueError, match="no rule 'c'"):
        builder.text("c")
    with pytest.raises(ValueError, match="nothing satisfies"):
        builder.schema(False, "never")
    builder.schema({"const": 1}, "never")
    builder.rule("root", "a")
    with pytest.raises(ValueError, match="'root'"):
        builder.text("a")
    assert builder.text("root").startswith("a ::= ")


def test_broken_grammar(model: Model, capfd: pytest.CaptureFixture[str]) -> None:
    """A grammar that llama.cpp refuses is an error, not the end of the process."""
    for text in ("root ::= (", "root ::= nowhere", 'other ::= "x"', "root ::= root"):
        with pytest.raises(ValueError, match="refuses the grammar"):
            Grammar(model, text)
    capfd.readouterr()
