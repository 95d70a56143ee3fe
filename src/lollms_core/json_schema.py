"""Python types as JSON schemas, and JSON values as the objects that such types describe.

:func:`schema_of` and :func:`value_of` know None, bool, int, float, str, Any, lists, tuples, sets, dicts,
Literal, Enum, unions, dataclasses, TypedDicts, Annotated with a text (its description), date, time, datetime,
UUID, and pydantic's models, which bring their own schema. Drafts: JSON Schema 2020-12.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import datetime as dt
import enum
import inspect
import math
import sys
import types
import typing
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Literal, get_args, get_origin

__all__ = ["check_json", "is_pydantic", "schema_of", "value_of"]

_PLAIN: Final[Mapping[Any, dict[str, Any]]] = {
    Any: {},
    object: {},
    inspect.Parameter.empty: {},
    None: {"type": "null"},
    type(None): {"type": "null"},
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    str: {"type": "string"},
    list: {"type": "array"},
    tuple: {"type": "array"},
    dict: {"type": "object"},
    dt.datetime: {"type": "string", "format": "date-time"},
    dt.date: {"type": "string", "format": "date"},
    dt.time: {"type": "string", "format": "time"},
    uuid.UUID: {"type": "string", "format": "uuid"},
}
# Of the plain ones: what the value must be, in words, and Python's type of it as json.loads gives it.
_JSON_TYPES: Final[Mapping[Any, tuple[str, Any]]] = {
    None: ("null", type(None)),
    type(None): ("null", type(None)),
    bool: ("true or false", bool),
    int: ("a whole number", int),
    float: ("a number", (int, float)),
    str: ("a text", str),
    list: ("a list", list),
    tuple: ("a list", list),
    dict: ("an object", dict),
}
_BY_ORIGIN: Final[Mapping[Any, str]] = {
    typing.Union: "union",
    types.UnionType: "union",
    Literal: "literal",
    tuple: "tuple",
    **dict.fromkeys((list, collections.abc.Sequence, collections.abc.Iterable, collections.abc.Collection), "list"),
    **dict.fromkeys((set, frozenset, collections.abc.Set), "set"),
    **dict.fromkeys((dict, collections.abc.Mapping, collections.abc.MutableMapping), "mapping"),
}
_WRAPPERS: Final = (typing.Required, typing.NotRequired, getattr(typing, "ReadOnly", typing.Required))


def check_json(value: object, what: str) -> None:
    """That a schema which somebody wrote can be sent as it is.

    Raises:
        TypeError: it holds what JSON has not, or itself; the message says where, in `what`.
    """
    try:
        problem = _not_json(value, "$")
    except RecursionError:
        problem = "it is nested too deeply, or holds itself"
    if problem is not None:
        raise TypeError(f"{what} is no JSON: {problem}")


def _not_json(value: object, place: str) -> str | None:
    parts: Iterable[tuple[str, object]]
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                return f"{place} has the key {key!r}, which is no text"
        parts = ((f"{place}.{key}", part) for key, part in value.items())
    elif isinstance(value, (list, tuple)):
        parts = ((f"{place}[{number}]", part) for number, part in enumerate(value))
    elif value is None or isinstance(value, (str, int)) or (isinstance(value, float) and math.isfinite(value)):
        return None
    else:
        return f"{place} is {value!r}"
    return next((problem for name, part in parts if (problem := _not_json(part, name)) is not None), None)


def is_pydantic(annotation: Any) -> bool:
    """Whether `annotation` is a class of pydantic's models; pydantic is not imported for it."""
    pydantic = sys.modules.get("pydantic")  # who brings a model has imported it
    return pydantic is not None and isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel)


def schema_of(annotation: Any) -> dict[str, Any]:
    """The JSON schema of the values that `annotation` describes; classes with fields are in its ``$defs``.

    Raises:
        TypeError: there is none; the text names the type.
    """
    writer = _Writer()
    schema = writer.schema(annotation)
    name = schema.get("$ref", "").removeprefix("#/$defs/")
    if name in writer.definitions and schema.keys() == {"$ref"}:
        # The outermost class stands at the root, as backends expect, unless it refers to itself.
        written = writer.definitions[name]
        if f"'#/$defs/{name}'" not in repr(writer.definitions):
            del writer.definitions[name]
            schema = written
    return {**schema, "$defs": writer.definitions} if writer.definitions else schema


