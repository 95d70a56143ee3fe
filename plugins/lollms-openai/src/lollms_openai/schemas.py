"""A request's ``response_format`` as servers take it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from lollms_core import GenerationRequest
from lollms_openai.preset import Preset

__all__ = ["is_strict", "response_format"]

# https://developers.openai.com/api/docs/guides/structured-outputs, supported schemas
_KEYWORDS: Final = frozenset(
    {
        *("type", "properties", "required", "additionalProperties", "items", "enum", "const", "anyOf"),
        *("$ref", "$defs", "definitions", "title", "description", "pattern", "format"),
        *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minItems", "maxItems"),
    }
)
_FORMATS: Final = frozenset({"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"})


def response_format(request: GenerationRequest, preset: Preset) -> dict[str, Any]:
    """The field of the request's body, in a dict; {} where nothing is asked for."""
    wanted = request.response_format
    if wanted is None:
        return {}
    if preset.json_object and wanted.type is None and wanted.schema == {"type": "object"}:
        return {"response_format": {"type": "json_object"}}
    described: dict[str, Any] = {"name": wanted.name, "schema": dict(wanted.schema)}
    if wanted.description:
        described["description"] = wanted.description
    if wanted.strict is not None:
        described["strict"] = wanted.strict
    elif preset.strict and is_strict(wanted.schema):
        described["strict"] = True
    return {"response_format": {"type": "json_schema", "json_schema": described}}


def is_strict(schema: Mapping[str, Any]) -> bool:
    """Whether `schema` fulfils the rules of OpenAI's strict mode, which refuses those that don't.

    Its root is an object; each object names all its properties as required and allows no others; it has no
    keyword that the mode does not know.
    """
    return schema.get("type") == "object" and "anyOf" not in schema and _fits(schema)


def _fits(schema: Any) -> bool:
    if not isinstance(schema, Mapping) or not schema.keys() <= _KEYWORDS:
        return False
    if schema.get("format", "date") not in _FORMATS:
        return False
    properties = schema.get("properties", {})
    kind = schema.get("type")
    if kind == "object" or (isinstance(kind, list) and "object" in kind) or properties:
        named = isinstance(properties, Mapping) and set(schema.get("required", ())) == properties.keys()
        if schema.get("additionalProperties") is not False or not named:
            return False
    within = [*properties.values(), *schema.get("anyOf", ())]
    within += [one for name in ("$defs", "definitions") for one in schema.get(name, {}).values()]
    if "items" in schema:
        within.append(schema["items"])
    return all(map(_fits, within))
