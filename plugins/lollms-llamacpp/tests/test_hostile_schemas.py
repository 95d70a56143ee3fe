"""Schemas from strangers: an answer, or one clear error, in bounded time and memory; the process lives."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schema_trials import SchemaChild

from lollms_llamacpp import LlamaCppBinding

pytestmark = pytest.mark.faults

SCHEMAS_PLAYED = "reliability: schemas of strangers, each an answer or an error"
Note = Callable[[str, object], None]
EXAMPLES = 1500 if os.environ.get("LOLLMS_FAULTS") else 60

NUMBERS = st.sampled_from([0, 1, 2, 3, -1, 7, 1000, 10**6, 2**31, 2**63, 10**30, 0.1, 1e-300, 1e300, -0.0, 2.5])
COUNTS = st.sampled_from([0, 1, 2, 5, 100, 1999, 2000, 2001, 10**6, 2**64, -1])
WORDS = st.sampled_from(["a", "", "b c", '"', "\\", "\n", "\0", "é", "😀", "\ud800", "$ref", "a/b~c", "x" * 300])
PATTERNS = st.sampled_from(
    [
        *(
            "a",
            "^a$",
            "(a+)+$",
            "(a|a)*b",
            "((((a{1,99}){1,99}){1,99}){1,99})",
            "a{99999}",
            "[^a]{5,9999}",
            "(",
            "[",
            "\\",
        ),
        *("(?=a)b", "(?!a)", "(?<=a)b", "\\1", "(a)\\1", "\\p{L}+", "[\\d-z]", "[z-a]", "\\u0041", "(?i)a", "(?P<x>a)"),
        *(
            "^(?:" + "a?" * 60 + ")" + "a" * 60 + "$",
            "|" * 500,
            "(" * 400 + "a" + ")" * 400,
            "a**",
            "a{2,1}",
            "\\b.\\B",
        ),
        *(
            "[\\s\\S]*",
            ".*" * 100,
            "[]",
            "[^]",
            "\\x",
            "\\cA",
            "^$^$",
            "$a^",
            "\0",
            "(?#",
            "[[:alpha:]]",
            "a{,5}",
            "\ud800",
        ),
    ]
)
REFERENCES = st.sampled_from(
    [
        *("#", "#/$defs/a", "#/$defs/b", "#/definitions/a", "#/properties/a", "#/nowhere", "other.json", ""),
        *("https://example.org/x", "#/$defs/a/items/0", "#a", "#/%24defs/a", "#/" + "a/" * 500, "##"),
    ]
)
TYPES = st.sampled_from(["object", "array", "string", "integer", "number", "boolean", "null", "any", "", "Object"])
FORMATS = st.sampled_from(["date", "date-time", "uuid", "email", "ipv4", "uri", "nonsense", ""])
SCALARS = st.none() | st.booleans() | NUMBERS | WORDS


def keywords(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Schemas around `inner`, with values that mostly, but not always, are of the right kind."""
    named = st.dictionaries(WORDS | st.sampled_from("abc"), inner, max_size=4)
    several = st.lists(inner, max_size=4)
    fields: dict[str, st.SearchStrategy[Any]] = {
        "type": TYPES | st.lists(TYPES, max_size=3),
        "properties": named,
        "patternProperties": st.dictionaries(PATTERNS, inner, max_size=2),
        "additionalProperties": inner,
        "propertyNames": inner,
        "required": st.lists(WORDS | st.sampled_from("abc"), max_size=4),
        "minProperties": COUNTS,
        "maxProperties": COUNTS,
        "dependentRequired": st.dictionaries(WORDS, st.lists(WORDS, max_size=2), max_size=2),
        "items": inner | several,
        "prefixItems": several,
        "additionalItems": inner,
        "contains": inner,
        "minItems": COUNTS,
        "maxItems": COUNTS,
        "uniqueItems": st.booleans(),
        "minLength": COUNTS,
        "maxLength": COUNTS,
        "pattern": PATTERNS,
        "format": FORMATS,
        "minimum": NUMBERS,
        "maximum": NUMBERS,
        "exclusiveMinimum": NUMBERS | st.booleans(),
        "exclusiveMaximum": NUMBERS,
        "multipleOf": NUMBERS,
        "enum": st.lists(SCALARS | st.lists(SCALARS, max_size=2), max_size=4),
        "const": SCALARS | st.dictionaries(WORDS, SCALARS, max_size=2),
        "anyOf": several,
        "oneOf": several,
        "allOf": several,
        "not": inner,
        "if": inner,
        "then": inner,
        "else": inner,
        "$ref": REFERENCES,
        "$defs": st.fixed_dictionaries({}, optional={"a": inner, "b": inner}),
        "definitions": st.fixed_dictionaries({}, optional={"a": inner}),
        "$id": WORDS,
        "$schema": WORDS,
        "nonsense": inner,
    }
    right = st.lists(st.sampled_from(sorted(fields)), max_size=5, unique=True).flatmap(
        lambda names: st.fixed_dictionaries({name: fields[name] for name in names})
    )
    wrong = st.dictionaries(st.sampled_from(sorted(fields)), SCALARS | several | inner, min_size=1, max_size=2)
    return right | right | right | wrong