class _Writer:
    """One schema in the making; ``definitions`` are the classes met on the way."""

    def __init__(self) -> None:
        self.definitions: dict[str, dict[str, Any]] = {}
        self._names: dict[Any, str] = {}

    def schema(self, annotation: Any) -> dict[str, Any]:
        annotation, described = _bare(annotation)
        found = self._undescribed(annotation)
        return {**found, "description": described} if described else found

    def _undescribed(self, annotation: Any) -> dict[str, Any]:
        kind, args = _kind(annotation)
        if kind == "plain":
            return dict(_PLAIN[annotation])
        by_kind: Mapping[str, Callable[[], dict[str, Any]]] = {
            "union": lambda: {"anyOf": [self.schema(arg) for arg in args]},
            "literal": lambda: _choices(args),
            "enum": lambda: _choices([member.value for member in annotation]),
            "tuple": lambda: self._tuple(args),
            "list": lambda: {"type": "array", "items": self.schema(args[0])} if args else {"type": "array"},
            "set": lambda: {"type": "array", "items": self.schema(args[0] if args else Any), "uniqueItems": True},
            "mapping": lambda: self._mapping(annotation, args),
            "pydantic": lambda: self._pydantic(annotation),
            "fields": lambda: self._object(annotation),
        }
        return by_kind[kind]()

    def _tuple(self, args: tuple[Any, ...]) -> dict[str, Any]:
        if len(args) == 2 and args[1] is Ellipsis:
            return {"type": "array", "items": self.schema(args[0])}
        places = [self.schema(arg) for arg in args]
        return {"type": "array", "prefixItems": places, "minItems": len(places), "maxItems": len(places)}

    def _mapping(self, annotation: Any, args: tuple[Any, ...]) -> dict[str, Any]:
        if not args:
            return {"type": "object"}
        if _bare(args[0])[0] is not str:
            raise TypeError(f"JSON has only str as keys, so {annotation} has no schema")
        return {"type": "object", "additionalProperties": self.schema(args[1])}

    def _object(self, cls: Any) -> dict[str, Any]:
        if cls in self._names:
            return {"$ref": f"#/$defs/{self._names[cls]}"}
        name = self._names[cls] = self._free_name(cls.__name__)
        self.definitions[name] = {}  # its place, before that of the classes within it
        properties = {}
        required = []
        for key, annotation, needed in _fields(cls):
            properties[key] = self.schema(annotation)
            if needed:
                required.append(key)
        definition = {
            "type": "object",
            "properties": properties,
            "required": required,
            "additionalProperties": False,
        }
        doc = _own_doc(cls)
        self.definitions[name] = {**definition, "description": doc} if doc else definition
        return {"$ref": f"#/$defs/{name}"}

    def _pydantic(self, cls: Any) -> dict[str, Any]:
        schema: dict[str, Any] = cls.model_json_schema()
        for name, definition in schema.pop("$defs", {}).items():
            if self.definitions.setdefault(name, definition) != definition:
                raise TypeError(f"two models are called {name}; a schema has place for one of that name")
        return schema

    def _free_name(self, name: str) -> str:
        free, number = name, 2
        while free in self.definitions:
            free, number = f"{name}{number}", number + 1
        return free


