"""Functions and definitions as tools; the loop that runs them."""

from __future__ import annotations

import asyncio
import functools
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import pytest
from samples import Events

from lollms_core.capabilities import Capability
from lollms_core.errors import BackendError, BackendTimeout, CapabilityNotSupported, InvalidOutput
from lollms_core.events import Completion, Event, Finish, TextDelta, ToolCall, Usage
from lollms_core.messages import Message
from lollms_core.request import GenerationRequest
from lollms_core.tools import Tool


def weather(city: str, unit: Literal["C", "F"] = "C") -> str:
    """The weather in a city.

    It is always fine.

    Args:
        city: where; the name
            in English.
        unit (str): of the temperature.

    Returns:
        A sentence.
    """
    return f"fine in {city}, 20 {unit}"


@dataclass
class Place:
    name: str
    population: int = 0


def numpy_style(a: int, b: int) -> int:
    """Add.

    Parameters
    ----------
    a : int
        the first
    b : int
        the second,
        if any
    """
    return a + b


def sphinx_style(a: int, b: int) -> int:
    """Add.

    :param a: the first
    :param int b: the second
    :returns: the sum
    """
    return a + b


def test_a_function() -> None:
    assert Tool.of(weather).definition == {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "The weather in a city.\n\nIt is always fine.",
            "parameters": {
                "type": "object",
                "properties": {
                    "city": {"type": "string", "description": "where; the name in English."},
                    "unit": {"type": "string", "enum": ["C", "F"], "description": "of the temperature."},
                },
                "required": ["city"],
            },
        },
    }


@pytest.mark.parametrize("function", [numpy_style, sphinx_style])
def test_other_docstrings(function: Any) -> None:
    tool = Tool.of(function)
    assert tool.description == "Add."
    properties = tool.parameters["properties"]
    assert properties["a"]["description"] == "the first"
    assert properties["b"]["description"].startswith("the second")


class Service:
    def look_up(self, key: str, **_: Any) -> str:
        return key

    def __call__(self, x: int) -> int:
        return x


def test_other_callables() -> None:
    assert list(Tool.of(Service().look_up).parameters["properties"]) == ["key"]
    assert Tool.of(Service()).name == "Service"
    assert Tool.of(Service()).call('{"x": 2}') == 2
    assert Tool.of(lambda_named()).name == "named"

    def place(where: Place, /, also: list[Place] | None = None) -> int:
        return where.population + len(also or ())

    tool = Tool.of(place)
    assert set(tool.parameters["$defs"]) == {"Place"}
    assert tool.call('{"where": {"name": "a", "population": 5}, "also": [{"name": "b"}]}') == 6


def lambda_named() -> Any:
    @functools.wraps(weather)
    def named(city: str) -> str:
        return city

    named.__name__ = "named"
    return named


@pytest.mark.parametrize(
    "definition",
    [
        {"type": "function", "function": {"name": "f", "description": "D", "parameters": {"type": "object"}}},
        {"name": "f", "description": "D", "parameters": {"type": "object"}},
    ],
)
def test_definitions(definition: dict[str, Any]) -> None:
    assert Tool.of(definition) == Tool("f", "D", {"type": "object"})


