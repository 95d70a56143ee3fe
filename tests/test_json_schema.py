"""Python types as JSON schemas, and JSON as the objects that they describe."""

from __future__ import annotations

import datetime as dt
import enum
import uuid
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, NewType, NotRequired, Optional, TypedDict, Union

import jsonschema
import pytest
from pydantic import BaseModel

from lollms_core.json_schema import schema_of, value_of


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclass
class Point:
    """Where it is."""

    x: float
    y: float = 0.0


@dataclass
class Picture:
    title: Annotated[str, "as it is printed"]
    points: list[Point]
    colour: Colour = Colour.RED
    tags: dict[str, int] = field(default_factory=dict)
    first: Point | None = None


@dataclass
class Tree:
    name: str
    children: list[Tree] = field(default_factory=list)


class Movie(TypedDict):
    title: str
    year: NotRequired[int]


class Person(BaseModel):
    name: str
    age: int


@dataclass
class Positive:
    n: int

    def __post_init__(self) -> None:
        if self.n <= 0:
            raise ValueError("n must be positive")


UserId = NewType("UserId", int)
MOMENT = dt.datetime(2026, 1, 2, 3, 4, tzinfo=dt.UTC)
UUID = uuid.UUID("12345678-1234-5678-1234-567812345678")

FITTING: list[tuple[Any, Any, Any]] = [
    (str, "a", "a"),
    (int, 3, 3),
    (int, 3.0, 3),
    (float, 3, 3.0),
    (bool, True, True),
    (type(None), None, None),
    (Any, {"a": [1]}, {"a": [1]}),
    (list, [1, "a"], [1, "a"]),
    (list[int], [1, 2], [1, 2]),
    (tuple[int, str], [1, "a"], (1, "a")),
    (tuple[int, ...], [1, 2, 3], (1, 2, 3)),
    (set[str], ["a", "b"], {"a", "b"}),
    (frozenset[int], [1], frozenset({1})),
    (dict, {"a": 1}, {"a": 1}),
    (dict[str, list[int]], {"a": [1]}, {"a": [1]}),
    (Literal["a", 1, True], "a", "a"),
    (Optional[int], None, None),  # noqa: UP045
    (Union[int, str], "a", "a"),  # noqa: UP007
    (int | str, 1, 1),
    (Colour, "blue", Colour.BLUE),
    (UserId, 7, 7),
    (dt.datetime, "2026-01-02T03:04:00+00:00", MOMENT),
    (dt.date, "2026-01-02", MOMENT.date()),
    (uuid.UUID, str(UUID), UUID),
    (Point, {"x": 1}, Point(1.0)),
    (
        Picture,
        {"title": "T", "points": [{"x": 1, "y": 2}], "colour": "blue", "tags": {"a": 1}, "first": {"x": 0}},
        Picture("T", [Point(1.0, 2.0)], Colour.BLUE, {"a": 1}, Point(0.0)),
    ),
    (Tree, {"name": "a", "children": [{"name": "b"}]}, Tree("a", [Tree("b")])),
    (Movie, {"title": "T"}, {"title": "T"}),
    (Person, {"name": "Ada", "age": 36}, Person(name="Ada", age=36)),
    (list[Person], [{"name": "Ada", "age": 36}], [Person(name="Ada", age=36)]),
]


@pytest.mark.parametrize(("kind", "data", "value"), FITTING)
def test_what_fits(kind: Any, data: Any, value: Any) -> None:
    schema = schema_of(kind)
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(data, schema)
    found = value_of(kind, data)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("kind", "data", "place"),
    [
        (int, True, "whole number"),
        (int, 1.5, "whole number"),
        (float, "1", "a number"),
        (float, False, "a number"),
        (str, 1, "a text"),
        (bool, 1, "true or false"),
        (type(None), 0, "null"),
        (list[int], [1, "a"], r"\[1\]"),
        (list[int], {"a": 1}, "a list"),
        (tuple[int, str], [1], "2 items"),
        (dict[str, int], {"a": "b"}, "^a must"),
        (Literal["a", 1], True, "one of 'a', 1"),
        (Colour, "green", "one of 'red', 'blue'"),
        (int | str, [1], "whole number.*; or .*a text"),
        (dt.date, "tomorrow", "isoformat"),
        (Point, {}, "lacks the field 'x'"),
        (Point, {"x": 1, "z": 2}, "'z' that Point doesn't know"),
        (Picture, {"title": "T", "points": [{"x": "a"}]}, r"points\[0\]\.x must be a number"),
        (Movie, {"year": 1}, "lacks the field 'title'"),
        (Positive, {"n": 0}, "positive"),
        (Person, {"name": "Ada"}, "age"),
    ],
)
def test_what_does_not_fit(kind: Any, data: Any, place: str) -> None:
    with pytest.raises(ValueError, match=place):
        value_of(kind, data)
    if kind not in (dt.date, Positive):  # a format is only a remark to most checkers
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(data, schema_of(kind))


def test_a_dataclass_in_full() -> None:
    assert schema_of(Picture) == {
        "type": "object",
        "properties": {
            "title": {"type": "string", "description": "as it is printed"},
            "points": {"type": "array", "items": {"$ref": "#/$defs/Point"}},
            "colour": {"type": "string", "enum": ["red", "blue"]},
            "tags": {"type": "object", "additionalProperties": {"type": "integer"}},
            "first": {"anyOf": [{"$ref": "#/$defs/Point"}, {"type": "null"}]},
        },
        "required": ["title", "points"],
        "additionalProperties": False,
        "$defs": {
            "Point": {
                "type": "object",
                "properties": {"x": {"type": "number"}, "y": {"type": "number"}},
                "required": ["x"],
                "additionalProperties": False,
                "description": "Where it is.",
            }
        },
    }


def test_a_class_within_itself_keeps_its_reference() -> None:
    schema = schema_of(Tree)
    assert schema["$ref"] == "#/$defs/Tree"
    assert schema["$defs"]["Tree"]["properties"]["children"]["items"] == {"$ref": "#/$defs/Tree"}


def test_two_classes_of_one_name() -> None:
    def make() -> Any:
        @dataclass
        class Same:
            a: int

        return Same

    assert set(schema_of(tuple[make(), make()])["$defs"]) == {"Same", "Same2"}  # type: ignore[misc]


@pytest.mark.parametrize("kind", [complex, object(), dict[int, str], 3, "text"])
def test_no_schema(kind: Any) -> None:
    with pytest.raises(TypeError, match=r"schema"):
        schema_of(kind)
