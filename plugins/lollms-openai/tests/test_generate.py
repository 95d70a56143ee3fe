"""Text, chat and streams, sync and async, on the shapes that servers send."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from openai_wire import STREAM, TEXT, Loopback, Reply, chunk, chunked, completion, http, sse, until_close

from lollms_core import Finish, ReasoningDelta, TextDelta, ToolCall, Usage
from lollms_openai import OpenAIBinding
from lollms_openai.presets import llamaserver, mistral, vllm

Bind = Callable[..., OpenAIBinding]
Ask = Callable[..., Any]


def test_a_whole_answer(server: Loopback, bind: Bind, ask: Ask) -> None:
    server.on("/v1/chat/completions", http(completion()))
    done = ask(bind(), "chat", "Why is the sky blue?", temperature=0.5, n_predict=7)
    assert (done.text, done.finish_reason, done.model, done.id) == (TEXT, "stop", "m1", "chatcmpl-1")
    assert done.usage == Usage(3, 5)
    assert server.bodies() == [
        {
            "model": "m1",
            "messages": [{"role": "user", "content": "Why is the sky blue?"}],
            "max_tokens": 7,
            "temperature": 0.5,
        }
    ]


@pytest.mark.parametrize("wrap", [chunked, until_close])
def test_a_stream(server: Loopback, bind: Bind, ask: Ask, wrap: Callable[[bytes], bytes]) -> None:
    server.on("/v1/chat/completions", Reply(wrap(STREAM), "keep" if wrap is chunked else "close"))
    events = ask(bind(), "stream", "Why?")
    assert "".join(map(str, events[:-2])) == TEXT
    assert events[-2] == Usage(3, 5)
    assert isinstance(events[-1], Finish)
    assert (events[-1].reason, events[-1].model, events[-1].id) == ("stop", "m1", "chatcmpl-1")
    assert server.bodies()[0]["stream"] is True
    assert server.bodies()[0]["stream_options"] == {"include_usage": True}


def test_one_byte_a_packet(server: Loopback, bind: Bind, ask: Ask) -> None:
    server.on("/v1/chat/completions", Reply(chunked(STREAM.replace(b"blue", "blüe\u2028".encode())), pieces=1))
    assert "".join(map(str, ask(bind(), "stream", "Why?")[:-2])) == "The sky is blüe\u2028."


def test_generate_text_with_a_callback_streams(server: Loopback, bind: Bind, ask: Ask) -> None:
    server.on("/v1/chat/completions", chunked(STREAM))
    pieces: list[str] = []
    text = ask(bind(), "generate_text", "Why?", streaming_callback=lambda piece, _: pieces.append(piece))
    assert text == "".join(pieces) == TEXT
    assert pieces == ["The ", "sky ", "is ", "blue."]


def test_a_plain_completion(server: Loopback, bind: Bind, ask: Ask) -> None:
    choice = {"index": 0, "text": " a time", "logprobs": None, "finish_reason": "length"}
    server.on("/v1/completions", http({"id": "cmpl-1", "object": "text_completion", "choices": [choice]}))
    binding = bind(completion_format="text")
    assert ask(binding, "generate_text", "Once upon", system_prompt="A tale.", n_predict=4) == " a time"
    assert server.bodies("/v1/completions") == [{"model": "m1", "prompt": "A tale.\n\nOnce upon", "max_tokens": 4}]


def test_a_plain_completion_streamed(server: Loopback, bind: Bind, ask: Ask) -> None:
    def piece(text: str, finish: str | None = None) -> dict[str, Any]:
        return {
            "id": "c",
            "object": "text_completion",
            "choices": [{"index": 0, "text": text, "finish_reason": finish}],
        }

    server.on("/v1/completions", chunked(sse(piece("Once "), piece("upon "), piece("", "stop"))))
    text = ask(bind(), "generate_text", "Tell", completion_format="text", stream=True)
    assert text == "Once upon "


def test_a_conversation_is_chat_whatever_the_format(server: Loopback, bind: Bind, ask: Ask) -> None:
    server.on("/v1/chat/completions", http(completion()))
    binding = bind(completion_format="text")
    ask(binding, "generate_text", "!@>user:Hi!@>assistant:Hello!@>user:Why?", system_prompt="Be brief.", split=True)
    roles = [message["role"] for message in server.bodies()[0]["messages"]]
    assert roles == ["system", "user", "assistant", "user"]


def test_thinking_comes_apart(server: Loopback, bind: Bind, ask: Ask) -> None:
    deltas: list[dict[str, Any]] = [
        {"role": "assistant", "content": None},
        {"reasoning_content": "Hm. "},
        {"reasoning": "So.", "content": ""},
        {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": " Ah."}]}]},
        {"content": [{"type": "text", "text": "Blue"}]},
        {"content": "."},
    ]
    records = [chunk() | {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    server.on("/v1/chat/completions", chunked(sse(*records, chunk(finish="stop"))))
    events = ask(bind(), "stream", "Why?")
    assert [event.text for event in events if isinstance(event, ReasoningDelta)] == ["Hm. ", "So.", " Ah."]
    assert [event.text for event in events if isinstance(event, TextDelta)] == ["Blue", "."]


def test_tool_fragments_become_calls(server: Loopback, bind: Bind, ask: Ask) -> None:
    fragments: list[dict[str, Any]] = [
        {"index": 0, "id": "a", "function": {"name": "f", "arguments": ""}},
        {"index": 0, "function": {"arguments": '{"x":'}},
        {"index": 1, "function": {"name": "g", "arguments": "{}"}},
        {"index": 0, "function": {"arguments": " 1}"}},
    ]
    records = [
        chunk() | {"choices": [{"index": 0, "delta": {"content": None, "tool_calls": [one]}}]} for one in fragments
    ]
    server.on("/v1/chat/completions", chunked(sse(*records, chunk(finish="tool_calls"))))
    events = ask(bind(), "stream", "Do", backend_options={"tools": []})
    assert events[0] == ToolCall("a", "f", '{"x": 1}')
    assert (events[1].name, events[1].arguments) == ("g", "{}")
    assert events[1].id.startswith("call_")
    assert events[-1].reason == "tool_calls"


@pytest.mark.parametrize(
    ("reason", "ours"),
    [("stop", "stop"), ("length", "length"), ("content_filter", "content_filter"), ("eos", "stop"), ("odd", "stop")],
)
def test_finish_reasons(server: Loopback, bind: Bind, ask: Ask, reason: str, ours: str) -> None:
    server.on("/v1/chat/completions", chunked(sse(chunk("x"), chunk(finish=reason))))
    assert ask(bind(), "stream", "Why?")[-1].reason == ours


def test_a_server_that_does_not_stream_though_asked(server: Loopback, bind: Bind, ask: Ask) -> None:
    server.on("/v1/chat/completions", http(completion()))
    assert "".join(map(str, ask(bind(), "stream", "Why?")[:1])) == TEXT


def test_what_a_server_does_not_know_is_left_out_and_asked_again(server: Loopback, bind: Bind, ask: Ask) -> None:
    def answer(seen: Any) -> Reply:
        if "stream_options" in seen.body:
            message = "Unrecognized request argument supplied: stream_options"
            return Reply(http({"error": {"message": message}}, "400 Bad Request"))
        if "max_tokens" in seen.body:
            message = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
            return Reply(http({"error": {"message": message}}, "400 Bad Request"))
        return Reply(chunked(STREAM))

    server.answer = answer
    assert ask(bind(), "generate_text", "Why?", stream=True, n_predict=5) == TEXT
    assert server.bodies()[-1]["max_completion_tokens"] == 5


def test_parameters_go_by_their_names_at_each_server(server: Loopback, bind: Bind) -> None:
    server.on("/v1/chat/completions", http(completion()))
    given: dict[str, Any] = {
        "temperature": 0.0,
        "top_p": 0.5,
        "top_k": 4,
        "min_p": 0.1,
        "repeat_penalty": 1.5,
        "repeat_last_n": 8,
        "presence_penalty": 0.25,
        "frequency_penalty": 0.75,
        "logit_bias": {15: -100},
        "stop": ["\n"],
        "seed": 3,
    }
    common = {
        "temperature": 0.0,
        "top_p": 0.5,
        "presence_penalty": 0.25,
        "frequency_penalty": 0.75,
        "logit_bias": {"15": -100},
        "stop": ["\n"],
        "seed": 3,
    }
    without_bias = {name: value for name, value in common.items() if name not in ("logit_bias", "seed")}
    repetition = {"top_k": 4, "min_p": 0.1, "repetition_penalty": 1.5}
    native = {"top_k": 4, "min_p": 0.1, "repeat_penalty": 1.5, "repeat_last_n": 8}
    for cls, sent, ignored in (
        (OpenAIBinding, common, ("min_p", "repeat_last_n", "repeat_penalty", "top_k")),
        (vllm, {**common, **repetition}, ("repeat_last_n",)),
        (llamaserver, {**common, **native}, ()),
        (
            mistral,
            {**without_bias, "random_seed": 3},
            ("logit_bias", "min_p", "repeat_last_n", "repeat_penalty", "top_k"),
        ),
    ):
        done = bind(cls).chat("x", **given)
        body = server.bodies()[-1]
        assert {name: value for name, value in body.items() if name not in ("model", "messages")} == sent
        assert done.ignored == ignored


def test_seed_minus_one_is_random_and_not_sent(server: Loopback, bind: Bind) -> None:
    server.on("/v1/chat/completions", http(completion()))
    bind().chat("x", seed=-1, backend_options={"user": "u", "temperature": 9})
    assert server.bodies()[0].keys() == {"model", "messages", "user", "temperature"}


def test_a_connection_is_used_again(server: Loopback, bind: Bind) -> None:
    server.on("/v1/chat/completions", chunked(STREAM + b"data: after the end\n\n"), http(completion()), chunked(STREAM))
    binding = bind()
    for stream in (True, False, True):
        assert binding.generate_text("x", stream=stream) == TEXT
    assert server.connections == 1


async def test_a_connection_is_used_again_on_asyncio(server: Loopback, bind: Bind) -> None:
    server.on("/v1/chat/completions", chunked(STREAM + b"data: after the end\n\n"), http(completion()), chunked(STREAM))
    binding = bind()
    for stream in (True, False, True):
        assert await binding.agenerate_text("x", stream=stream) == TEXT
    assert server.connections == 1
    await binding.aclose()


def test_each_event_loop_has_its_own_client(server: Loopback, bind: Bind) -> None:
    server.on("/v1/chat/completions", http(completion()))
    binding = bind()
    for number in range(1, 4):
        assert asyncio.run(binding.achat("x")).text == TEXT
        assert server.connections == number


async def test_many_tasks_on_one_binding_get_their_own_answers(server: Loopback, bind: Bind) -> None:
    def answer(seen: Any) -> Reply:
        words = seen.body["messages"][0]["content"].split()
        return Reply(chunked(sse(*map(chunk, words), chunk(finish="stop"))))

    server.answer = answer
    binding = bind()
    prompts = [f"{number} a b c d {number}" for number in range(100)]
    answers = await asyncio.gather(*(binding.agenerate_text(prompt, stream=True) for prompt in prompts))
    assert answers == [prompt.replace(" ", "") for prompt in prompts]
    await binding.aclose()


def test_many_threads_on_one_binding_get_their_own_answers(server: Loopback, bind: Bind) -> None:
    from concurrent.futures import ThreadPoolExecutor

    def answer(seen: Any) -> Reply:
        words = seen.body["messages"][0]["content"].split()
        return Reply(chunked(sse(*map(chunk, words), chunk(finish="stop"))))

    server.answer = answer
    binding = bind()
    prompts = [f"{number} a b c d {number}" for number in range(100)]
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda prompt: binding.generate_text(prompt, stream=True), prompts))
    assert answers == [prompt.replace(" ", "") for prompt in prompts]