@pytest.mark.parametrize(
    ("source", "error", "said"),
    [
        (3, TypeError, "a function or a dict"),
        ({}, TypeError, "is defined as"),
        ({"type": "web_search"}, TypeError, "is defined as"),
        ({"name": "two words"}, ValueError, "'two words'"),
        ({"name": 3}, TypeError, "name must be a str"),
        ({"name": "f", "parameters": {"type": "array"}}, TypeError, "parameters of the tool 'f'"),
        (lambda x: x, ValueError, "<lambda> cannot be a tool's name"),
        (lambda *names: names, ValueError, "<lambda>"),
        (print, TypeError, "args"),
    ],
)
def test_misuse(source: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        Tool.of(source)


def test_types_without_a_schema() -> None:
    def f(x: complex) -> None: ...

    def g(x: Unknown) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(TypeError, match="the parameter 'x' of the tool 'f'"):
        Tool.of(f)
    with pytest.raises(TypeError, match=r"the signature of the tool 'g' cannot be read"):
        Tool.of(g)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("{", "no JSON"),
        ("[1]", "a JSON object"),
        ('{"city": "Rome", "units": "C"}', "no parameter 'units'. Did you mean unit"),
        ("{}", "'city' is missing"),
        ('{"city": 3}', "city must be a text"),
        ('{"city": "Rome", "unit": "K"}', "one of 'C', 'F'"),
    ],
)
def test_arguments_that_do_not_fit(arguments: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Tool.of(weather).call(arguments)


# The loop -------------------------------------------------------------------------------------------------


class Rounds(Events):
    """Answers the n-th request with the n-th script."""

    capabilities = Events.capabilities | {Capability.TOOLS}

    def __init__(self, *scripts: list[Event | Exception]) -> None:
        super().__init__()
        self.scripts = scripts

    def _events(self, request: GenerationRequest) -> Iterator[Event]:
        self.script = self.scripts[len(self.requests)]
        return super()._events(request)

    @property
    def conversations(self) -> list[tuple[Message, ...] | None]:
        return [request.messages for request in self.requests if isinstance(request, GenerationRequest)]


def calls(*wanted: tuple[str, dict[str, Any] | str], text: str = "") -> list[Event | Exception]:
    made: list[Event | Exception] = [TextDelta(text)] if text else []
    for number, (name, arguments) in enumerate(wanted):
        shown = arguments if isinstance(arguments, str) else json.dumps(arguments)
        made.append(ToolCall(f"id{number}", name, shown))
    return [*made, Usage(10, 5), Finish("tool_calls", provider={"mine": "opaque"})]


ANSWER: list[Event | Exception] = [TextDelta("It is fine."), Usage(20, 4, 8), Finish("stop")]


async def both(binding: Rounds, **fields: Any) -> Completion:
    """The answer of chat, after that of achat was seen to be the same."""
    again = Rounds(*binding.scripts)
    awaited = await again.achat("How is it?", run_tools=True, **fields)
    completion = binding.chat("How is it?", run_tools=True, **fields)
    assert again.conversations == binding.conversations
    assert (awaited.text, awaited.earlier, awaited.usage) == (completion.text, completion.earlier, completion.usage)
    assert not binding.__dict__["_in_flight"]
    return completion


async def test_the_loop() -> None:
    first = calls(("weather", {"city": "Rome"}), ("weather", {"city": "Oslo", "unit": "F"}), text="Let me look.")
    binding = Rounds(first, ANSWER)
    completion = await both(binding, tools=[weather], tool_choice="required", system_prompt="S")
    assert (completion.text, completion.finish_reason) == ("It is fine.", "stop")
    assert completion.usage == Usage(30, 9, 8)
    assert completion.timings.total is not None
    assert completion.messages == [
        {
            "role": "assistant",
            "content": "Let me look.",
            "tool_calls": [
                {"id": "id0", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Rome"}'}},
                {
                    "id": "id1",
                    "type": "function",
                    "function": {"name": "weather", "arguments": '{"city": "Oslo", "unit": "F"}'},
                },
            ],
            "provider": {"mine": "opaque"},
        },
        {"role": "tool", "tool_call_id": "id0", "name": "weather", "content": "fine in Rome, 20 C"},
        {"role": "tool", "tool_call_id": "id1", "name": "weather", "content": "fine in Oslo, 20 F"},
        {"role": "assistant", "content": "It is fine."},
    ]
    first_request, second = binding.requests
    assert isinstance(first_request, GenerationRequest)
    assert isinstance(second, GenerationRequest)
    assert (first_request.tool_choice, second.tool_choice) == ("required", None)
    assert second.system_prompt == "S"
    assert second.messages == ({"role": "user", "content": "How is it?"}, *completion.earlier)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (("wether", {}), "Error: there is no tool 'wether'. Did you mean weather?"),
        (("weather", "{"), "Error: the arguments are no JSON"),
        (("weather", {"town": "Rome"}), "Error: there is no parameter 'town'"),
        (("weather", {"city": 3}), "Error: city must be a text, not 3"),
        (("broken", {}), "Error: ZeroDivisionError: division by zero"),
    ],
)
async def test_what_goes_wrong_is_told_to_the_model(call: tuple[str, Any], said: str) -> None:
    def broken() -> float:
        return 1 / 0

    completion = await both(Rounds(calls(call), ANSWER), tools=[weather, broken])
    assert completion.earlier[1]["content"].startswith(said)
    assert completion.text == "It is fine."


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("as it is", "as it is"),
        (None, "null"),
        ({"ü": [1]}, '{"ü": [1]}'),
        (Place("a", 1), '{"name": "a", "population": 1}'),
    ],
)
async def test_results(value: Any, text: str) -> None:
    def give() -> Any:
        return value

    completion = await both(Rounds(calls(("give", {})), ANSWER), tools=[give])
    assert completion.earlier[1]["content"] == text


async def test_the_last_round(caplog: pytest.LogCaptureFixture) -> None:
    asks = calls(("weather", {"city": "Rome"}))
    binding = Rounds(asks, asks, asks)
    completion = await both(binding, tools=[weather], max_rounds=2)
    assert len(binding.requests) == 2
    assert completion.finish_reason == "tool_calls"
    assert [call.name for call in completion.tool_calls] == ["weather"]
    assert "max_rounds" in caplog.text


