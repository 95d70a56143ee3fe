"""Several schemas that must hold at once as one: what allOf, and a reference beside other keywords, come to."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

__all__ = ["ASSERTIONS", "fits", "merged", "types_of"]

Schema = Mapping[str, Any]

_TYPES: Final = ("object", "array", "string", "integer", "number", "boolean", "null")
_OF_TYPE: Final[dict[str, str]] = {
    **dict.fromkeys(
        (
            "properties",
            "required",
            "additionalProperties",
            "patternProperties",
            "propertyNames",
            "minProperties",
            "maxProperties",
        ),
        "object",
    ),
    **dict.fromkeys(("items", "prefixItems", "additionalItems", "minItems", "maxItems", "uniqueItems"), "array"),
    **dict.fromkeys(("minLength", "maxLength", "pattern", "format"), "string"),
    **dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"), "number"),
}
ASSERTIONS: Final = frozenset({*_OF_TYPE, "type", "enum", "const"})
"""The keywords about a value itself that a grammar can say something of."""


def types_of(schema: Schema) -> list[str]:
    """The types that a value may have. A schema without ``type`` means those that its other keywords speak of."""
    given = schema.get("type")
    if isinstance(given, str):
        return [given]
    if isinstance(given, list):
        return list(dict.fromkeys(given))
    spoken = [kind for kind in _TYPES if any(_OF_TYPE.get(key) == kind for key in schema)]
    return spoken or [kind for kind in _TYPES if kind != "integer"]


def merged(one: Schema, other: Schema) -> dict[str, Any]:
    """A schema for what satisfies both; neither has references or alternatives at its top.

    Of two formats or patterns it has the first; the other is left to validation.
    """
    both: dict[str, Any] = {**other, **one}
    if "type" in one and "type" in other:
        both["type"] = _common_types(types_of(one), types_of(other))
    choices = [_choices(schema) for schema in (one, other) if "enum" in schema or "const" in schema]
    if len(choices) == 2:
        both.pop("const", None)
        both["enum"] = [value for value in choices[0] if any(_same(value, second) for second in choices[1])]
    for key in ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"):
        if key in one and key in other:
            both[key] = max(one[key], other[key])
    for key in ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"):
        if key in one and key in other:
            both[key] = min(one[key], other[key])
    if "multipleOf" in one and "multipleOf" in other:
        both["multipleOf"] = _common_multiple(one["multipleOf"], other["multipleOf"])
    if "required" in one and "required" in other:
        both["required"] = list(dict.fromkeys([*one["required"], *other["required"]]))
    for key in ("items", "additionalItems", "propertyNames"):
        if key in one and key in other:
            both[key] = _both(one[key], other[key])
    if "prefixItems" in one and "prefixItems" in other:
        both["prefixItems"] = _both_lists(one, other)
    _merge_properties(one, other, both)
    return both


def _merge_properties(one: Schema, other: Schema, both: dict[str, Any]) -> None:
    mine, theirs = one.get("properties", {}), other.get("properties", {})
    if mine or theirs:
        both["properties"] = {
            name: _both(mine.get(name, _rest(one)), theirs.get(name, _rest(other))) for name in {**mine, **theirs}
        }
    if "additionalProperties" in one and "additionalProperties" in other:
        both["additionalProperties"] = _both(one["additionalProperties"], other["additionalProperties"])
    if "patternProperties" in one and "patternProperties" in other:
        names = {**one["patternProperties"], **other["patternProperties"]}
        both["patternProperties"] = {
            name: _both(one["patternProperties"].get(name, True), other["patternProperties"].get(name, True))
            for name in names
        }


def _rest(schema: Schema) -> Any:
    # A name that a pattern may be about: validation knows.
    return True if "patternProperties" in schema else schema.get("additionalProperties", True)


def _both(one: Any, other: Any) -> Any:
    if one is True or one == other:
        return other
    if other is True:
        return one
    if one is False or other is False:
        return False
    return {"allOf": [one, other]}


def _both_lists(one: Schema, other: Schema) -> list[Any]:
    first, second = one["prefixItems"], other["prefixItems"]
    return [
        _both(
            first[at] if at < len(first) else one.get("items", True),
            second[at] if at < len(second) else other.get("items", True),
        )
        for at in range(max(len(first), len(second)))
    ]


def _common_types(one: list[str], other: list[str]) -> list[str]:
    found = []
    for kind in one:
        if kind in other:
            found.append(kind)
        elif kind in {"integer", "number"} and not {"integer", "number"}.isdisjoint(other):
            found.append("integer")
    return found


def _common_multiple(one: Any, other: Any) -> Any:
    first, second = Decimal(str(one)), Decimal(str(other))
    if not first % second:
        return one
    if not second % first:
        return other
    if first == int(first) and second == int(second):
        a, b = int(first), int(second)
        while b:
            a, b = b, a % b
        return int(first) * int(second) // a
    return one


def _choices(schema: Schema) -> list[Any]:
    return [schema["const"]] if "const" in schema else list(schema["enum"])


def _same(one: Any, other: Any) -> bool:
    """Equality of JSON: true is not 1, and 1.0 is 1."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(_same(a, b) for a, b in zip(one, other, strict=True))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    return bool(one == other)


def fits(value: Any, schema: Schema) -> bool:
    """Whether a value of an enum satisfies the other keywords of `schema` about type, size and length.

    What lies deeper, and patterns, are left to validation.
    """
    if "type" in schema and not any(_is(value, kind) for kind in types_of(schema)):
        return False
    if "const" in schema and not _same(value, schema["const"]):
        return False
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return (
            schema.get("minimum", value) <= value <= schema.get("maximum", value)
            and ("exclusiveMinimum" not in schema or value > schema["exclusiveMinimum"])
            and ("exclusiveMaximum" not in schema or value < schema["exclusiveMaximum"])
        )
    if isinstance(value, str):
        return bool(schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value)))
    if isinstance(value, list):
        return bool(schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)))
    if isinstance(value, dict):
        return all(name in value for name in schema.get("required", ()))
    return True


def _is(value: Any, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    if isinstance(value, int):
        return kind in {"integer", "number"}
    if isinstance(value, float):
        return kind == "number" or (kind == "integer" and value.is_integer())
    if value is None:
        return kind == "null"
    return kind == ("string" if isinstance(value, str) else "array" if isinstance(value, list) else "object")
