"""Streams of the services and servers as their documentation shows them, byte by byte.

Those in :data:`RECORDED` are what the real server sent; the others were written after the page that is named.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from openai_wire import CHAT, Loopback, Reply, chunked, until_close

from lollms_core import (
    BackendError,
    Event,
    Finish,
    LollmsError,
    Progress,
    StreamInterrupted,
    TextDelta,
    TokenLogprob,
    ToolCall,
    Usage,
)
from lollms_openai import OpenAIBinding
from lollms_openai.answers import Records
from lollms_openai.preset import OPENAI
from lollms_openai.presets import PRESETS
from lollms_openai.server import Server
from lollms_openai.stream_reader import StreamReader

Bind = Callable[..., OpenAIBinding]
Ask = Callable[..., Any]

WIRE = Path(__file__).parent / "wire"
RECORDED = {"llama_server_chat", "llama_cpp_python_tools"}


@dataclass
class Stream:
    """What a stream is, and what it says."""

    service: str
    page: str
    text: str = ""
    thinking: str = ""
    calls: list[tuple[str, str, str]] = field(default_factory=list)
    usage: Usage = field(default_factory=Usage)
    reason: str = "stop"
    provider: Any = None
    raw: dict[str, Any] = field(default_factory=dict)  # a part of the record that is kept


STREAMS = {
    "openai_chat": Stream(
        "openai",
        "https://platform.openai.com/docs/api-reference/chat/streaming",
        "Hello \U0001f44b",
        usage=Usage(19, 10, 4),
        raw={"choices": []},
    ),
    "openai_tools": Stream(
        "openai",
        "https://platform.openai.com/docs/guides/function-calling#streaming",
        calls=[
            ("call_DdmO9pD3xa9XTPNJ32zg2hcA", "get_weather", '{"location": "Paris"}'),
            ("call_ABCDEF000111222333444555", "get_weather", '{"location": "Bogot\u00e1"}'),
        ],
        reason="tool_calls",
    ),
    "llama_server_chat": Stream(
        "llamaserver",
        "https://github.com/ggml-org/llama.cpp/tree/master/tools/server",
        "Hello there!",
        usage=Usage(33, 3, 0),
        reason="length",
    ),
    "llama_server_tools": Stream(
        "llamaserver",
        "https://github.com/ggml-org/llama.cpp/blob/master/docs/function-calling.md",
        thinking="The user asks.",
        calls=[("tWsWCNV1XBcnYbJ8vdjkcu4ZnQ3v", "special_function", '{"arg1":1}')],
        reason="tool_calls",
        provider={"llamaserver": {"thinking": "The user asks."}},
        raw={"timings": {"prompt_n": 5, "prompt_ms": 1.5, "predicted_n": 9, "predicted_ms": 4.5}},
    ),
    "llama_cpp_python_tools": Stream(
        "openai",
        "https://llama-cpp-python.readthedocs.io/en/latest/server/#function-calling",
        calls=[("call__0_w_cmpl-14188b01", "w", '{ "city": "Paris" }')],
        reason="tool_calls",
    ),
    "vllm_reasoning": Stream(
        "vllm",
        "https://docs.vllm.ai/en/stable/features/reasoning_outputs/",
        "\n\n9.8",
        "9.11 < 9.8",
        usage=Usage(22, 18),
        provider={"vllm": {"thinking": "9.11 < 9.8"}},
    ),
    "vllm_tools": Stream(
        "vllm",
        "https://docs.vllm.ai/en/stable/features/tool_calling/",
        calls=[("chatcmpl-tool-3c", "get_weather", '{"city": "Dallas"}')],
        reason="tool_calls",
    ),
    "lmstudio_tools": Stream(
        "lmstudio",
        "https://lmstudio.ai/docs/developer/openai-compat/tools",
        "I'll look.",
        calls=[("814890118", "get_current_time", "{}"), ("365174485", "add", '{"a":1,"b":2}')],
        reason="tool_calls",
    ),
    "openrouter_tools": Stream(
        "openrouter",
        "https://openrouter.ai/docs/use-cases/reasoning-tokens",
        thinking="I need a tool.",
        calls=[("toolu_01", "get_weather", '{"location": "Boston"}')],
        usage=Usage(40, 30, 8),
        reason="tool_calls",
        provider={
            "openrouter": {
                "message": {
                    "reasoning_details": [
                        {
                            "type": "reasoning.text",
                            "format": "anthropic-claude-v1",
                            "index": 0,
                            "text": "I need a tool.",
                            "signature": "ErUB",
                        }
                    ]
                }
            }
        },
    ),
    "groq_reasoning": Stream("groq", "https://console.groq.com/docs/reasoning", "Hi.", "Easy.", usage=Usage(11, 7)),
    "deepseek_reasoning": Stream(
        "deepseek",
        "https://api-docs.deepseek.com/api/create-chat-completion",
        "Hello!",
        "Hm.",
        usage=Usage(17, 9, 16),
        provider={"deepseek": {"thinking": "Hm."}},
    ),
    "mistral_thinking": Stream(
        "mistral",
        "https://docs.mistral.ai/capabilities/reasoning",
        "I will ask.",
        "Let me see.",
        [("D681PevKs", "status", '{"id": "T1001"}'), ("VvvODy9mT", "date", '{"id": "T1001"}')],
        Usage(94, 61),
        "tool_calls",
    ),
    "together_chat": Stream(
        "together",
        "https://docs.together.ai/docs/inference/chat/overview",
        "Hello you",
        usage=Usage(5, 2),
    ),
    # Not every server sends the end marker; the reason is enough.
    "no_done": Stream("groq", "https://html.spec.whatwg.org/multipage/server-sent-events.html", "Bye"),
}


def server_of(name: str) -> Server:
    return Server({"openai": OPENAI, **PRESETS}[STREAMS[name].service], "http://h/v1", "h")


def read(name: str, pieces: list[bytes], logprobs: int | None = None) -> list[Event]:
    reader = StreamReader(Records(server_of(name), "h, model 'm'", "m", logprobs=logprobs))
    events = [event for piece in pieces for event in reader.feed(piece)]
    return [*events, *reader.close("text/event-stream")]


def test_every_file_is_read() -> None:
    assert {path.stem for path in WIRE.glob("*.sse")} == {*STREAMS, "openrouter_error"}
    assert STREAMS.keys() > RECORDED


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream(server: Loopback, bind: Bind, ask: Ask, name: str) -> None:
    stream = STREAMS[name]
    body = (WIRE / f"{name}.sse").read_bytes()
    cls = OpenAIBinding if stream.service == "openai" else OpenAIBinding.of_preset(PRESETS[stream.service], __name__)
    server.on(
        CHAT,
        chunked(body),
        Reply(until_close(body), "close"),
        Reply(chunked(body), pieces=7),
        Reply(chunked(body), pieces=1),
    )
    binding = bind(cls)
    for _ in range(4):
        done = ask(binding, "chat", "x", stream=True)
        assert (done.text, done.reasoning, done.finish_reason) == (stream.text, stream.thinking, stream.reason)
        assert [(call.id, call.name, call.arguments) for call in done.tool_calls] == stream.calls
        assert done.usage == stream.usage
        assert done.provider == stream.provider
        assert stream.raw.items() <= done.raw.items()


@pytest.mark.parametrize("name", STREAMS)
def test_it_is_the_same_cut_at_every_byte(name: str) -> None:
    body = (WIRE / f"{name}.sse").read_bytes()
    whole = read(name, [body])
    assert isinstance(whole[-1], Finish)
    for cut in range(len(body) + 1):
        assert read(name, [body[:cut], body[cut:]]) == whole
    assert read(name, [body[place : place + 1] for place in range(len(body))]) == whole


@pytest.mark.parametrize("name", STREAMS)
def test_cut_off_it_is_whole_or_an_error(name: str) -> None:
    """An answer that misses something never passes for one that does not."""
    body = (WIRE / f"{name}.sse").read_bytes()
    stream = STREAMS[name]
    whole = 0
    for cut in range(len(body)):
        try:
            events = read(name, [body[:cut]])
        except StreamInterrupted:
            continue
        whole += 1
        assert "".join(event.text for event in events if isinstance(event, TextDelta)) == stream.text
        assert [event.name for event in events if isinstance(event, ToolCall)] == [call[1] for call in stream.calls]
        assert isinstance(events[-1], Finish)
    assert whole


def test_figures_that_usage_has_no_place_for_are_in_raw(server: Loopback, bind: Bind, ask: Ask) -> None:
    server.on(CHAT, chunked((WIRE / "openai_chat.sse").read_bytes()))
    raw = ask(bind(), "chat", "x", stream=True).raw
    assert raw["usage"]["completion_tokens_details"]["reasoning_tokens"] == 6


def test_how_far_the_prompt_is_read() -> None:
    """llama-server says so where ``return_progress`` is set; see its README."""
    events = read("llama_server_chat", [(WIRE / "llama_server_chat.sse").read_bytes()])
    assert [event for event in events if isinstance(event, Progress)] == [
        Progress("reading the prompt", 0, 33),
        Progress("reading the prompt", 33, 33),
    ]


def test_togethers_numbers() -> None:
    events = read("together_chat", [(WIRE / "together_chat.sse").read_bytes()], logprobs=0)
    assert [event for event in events if isinstance(event, TokenLogprob)] == [
        TokenLogprob("Hello", -0.5),
        TokenLogprob(" you", -0.25),
    ]


@pytest.mark.parametrize("pieces", [0, 1])
def test_an_error_in_the_middle(server: Loopback, bind: Bind, ask: Ask, pieces: int) -> None:
    """https://openrouter.ai/docs/api/reference/errors-and-debugging, mid-stream errors."""
    server.on(CHAT, Reply(chunked((WIRE / "openrouter_error.sse").read_bytes()), pieces=pieces))
    with pytest.raises(BackendError, match="Provider disconnected unexpectedly") as caught:
        ask(bind(OpenAIBinding.of_preset(PRESETS["openrouter"], __name__)), "stream", "x")
    assert caught.value.partial == "Once"


def test_an_error_cut_off_is_an_error_all_the_same() -> None:
    body = (WIRE / "openrouter_error.sse").read_bytes()
    for cut in range(len(body)):
        reader = StreamReader(Records(Server(PRESETS["openrouter"], "http://h/v1", "h"), "h", "m"))
        with pytest.raises(LollmsError):
            list(reader.feed(body[:cut])) + list(reader.close("text/event-stream"))