SCHEMAS: st.SearchStrategy[Any] = st.recursive(
    st.booleans() | st.just({}) | keywords(st.booleans() | st.just({})), keywords, max_leaves=12
)


@pytest.fixture(scope="module")
def child(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SchemaChild]:
    with SchemaChild(tiny_folder / "chatty.gguf", tmp_path_factory.mktemp("schemas") / "output.txt") as child:
        yield child


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(schema=SCHEMAS)
@pytest.mark.timeout(300)
def test_schemas_by_chance(child: SchemaChild, record_property: Note, schema: Any) -> None:
    """Whatever looks like a schema: an answer by it, or a refusal that says why; then the next request works."""
    kind, words = child.ask(schema if isinstance(schema, dict) else {"items": schema})
    assert kind in {"answer", "refused", "failed"}, (kind, words, schema)
    if kind == "failed":  # a whole answer may not be what a grammar cannot say
        assert words.startswith("InvalidOutput"), words
    if kind != "answer":
        assert 0 < len(words) < 4000
    record_property(SCHEMAS_PLAYED, 1)


def cyclic() -> dict[Any, Any]:
    schema: dict[Any, Any] = {"type": "object"}
    schema["properties"] = {"again": schema}
    return schema


def deep(levels: int) -> dict[Any, Any]:
    schema: dict[Any, Any] = {"type": "string"}
    for _ in range(levels):
        schema = {"type": "array", "items": schema}
    return schema


NO_JSON: dict[str, dict[Any, Any]] = {
    "a number for a key": {"type": "object", "properties": {7: {"type": "string"}}, "required": [7]},
    "a tuple for a key": {("type",): "object"},
    "bytes": {"const": b"x"},
    "a set": {"enum": {1, 2}},
    "an object": {"const": object()},
    "no number": {"const": float("nan")},
    "infinity": {"minimum": float("inf")},
    "itself": cyclic(),
    "200 levels": deep(200),
    "100,000 levels": deep(100_000),
    "a huge number": {"maximum": 10**5000},
}


@pytest.mark.parametrize("name", NO_JSON)
def test_schemas_that_are_no_json(tiny: LlamaCppBinding, name: str, record_property: Note) -> None:
    """What cannot be written as JSON, or not be read again, is refused; the next request works."""
    with pytest.raises((TypeError, ValueError)) as caught:
        tiny.chat("x", response_format=NO_JSON[name], n_predict=2)
    assert 0 < len(str(caught.value)) < 4000
    assert tiny.chat("x", n_predict=1).usage.completion_tokens == 1
    record_property(SCHEMAS_PLAYED, 1)
