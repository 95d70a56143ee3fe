"""The documented bytes of Ollama's API mean the same whatever way the network cuts them.

``wire/SOURCES.md`` says which page each file comes from.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ollama_wire import SHOW, Server, chunk, hang_up, head, whole

from lollms_core import BackendError, Completion, LollmsError, Progress, StreamInterrupted, TokenLogprob, Usage
from lollms_ollama import OllamaBinding

Make = Callable[..., OllamaBinding]

WIRE = Path(__file__).parent / "wire"
ABLE = {**SHOW, "capabilities": ["completion", "tools", "thinking", "insert"]}
TOOLS = [{"name": name} for name in ("get_weather", "get_current_weather", "get_temperature", "get_conditions")]


@dataclass
class Age:
    age: int
    available: bool


# The file, what is asked, and what the answer has.
ANSWERS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "chat": ({}, {"text": "The sky", "usage": Usage(26, 282), "finish_reason": "stop"}),
    "generate": ({"completion_format": "text"}, {"text": "The"}),
    "tools": (
        {"tools": TOOLS},
        {"text": "", "calls": [("get_weather", '{"city": "Tokyo"}')], "finish_reason": "tool_calls"},
    ),
    "tools_once": (
        {"tools": TOOLS},
        {"calls": [("get_current_weather", '{"format": "celsius", "location": "Paris, FR"}')]},
    ),
    "thinking": (
        {"think": True},
        {"text": "391", "reasoning": "17 × 23", "provider": {"ollama": {"thinking": "17 × 23"}}},
    ),
    "thinking_tools": (
        {"think": True, "tools": TOOLS},
        {
            "reasoning": "I need both.",
            "calls": [("get_temperature", '{"city": "New York"}'), ("get_conditions", '{"city": "New York"}')],
            "finish_reason": "tool_calls",
        },
    ),
    "logprobs": (
        {"logprobs": 2},
        {
            "text": "Hi!",
            "logprobs": [TokenLogprob("Hi", -0.25, (("Hi", -0.25), ("Hello", -1.5))), TokenLogprob("!", -0.5)],
        },
    ),
    "structured": (
        {"response_format": Age},
        {"text": '{"age": 22, "available": false}', "parsed": Age(22, available=False)},
    ),
}


def data_of(name: str) -> bytes:
    return (WIRE / f"{name}.ndjson").read_bytes()


def seen(completion: Completion, wanted: dict[str, Any]) -> dict[str, Any]:
    found = {**{name: getattr(completion, name, None) for name in wanted}}
    if "calls" in wanted:
        found["calls"] = [(call.name, call.arguments) for call in completion.tool_calls]
    return found


@pytest.fixture
def binding(server: Server, make: Make) -> OllamaBinding:
    server.on("/api/show", whole(ABLE))
    return make()


class Ask:
    """Asks one way, many times in one event loop or none."""

    def __init__(self, binding: OllamaBinding, fields: dict[str, Any]) -> None:
        self._binding = binding
        self._fields = fields

    def run(self, pieces: Iterator[None]) -> list[Completion | LollmsError]:
        """The outcome after each step of `pieces`, which sets the server's next answer."""
        return [self._outcome() for _ in pieces]

    def arun(self, pieces: Iterator[None]) -> list[Completion | LollmsError]:
        async def main() -> list[Completion | LollmsError]:
            return [await self._aoutcome() for _ in pieces]

        return asyncio.run(main())

    # A plain prompt only where it goes as text; chat() has messages.
    def _outcome(self) -> Completion | LollmsError:
        try:
            if "completion_format" in self._fields:
                return Completion(text_or_raise(self._binding.generate_text("x", **self._fields)))
            return self._binding.chat("x", **self._fields)
        except LollmsError as error:
            return error

    async def _aoutcome(self) -> Completion | LollmsError:
        try:
            if "completion_format" in self._fields:
                return Completion(text_or_raise(await self._binding.agenerate_text("x", **self._fields)))
            return await self._binding.achat("x", **self._fields)
        except LollmsError as error:
            return error


def text_or_raise(found: str | dict[str, Any]) -> str:
    if isinstance(found, dict):
        assert found["error_type"] == "StreamInterrupted", found
        raise StreamInterrupted(found["error"], partial=found["partial"])
    return found


@pytest.fixture(params=["sync", "async"])
def ask(request: pytest.FixtureRequest, binding: OllamaBinding) -> Callable[..., list[Completion | LollmsError]]:
    def run(fields: dict[str, Any], pieces: Iterator[None]) -> list[Completion | LollmsError]:
        asked = Ask(binding, fields)
        return asked.run(pieces) if request.param == "sync" else asked.arun(pieces)

    return run