def value_of(annotation: Any, data: Any, where: str = "") -> Any:
    """The object of type `annotation` that JSON `data` describes.

    Args:
        annotation: a type that :func:`schema_of` knows.
        data: what ``json.loads`` gave.
        where: the place of `data` in the whole, for messages.

    Raises:
        ValueError: `data` doesn't fit; the text names the place.
        TypeError: `annotation` is of no known kind.
    """
    annotation, _ = _bare(annotation)
    kind, args = _kind(annotation)
    by_kind: Mapping[str, Callable[[], Any]] = {
        "plain": lambda: _plain_value(annotation, data, where),
        "union": lambda: _one_of(args, data, where),
        "literal": lambda: _chosen({_key(arg): arg for arg in args}, data, where),
        "enum": lambda: _chosen({_key(member.value): member for member in annotation}, data, where),
        "tuple": lambda: _tuple_value(args, data, where),
        "list": lambda: _items(args, data, where),
        "set": lambda: _set_type(annotation)(_items(args, data, where)),
        "mapping": lambda: _mapping_value(args, data, where),
        "pydantic": lambda: annotation.model_validate(data),
        "fields": lambda: _object_value(annotation, data, where),
    }
    return by_kind[kind]()


# Values -----------------------------------------------------------------------------------------------


def _plain_value(annotation: Any, data: Any, where: str) -> Any:
    if not _PLAIN[annotation]:
        return data
    if annotation is int and isinstance(data, float) and data.is_integer():
        return int(data)  # 1.0 is an integer in JSON Schema
    if annotation in _JSON_TYPES:
        shown, known = _JSON_TYPES[annotation]
        value = _typed(data, known, shown, where)
        return annotation(value) if annotation in (float, tuple) else value
    text = _typed(data, str, f"a text with a {annotation.__name__}", where)
    try:
        return uuid.UUID(text) if annotation is uuid.UUID else annotation.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"{where or 'the value'}: {error}") from error


def _typed(data: Any, kind: Any, shown: str, where: str) -> Any:
    if isinstance(data, kind) and (kind is bool or not isinstance(data, bool)):
        return data
    raise ValueError(f"{where or 'the value'} must be {shown}, not {_quoted(data)}")


def _one_of(args: tuple[Any, ...], data: Any, where: str) -> Any:
    complaints = []
    for arg in args:
        try:
            return value_of(arg, data, where)
        except ValueError as error:
            complaints.append(str(error))
    raise ValueError("; or ".join(dict.fromkeys(complaints)))


def _key(value: Any) -> tuple[str, Any]:
    # True and 1 are equal in Python, not in JSON; 1 and 1.0 are equal in both.
    return ("bool" if isinstance(value, bool) else ""), value


def _chosen(choices: Mapping[Any, Any], data: Any, where: str) -> Any:
    if isinstance(data, collections.abc.Hashable) and _key(data) in choices:
        return choices[_key(data)]
    known = ", ".join(_quoted(key[1]) for key in choices)
    raise ValueError(f"{where or 'the value'} must be one of {known}, not {_quoted(data)}")


def _set_type(annotation: Any) -> type:
    return frozenset if (get_origin(annotation) or annotation) is frozenset else set


def _items(args: Sequence[Any], data: Any, where: str) -> list[Any]:
    kind = args[0] if args else Any
    return [
        value_of(kind, item, f"{where}[{number}]") for number, item in enumerate(_typed(data, list, "a list", where))
    ]


def _mapping_value(args: Sequence[Any], data: Any, where: str) -> dict[str, Any]:
    given = _typed(data, dict, "an object", where)
    return {key: value_of(args[1] if args else Any, item, _at(where, key)) for key, item in given.items()}


def _tuple_value(args: tuple[Any, ...], data: Any, where: str) -> tuple[Any, ...]:
    items = _typed(data, list, "a list", where)
    if len(args) == 2 and args[1] is Ellipsis:
        args = (args[0],) * len(items)
    if len(items) != len(args):
        raise ValueError(f"{where or 'the value'} must have {len(args)} items, not {len(items)}")
    return tuple(
        value_of(arg, item, f"{where}[{number}]") for number, (arg, item) in enumerate(zip(args, items, strict=True))
    )


