"""Tools, schemas, thinking and log probabilities, from the call to the wire and back, by both transports."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from ollama_wire import HELLO, SHOW, Chat, Server, over, said, streamed, whole

from lollms_core import (
    BackendError,
    Capability,
    CapabilityNotSupported,
    Completion,
    InvalidOutput,
    TokenLogprob,
    UnsupportedParameter,
)
from lollms_ollama import OllamaBinding

Make = Callable[..., OllamaBinding]
ABLE = {**SHOW, "capabilities": ["completion", "tools", "thinking", "insert"]}


@pytest.fixture
def able(server: Server) -> Server:
    server.on("/api/show", whole(ABLE))
    return server


def weather(city: str) -> str:
    """The weather in a city.

    Args:
        city: its name.
    """
    return f"rain in {city}"


def calling(city: str) -> dict[str, Any]:
    return {"function": {"name": "weather", "arguments": {"city": city}}}


def test_a_loop_of_tools(able: Server, make: Make, chat: Chat) -> None:
    """What the model thought and called goes back to it, each result with its tool's name and its call's id."""
    able.on(
        "/api/chat",
        streamed(said("", thinking="both"), said("", tool_calls=[calling("Oslo"), calling("Rome")]), over()),
        streamed(said("", tool_calls=[calling("Bern")]), over()),
        streamed(said("Rain."), over()),
    )
    answer = chat(make(), "weather?", tools=[weather], run_tools=True, think=True)
    assert (answer.text, answer.finish_reason) == ("Rain.", "stop")
    asked = [heard.json for heard in able.heard if heard.path == "/api/chat"]
    assert [one["tools"][0]["function"]["name"] for one in asked] == ["weather"] * 3
    assert asked[0]["tools"][0]["function"]["parameters"]["properties"]["city"]["description"] == "its name."
    _, first, oslo, rome, second, bern = asked[2]["messages"]
    assert first["thinking"] == "both"
    assert [call["function"]["arguments"] for call in first["tool_calls"]] == [{"city": "Oslo"}, {"city": "Rome"}]
    assert "thinking" not in second
    results = [oslo, rome, bern]
    assert [one["content"] for one in results] == ["rain in Oslo", "rain in Rome", "rain in Bern"]
    assert [one["tool_name"] for one in results] == ["weather"] * 3
    ids = [one["tool_call_id"] for one in results]
    assert ids == [call["id"] for call in [*first["tool_calls"], *second["tool_calls"]]]
    assert len(set(ids)) == 3


@pytest.mark.parametrize("choice", ["required", "weather", {"type": "function", "function": {"name": "weather"}}])
def test_no_tool_can_be_made_to_be_called(able: Server, make: Make, chat: Chat, choice: Any) -> None:
    with pytest.raises(CapabilityNotSupported, match=r"ollama at http://.*say in a message"):
        chat(make(), "x", tools=[weather], tool_choice=choice)
    assert "/api/chat" not in able.paths()


def test_tool_choice_none_shows_no_tools(able: Server, make: Make, chat: Chat) -> None:
    assert chat(make(), "x", tools=[weather], tool_choice="none").text == "Hello"
    assert "tools" not in able.heard[-1].json


def test_a_prompt_that_goes_as_text_is_a_chat_with_tools(able: Server, make: Make) -> None:
    assert make(completion_format="text").generate_text("x", tools=[weather]) == "Hello"
    assert able.heard[-1].json["tools"]


def test_an_older_server_that_finds_no_tools_in_the_template(server: Server, make: Make, chat: Chat) -> None:
    """It does not tell capabilities, and what it says to the request itself is understood too."""
    words = {"error": "registry.ollama.ai/library/llama3.2:latest does not support tools"}
    server.on("/api/show", whole({"error": "no"}, "500 No"))  # nothing is known of the model
    server.on("/api/chat", whole(words, "400 Bad Request"))
    with pytest.raises(CapabilityNotSupported, match="does not support tools"):
        chat(make(), "x", tools=[weather])


@dataclass
class Point:
    x: int
    y: int


def test_a_schema(server: Server, make: Make, chat: Chat) -> None:
    server.on("/api/chat", streamed(said('{"x": 1,'), said(' "y": 2}'), over()))
    assert chat(make(), "x", response_format=Point).parsed == Point(1, 2)
    assert server.heard[-1].json["format"]["required"] == ["x", "y"]


@pytest.mark.parametrize(("text", "end"), [('{"x": 1}', "stop"), ('{"x": 1, "y"', "length"), ("", "stop")])
def test_an_answer_that_violates_its_schema(server: Server, make: Make, chat: Chat, text: str, end: str) -> None:
    server.on("/api/chat", streamed(said(text), over(end)))
    with pytest.raises(InvalidOutput) as caught:
        chat(make(), "x", response_format=Point)
    assert caught.value.text == text


def test_a_schema_that_the_server_cannot_use(server: Server, make: Make, chat: Chat) -> None:
    server.on("/api/chat", streamed({"error": "invalid JSON schema in format"}))
    with pytest.raises(CapabilityNotSupported, match="invalid JSON schema in format"):
        chat(make(), "x", response_format=Point)
    # Some versions say it with a status that is else worth another try.
    server.on("/api/chat", whole({"error": "invalid JSON schema in format"}, "500 Internal Server Error"))
    with pytest.raises(CapabilityNotSupported):
        chat(make(retries=5), "x", response_format=Point)
    assert server.paths().count("/api/chat") == 2


def test_servers_whose_format_is_no_schema(server: Server, make: Make, chat: Chat) -> None:
    server.on("/api/version", whole({"version": "0.4.7"}))
    with pytest.raises(CapabilityNotSupported, match="json_schema"):
        chat(make(), "x", response_format=Point)


@pytest.mark.parametrize(("wanted", "sent"), [(True, True), (False, False), ("low", True), (None, None)])
def test_thinking(able: Server, make: Make, chat: Chat, wanted: Any, sent: Any) -> None:
    able.on("/api/chat", streamed(said("", thinking="h"), said("", thinking="m"), said("17"), over()))
    answer = chat(make(), "9+8?", think=wanted)
    assert (answer.reasoning, answer.text) == ("hm", "17")
    assert able.heard[-1].json.get("think") == sent


def test_levels_of_thinking(server: Server, make: Make, chat: Chat) -> None:
    info = {**SHOW["model_info"], "general.architecture": "gptoss"}
    server.on("/api/show", whole({**ABLE, "model_info": info}))
    chat(make(), "x", think="high")
    assert server.heard[-1].json["think"] == "high"


@pytest.mark.parametrize(
    "words", ['"m" does not support thinking', 'think value "low" is not supported for this model']
)
def test_what_the_server_says_of_thinking(server: Server, make: Make, chat: Chat, words: str) -> None:
    server.on("/api/show", whole({"error": "no"}, "500 No"))
    server.on("/api/chat", whole({"error": words}, "400 Bad Request"))
    with pytest.raises(CapabilityNotSupported, match="think"):
        chat(make(), "x", think="low")


def with_logprobs(text: str) -> dict[str, Any]:
    return {**said(text), "logprobs": [{"token": text, "logprob": -0.5, "bytes": list(text.encode())}]}


@pytest.mark.parametrize(
    ("wanted", "sent"), [(True, {"logprobs": True}), (3, {"logprobs": True, "top_logprobs": 3}), (False, {}), (0, {})]
)
def test_logprobs(server: Server, make: Make, chat: Chat, wanted: Any, sent: dict[str, Any]) -> None:
    server.on("/api/chat", streamed(with_logprobs("Hel"), with_logprobs("lo"), over()))
    answer = chat(make(), "x", logprobs=wanted)
    assert answer.text == "Hello"
    assert answer.logprobs == ([TokenLogprob("Hel", -0.5), TokenLogprob("lo", -0.5)] if sent else [])
    assert {name: value for name, value in server.heard[-1].json.items() if "logprobs" in name} == sent


def test_too_many_alternatives(server: Server, make: Make, chat: Chat) -> None:
    with pytest.raises(ValueError, match="at most 20"):
        chat(make(), "x", logprobs=21)
    assert "/api/chat" not in server.paths()


def test_servers_that_ignore_logprobs(server: Server, make: Make, chat: Chat) -> None:
    """They are known by their version, which is asked for once; all that tells of capabilities agrees."""
    server.on("/api/version", whole({"version": "0.12.10"}))
    binding = make()
    for _ in range(2):
        with pytest.raises(CapabilityNotSupported, match="logprobs"):
            chat(binding, "x", logprobs=True)
    assert "/api/chat" not in server.paths()
    assert server.paths().count("/api/version") == 1
    assert Capability.LOGPROBS not in binding.capabilities_of()
    assert "logprobs" not in binding.get_model_info()["supports"]
    assert chat(binding, "x").text == "Hello"


def test_a_server_of_unknown_version_that_gives_no_logprobs(server: Server, make: Make, chat: Chat) -> None:
    server.on("/api/version", whole({"version": "0.0.0"}))
    with pytest.raises(CapabilityNotSupported, match="no log probabilities") as caught:
        chat(make(), "x", logprobs=True)
    assert caught.value.partial == "Hello"


def test_filling_in(able: Server, make: Make) -> None:
    able.on("/api/generate", streamed({"response": "x", "done": False}, {"response": "", "done": True}))
    binding = make()
    assert binding.generate_text("f(", completion_format="text", suffix=")") == "x"
    assert able.heard[-1].json["suffix"] == ")"
    with pytest.raises(UnsupportedParameter, match="completion_format"):
        binding.chat("x", suffix=")")
    with pytest.raises(UnsupportedParameter):
        binding.generate_text("x", suffix=")")


def test_a_model_that_cannot_fill_in(server: Server, make: Make) -> None:
    fields = {"completion_format": "text", "suffix": ")"}
    with pytest.raises(CapabilityNotSupported, match="does not support insert"):
        make().generate_text("f(", **fields)
    assert "/api/generate" not in server.paths()
    server.on("/api/show", whole({"error": "no"}, "500 No"))
    words = {"error": "registry.ollama.ai/library/llama3.2:latest does not support insert"}
    server.on("/api/generate", whole(words, "400 Bad Request"))
    with pytest.raises(CapabilityNotSupported, match="does not support insert"):
        make().generate_text("f(", **fields)


async def test_many_tasks_look_a_model_up_once(able: Server, make: Make) -> None:
    """In an event loop that is done by the request itself."""
    async with make() as binding:
        answers: list[Completion] = await asyncio.gather(*(binding.achat("x", tools=[weather]) for _ in range(5)))
    assert [answer.text for answer in answers] == ["Hello"] * 5
    assert able.paths().count("/api/show") == able.paths().count("/api/version") == 1


def test_an_error_after_a_tool_call(able: Server, make: Make, chat: Chat) -> None:
    able.on("/api/chat", streamed(said("Let me see. ", tool_calls=[calling("Oslo")]), {"error": "boom", "status": 500}))
    with pytest.raises(BackendError, match="boom") as caught:
        chat(make(), "x", tools=[weather])
    assert caught.value.partial == "Let me see. "
    able.on("/api/chat", streamed(*HELLO))
    assert chat(make(), "x").text == "Hello"
