"""What an answer must be: a JSON schema, and how the text of an answer becomes the object it describes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from lollms_core import peer_json
from lollms_core.errors import CapabilityNotSupported, InvalidOutput
from lollms_core.json_schema import check_json, is_pydantic, schema_of, value_of

__all__ = ["ResponseFormat"]

_MAX_SHOWN = 200


@dataclass(frozen=True, slots=True)
class ResponseFormat:
    """A request's ``response_format``, checked.

    Attributes:
        name: of the schema, for backends that want one: letters, digits, ``_`` and ``-``, at most 64.
        schema: a JSON schema.
        description: what it is for; None if nobody said.
        strict: whether the backend shall keep to the schema exactly; None leaves it to the backend.
        type: the Python type that it was made of; None for a schema that was given as one.
    """

    name: str
    schema: Mapping[str, Any]
    description: str | None = None
    strict: bool | None = None
    type: Any = field(default=None, repr=False)

    @classmethod
    def of(cls, source: Any) -> Self:
        """From a JSON schema, OpenAI's ``{"type": "json_schema", ...}`` or ``{"type": "json_object"}``, a dataclass,
        a TypedDict, a pydantic model, or another type that a JSON schema can be made of.

        Raises:
            TypeError: it is none of these.
            ValueError: the schema is no valid one.
            CapabilityNotSupported: jsonschema, which checks answers against a schema, is not installed.
        """
        if isinstance(source, cls):
            return source
        if not isinstance(source, Mapping):
            # Types of the caller's are checked by themselves, so they need no library for it.
            try:
                return cls(_name(getattr(source, "__name__", "answer")), schema_of(source), type=source)
            except TypeError as error:
                raise TypeError(f"response_format: {error}") from None
        wrapped = source.get("json_schema")
        if source.get("type") == "json_schema" and isinstance(wrapped, Mapping):
            schema = wrapped.get("schema")
            if not isinstance(schema, Mapping):
                raise TypeError("response_format has a json_schema without a schema")
            name, described, strict = wrapped.get("name"), wrapped.get("description"), wrapped.get("strict")
        elif source.get("type") == "json_object":
            schema, name, described, strict = {"type": "object"}, None, None, None
        elif source.get("type") == "text":
            raise TypeError('response_format {"type": "text"} asks for nothing: leave it out')
        else:
            schema, name, described, strict = source, source.get("title"), source.get("description"), None
        check_json(schema, "response_format")
        _validator(schema)
        return cls(
            _name(name if isinstance(name, str) else "answer"),
            schema,
            described if isinstance(described, str) else None,
            strict if isinstance(strict, bool) else None,
        )

    def parse(self, text: str) -> Any:
        """The object that an answer's `text` is: of the caller's type, or as JSON has it.

        Raises:
            InvalidOutput: it is no JSON, or violates the schema.
        """
        try:
            data = peer_json.loads(text, parse_constant=_no_constant)
        except ValueError as error:
            raise self._invalid(text, f"it is no JSON: {error}" if text.strip() else "it is empty") from None
        try:
            if self.type is not None:
                return value_of(self.type, data)
            problem = _problem(self.schema, data)
        except ValueError as error:  # pydantic's ValidationError is one
            raise self._invalid(text, str(error)) from (error if is_pydantic(self.type) else None)
        except RecursionError:
            problem = "it is nested too deeply, or the schema refers to itself without end"
        if problem is not None:
            raise self._invalid(text, problem) from None
        return data

    def _invalid(self, text: str, reason: str) -> InvalidOutput:
        shown = text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."
        return InvalidOutput(
            f"the answer does not satisfy the schema {self.name!r}: {reason}; it is {shown!r}",
            text=text,
            reason=reason,
        )


def _name(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+", "_", name)[:64] or "answer"


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _validator(schema: Mapping[str, Any]) -> Any:
    try:
        import jsonschema
        from referencing import Registry
    except ImportError:
        raise CapabilityNotSupported(
            "an answer can be checked against a JSON schema only with jsonschema; "
            "install it with: pip install 'lollms-core[schema]'"
        ) from None
    kind = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    try:
        kind.check_schema(dict(schema))
    except jsonschema.SchemaError as error:
        raise ValueError(f"response_format is no valid JSON schema: {error.json_path}: {error.message}") from None
    # An empty registry: references lead nowhere but into the schema itself; nothing is fetched.
    return kind(dict(schema), registry=Registry())


def _problem(schema: Mapping[str, Any], data: Any) -> str | None:
    from jsonschema.exceptions import best_match
    from referencing.exceptions import Unresolvable

    try:
        error = best_match(_validator(schema).iter_errors(data))
    except Unresolvable as unresolvable:
        return f"the schema refers to something outside of itself: {unresolvable.ref}"
    if error is None:
        return None
    return f"{error.json_path}: {error.message}"