def _object_value(cls: Any, data: Any, where: str) -> Any:
    given = _typed(data, dict, "an object", where)
    fields = {key: (annotation, needed) for key, annotation, needed in _fields(cls)}
    for key in given:
        if key not in fields:
            raise ValueError(f"{where or 'the object'} has a field {key!r} that {cls.__name__} doesn't know")
    for key, (_, needed) in fields.items():
        if needed and key not in given:
            raise ValueError(f"{where or 'the object'} lacks the field {key!r}")
    values = {key: value_of(fields[key][0], value, _at(where, key)) for key, value in given.items()}
    if typing.is_typeddict(cls):
        return values
    try:
        return cls(**values)
    except TypeError as error:  # what its __post_init__ thinks of a value is about the value
        raise ValueError(f"{where or 'the object'}: {error}") from error


def _at(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key


def _quoted(data: Any) -> str:
    shown = repr(data)
    return shown if len(shown) <= 60 else shown[:60] + "..."


# Types ------------------------------------------------------------------------------------------------


def _bare(annotation: Any) -> tuple[Any, str | None]:
    """`annotation` without what only wraps it, and the description that a wrapper carries."""
    described = None
    while True:
        origin = get_origin(annotation)
        if origin is typing.Annotated:
            annotation, *notes = get_args(annotation)
            described = next((note for note in notes if isinstance(note, str)), described)
        elif origin in _WRAPPERS:
            annotation = get_args(annotation)[0]
        elif isinstance(annotation, typing.NewType):
            annotation = annotation.__supertype__
        elif type(annotation).__name__ == "TypeAliasType":  # `type X = ...`, from Python 3.12
            annotation = annotation.__value__
        else:
            return annotation, described


def _kind(annotation: Any) -> tuple[str, tuple[Any, ...]]:
    """What kind of type a bare `annotation` is, and its arguments.

    Raises:
        TypeError: of none that JSON has a place for.
    """
    if isinstance(annotation, collections.abc.Hashable) and annotation in _PLAIN:
        return "plain", ()
    origin, args = get_origin(annotation), get_args(annotation)
    by_origin = _BY_ORIGIN.get(origin or annotation) if isinstance(annotation, collections.abc.Hashable) else None
    if by_origin is not None:
        return by_origin, args
    if isinstance(annotation, type):
        if issubclass(annotation, enum.Enum):
            return "enum", ()
        if is_pydantic(annotation):
            return "pydantic", ()
        if dataclasses.is_dataclass(annotation) or typing.is_typeddict(annotation):
            return "fields", ()
    shown = annotation.__name__ if isinstance(annotation, type) else str(annotation)
    raise TypeError(f"{shown} has no JSON schema; use plain types, dataclasses or TypedDicts")


def _fields(cls: Any) -> list[tuple[str, Any, bool]]:
    """Name, annotation and whether it must be given, of each field of a dataclass or TypedDict."""
    try:
        hints = typing.get_type_hints(cls, include_extras=True)
    except NameError as error:
        raise TypeError(f"the annotations of {cls.__name__} cannot be read: {error}") from error
    if typing.is_typeddict(cls):
        return [(name, hint, _is_required(hint, name in cls.__required_keys__)) for name, hint in hints.items()]
    return [
        (
            field.name,
            hints[field.name],
            field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING,
        )
        for field in dataclasses.fields(cls)
        if field.init
    ]


def _is_required(hint: Any, otherwise: bool) -> bool:
    """Whether a TypedDict's field must be there: postponed annotations hide NotRequired from TypedDict itself."""
    while (origin := get_origin(hint)) in (typing.Annotated, *_WRAPPERS):
        if origin in (typing.Required, typing.NotRequired):
            return origin is typing.Required
        hint = get_args(hint)[0]
    return otherwise


def _choices(values: Sequence[Any]) -> dict[str, Any]:
    for value in values:
        if not isinstance(value, (str, int, float, bool, type(None))):
            raise TypeError(f"{value!r} has no form in JSON, so it cannot be one of the choices")
    if all(isinstance(value, str) for value in values):
        return {"type": "string", "enum": list(values)}
    return {"enum": list(values)}


def _own_doc(cls: Any) -> str:
    """A class's docstring; not the signature that dataclass writes where there is none."""
    doc = cls.__dict__.get("__doc__") or ""
    return "" if doc.startswith(f"{cls.__name__}(") else inspect.cleandoc(doc)
