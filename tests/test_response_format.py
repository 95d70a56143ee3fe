"""Answers bound to a schema: the forms it comes in, the object that the answer becomes, and what is said if not."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import BaseModel
from samples import Events, answer

from lollms_core.capabilities import Capability
from lollms_core.errors import CapabilityNotSupported, InvalidOutput
from lollms_core.events import Event, Finish, TextDelta, ToolCall
from lollms_core.request import GenerationRequest
from lollms_core.response_format import ResponseFormat

SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "title": "a number"}


@dataclass
class Number:
    n: int


class Model(BaseModel):
    n: int


class Schemas(Events):
    capabilities = Events.capabilities | {Capability.JSON_SCHEMA, Capability.TOOLS}


def answered(text: str, reason: Any = "stop") -> Schemas:
    return Schemas([TextDelta(text), Finish(reason)])


@pytest.mark.parametrize(
    ("source", "name", "strict", "parsed"),
    [
        (SCHEMA, "a_number", None, {"n": 3}),
        (
            {"type": "json_schema", "json_schema": {"name": "n-1", "schema": SCHEMA, "strict": True}},
            "n-1",
            True,
            {"n": 3},
        ),
        ({"type": "json_object"}, "answer", None, {"n": 3}),
        (Number, "Number", None, Number(3)),
        (Model, "Model", None, Model(n=3)),
        (dict[str, int], "dict", None, {"n": 3}),
    ],
)
async def test_forms(source: Any, name: str, strict: bool | None, parsed: Any) -> None:
    binding = answered('{"n": 3}')
    completion = binding.chat("x", response_format=source)
    assert completion.parsed == parsed
    request = binding.requests[0]
    assert isinstance(request, GenerationRequest)
    assert request.response_format is not None
    assert (request.response_format.name, request.response_format.strict) == (name, strict)
    assert (await binding.achat("x", response_format=source)).parsed == parsed
    stream = binding.stream("x", response_format=source)
    assert "".join(stream.text_stream) == '{"n": 3}'
    assert stream.completion.parsed == parsed


@pytest.mark.parametrize(
    ("text", "reason", "said"),
    [
        ('{"n": "three"}', "stop", "'three' is not of type 'integer'"),
        ("{}", "stop", "'n' is a required property"),
        ('{"n": 3', "stop", "it is no JSON"),
        ("", "stop", "it is empty"),
        ('{"n": NaN}', "stop", "NaN is no JSON"),
        ("[" * 100_000, "stop", "it is no JSON"),
        ('{"n": 3}', "length", "cut off by the limit of its length"),
        ('{"n": 3}', "content_filter", "content filter"),
    ],
)
async def test_violations(text: str, reason: str, said: str) -> None:
    binding = answered(text, reason)
    with pytest.raises(InvalidOutput) as caught:
        binding.chat("x", response_format=SCHEMA)
    assert said in caught.value.reason
    assert said in str(caught.value)
    assert caught.value.text == caught.value.partial == text
    assert len(str(caught.value)) < 700
    returned = await binding.agenerate_text("x", response_format=SCHEMA)
    assert isinstance(returned, dict)
    assert (returned["error_type"], returned["partial"]) == ("InvalidOutput", text)
    stream = binding.stream("x", response_format=SCHEMA)
    with pytest.raises(InvalidOutput):
        list(stream)
    assert (stream.completion.text, stream.completion.finish_reason) == (text, "error")


@pytest.mark.parametrize("source", [Number, Model])
def test_violations_of_types(source: Any) -> None:
    with pytest.raises(InvalidOutput, match="n"):
        answered('{"n": "three"}').chat("x", response_format=source)


def test_a_call_is_no_answer_yet() -> None:
    binding = Schemas([ToolCall("1", "f", "{}"), Finish("tool_calls")])
    assert binding.chat("x", response_format=SCHEMA, tools=[{"name": "f"}]).parsed is None


def test_a_cancelled_answer_is_not_judged() -> None:
    binding = Schemas(answer("{", '"n"', ": 3}"))
    text = binding.generate_text("x", response_format=SCHEMA, streaming_callback=lambda *_: False)
    assert text == "{"


ITSELF: dict[str, Any] = {"properties": {}}
ITSELF["properties"]["again"] = ITSELF


@pytest.mark.parametrize(
    ("source", "error", "said"),
    [
        (3, TypeError, "response_format: 3 has no JSON schema"),
        (complex, TypeError, "response_format: complex"),
        ({"type": "text"}, TypeError, "leave it out"),
        ({"type": "json_schema", "json_schema": {}}, TypeError, "without a schema"),
        ({"type": "nothing"}, ValueError, "no valid JSON schema"),
        ({"properties": 3}, ValueError, "properties"),
        ({None: "object"}, TypeError, r"response_format is no JSON: \$ has the key None"),
        ({"properties": {"a": {1: 2}}}, TypeError, r"\$\.properties\.a has the key 1"),
        ({"enum": [1, {2}]}, TypeError, r"\$\.enum\[1\] is \{2\}"),
        ({"const": float("nan")}, TypeError, r"\$\.const is nan"),
        (ITSELF, TypeError, "holds itself"),
    ],
)
def test_misuse(source: Any, error: type[Exception], said: str) -> None:
    binding = answered("{}")
    with pytest.raises(error, match=said):
        binding.chat("x", response_format=source)
    assert binding.requests == []


def test_nothing_is_fetched_for_a_schema() -> None:
    with pytest.raises(InvalidOutput, match="refers to something outside"):
        ResponseFormat.of({"$ref": "http://127.0.0.1:9/schema.json"}).parse("{}")


def test_what_never_ends() -> None:
    circle = {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}
    with pytest.raises(InvalidOutput, match="without end"):
        ResponseFormat.of(circle).parse("{}")


def test_without_the_library() -> None:
    program = """if True:
        import sys
        from dataclasses import dataclass
        sys.modules["jsonschema"] = None
        from lollms_core import CapabilityNotSupported, ResponseFormat
        @dataclass
        class Number:
            n: int
        print(ResponseFormat.of(Number).parse('{"n": 3}').n)
        try:
            ResponseFormat.of({"type": "object"})
        except CapabilityNotSupported as error:
            print(error)
    """
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    first, second = done.stdout.splitlines()
    assert first == "3"
    assert second.endswith("install it with: pip install 'lollms-core[schema]'")


def test_undeclared_raises() -> None:
    with pytest.raises(CapabilityNotSupported, match="json_schema"):
        Events().chat("x", response_format=Number)


def test_the_events_are_the_text() -> None:
    events: list[Event] = list(answered('{"n": 3}').stream("x", response_format=Number))
    assert events == [TextDelta('{"n": 3}'), Finish("stop")]