@pytest.mark.parametrize("name", ANSWERS)
def test_one_byte_a_packet_and_in_two_pieces_at_every_byte(server: Server, ask: Any, name: str) -> None:
    fields, wanted = ANSWERS[name]
    data = data_of(name)
    opening = head("200 OK", "application/x-ndjson", "Transfer-Encoding: chunked")

    def cuts() -> Iterator[None]:
        for at in range(1, len(data)):
            answer = [opening + chunk(data[:at]), chunk(data[at:]) + b"0\r\n\r\n"]
            place_for(server, fields, answer)
            yield
        place_for(server, fields, [opening, *(chunk(data[at : at + 1]) for at in range(len(data))), b"0\r\n\r\n"])
        yield

    outcomes = ask(fields, cuts())
    assert len(outcomes) == len(data)
    for outcome in outcomes:
        assert isinstance(outcome, Completion), outcome
        assert seen(outcome, wanted) == wanted
    assert server.connections <= 2


@pytest.mark.parametrize("name", ANSWERS)
def test_cut_off_at_every_byte(server: Server, ask: Any, name: str) -> None:
    """Only a whole answer is an answer; of any other, no text that came is lost and none is made up."""
    fields, wanted = ANSWERS[name]
    data = data_of(name)
    opening = head("200 OK", "application/x-ndjson", "Transfer-Encoding: chunked")

    def cuts() -> Iterator[None]:
        for at in range(1, len(data) - 1):
            place_for(server, fields, [opening + chunk(data[:at]) + b"0\r\n\r\n"])
            yield
        place_for(server, fields, [opening + chunk(data[:-9]), hang_up])
        yield
        place_for(server, fields, [opening + chunk(data[:-1]) + b"0\r\n\r\n"])  # only the line's end is missing
        yield

    *cut, complete = ask(fields, cuts())
    assert isinstance(complete, Completion)
    assert seen(complete, wanted) == wanted
    for outcome in cut:
        assert isinstance(outcome, StreamInterrupted), outcome
        assert complete.text.startswith(outcome.partial)


def place_for(server: Server, fields: dict[str, Any], answer: Any) -> None:
    server.on("/api/generate" if "completion_format" in fields else "/api/chat", answer)


# Pulls ------------------------------------------------------------------------------------------------

PROGRESS = [
    Progress("pulling manifest"),
    Progress("downloading digestname", 0, 2142590208, "digestname"),
    Progress("downloading digestname", 241970, 2142590208, "digestname"),
    Progress("verifying sha256 digest"),
    Progress("writing manifest"),
    Progress("removing any unused layers"),
    Progress("success"),
]


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_a_pull_cut_at_every_byte(server: Server, binding: OllamaBinding, is_async: bool) -> None:
    data = data_of("pull")
    opening = head("200 OK", "application/x-ndjson", "Transfer-Encoding: chunked")

    async def progress() -> list[Progress]:
        return [one async for one in binding.apull("m")] if is_async else list(binding.pull("m"))

    async def main() -> None:
        for at in range(1, len(data)):
            server.on("/api/pull", [opening + chunk(data[:at]), chunk(data[at:]) + b"0\r\n\r\n"])
            assert await progress() == PROGRESS
            if at < len(data) - 1:
                server.on("/api/pull", [opening + chunk(data[:at]) + b"0\r\n\r\n"])
                with pytest.raises(StreamInterrupted, match="pull it again"):
                    await progress()

    asyncio.run(main())


def test_ps(server: Server, binding: OllamaBinding) -> None:
    server.on("/api/ps", whole((WIRE / "ps.json").read_bytes()))
    assert binding.ps() == [
        {
            "model_name": "mistral:latest",
            "size": 5137025024,
            "expires_at": "2024-06-04T14:38:31.83753-07:00",
            "size_vram": 5137025024,
            "digest": "2ae6f6dd7a3dd734790bbbf58b8909a606e0e7e97e94b7604e0aa7ae4490e6d8",
        }
    ]


def test_an_error_in_the_stream_cut_at_every_byte(server: Server, ask: Any) -> None:
    """docs/api/errors.mdx: errors while streaming come as a record of their own, with the status 200."""
    text = data_of("chat").split(b"\n")[0] + b"\n"
    data = text + b'{"error":"an error was encountered while running the model"}\n'
    opening = head("200 OK", "application/x-ndjson", "Transfer-Encoding: chunked")

    def cuts() -> Iterator[None]:
        for at in range(1, len(data)):
            place_for(server, {}, [opening + chunk(data[:at]), chunk(data[at:]) + b"0\r\n\r\n"])
            yield

    for outcome in ask({}, cuts()):
        assert type(outcome) is BackendError
        assert "while running the model" in str(outcome)
        assert outcome.partial == "The"