async def test_a_failure_keeps_the_rounds_before() -> None:
    scripts: list[list[Event | Exception]] = [
        calls(("weather", {"city": "Rome"})),
        [TextDelta("It"), BackendError("out of memory")],
    ]
    with pytest.raises(BackendError) as caught:
        Rounds(*scripts).chat("x", tools=[weather], run_tools=True)
    assert caught.value.partial == "It"
    assert [message["role"] for message in caught.value.earlier] == ["assistant", "tool"]
    with pytest.raises(BackendError) as caught:
        await Rounds(*scripts).achat("x", tools=[weather], run_tools=True)
    assert len(caught.value.earlier) == 2


async def test_cancel_between_rounds() -> None:
    def stop() -> str:
        binding.cancel()
        return "stopped"

    binding = Rounds(calls(("stop", {})), ANSWER)
    completion = binding.chat("x", tools=[stop], run_tools=True)
    assert completion.finish_reason == "cancelled"
    assert len(binding.requests) == 1
    binding = Rounds(calls(("stop", {})), ANSWER)
    assert (await binding.achat("x", tools=[stop], run_tools=True)).finish_reason == "cancelled"
    assert len(binding.requests) == 1


def test_the_deadline_is_for_all_rounds() -> None:
    waited = threading.Event()

    def slow() -> None:
        waited.wait(0.02)

    with pytest.raises(BackendTimeout, match=r"deadline of 0\.01 s"):
        Rounds(calls(("slow", {})), ANSWER).chat("x", tools=[slow], run_tools=True, deadline=0.01)


async def test_async_tools_run_at_the_same_time() -> None:
    meeting = asyncio.Barrier(2)
    threads = threading.Barrier(2, timeout=30)

    async def meet(name: str) -> str:
        async with asyncio.timeout(30):
            await meeting.wait()
        return name

    def block(name: str) -> str:
        threads.wait()
        return name

    for function in (meet, block):
        name = function.__name__
        binding = Rounds(calls((name, {"name": "a"}), (name, {"name": "b"})), ANSWER)
        completion = await binding.achat("x", tools=[function], run_tools=True)
        assert [message["content"] for message in completion.earlier[1:]] == ["a", "b"]


async def coroutine_tool() -> str:
    return "x"


@pytest.mark.parametrize(
    ("fields", "error", "said"),
    [
        ({"tools": [weather], "max_rounds": 0}, ValueError, "max_rounds"),
        ({"tools": [weather], "max_rounds": True}, TypeError, "max_rounds"),
        ({}, ValueError, "needs tools"),
        ({"tools": [{"name": "f"}]}, TypeError, "'f' is only a definition"),
        ({"tools": [coroutine_tool]}, TypeError, "use achat"),
        ({"tools": [weather, weather]}, ValueError, "two tools"),
        ({"tools": [weather], "tool_choice": "wether"}, ValueError, "Did you mean weather"),
        ({"tool_choice": "required"}, ValueError, "there are no tools"),
        ({"tools": weather}, TypeError, "tools must be a list"),
    ],
)
def test_misuse_of_the_loop(fields: dict[str, Any], error: type[Exception], said: str) -> None:
    binding = Rounds(ANSWER)
    with pytest.raises(error, match=said):
        binding.chat("x", run_tools=True, **fields)
    assert binding.requests == []


@pytest.mark.parametrize(
    ("script", "choice", "said"),
    [
        ([TextDelta("It is fine."), Finish("stop")], "required", "it is text"),
        ([TextDelta("It"), Finish("length")], "required", "cut off by the limit"),
        ([TextDelta("It"), ToolCall("1", "other", "{}"), Finish("tool_calls")], "weather", "it calls 'other'"),
        ([TextDelta("It is fine."), Finish("stop")], "weather", "it is text"),
    ],
)
async def test_a_server_that_does_not_heed_tool_choice(script: list[Event | Exception], choice: str, said: str) -> None:
    tools = [weather, {"name": "other"}]
    with pytest.raises(InvalidOutput, match=said) as caught:
        Rounds(script).chat("x", tools=tools, tool_choice=choice)
    assert caught.value.text.startswith("It")
    with pytest.raises(InvalidOutput, match=said):
        await Rounds(script).achat("x", tools=tools, tool_choice=choice)


def test_undeclared() -> None:
    with pytest.raises(CapabilityNotSupported):
        Events().chat("x", tools=[weather], run_tools=True)


def test_without_the_loop_the_caller_runs_them() -> None:
    binding = Rounds([ToolCall("id0", "weather", "{}"), Finish("stop")])
    completion = binding.chat("x", tools=[weather])
    assert completion.finish_reason == "tool_calls"
    assert completion.messages == [completion.message]
