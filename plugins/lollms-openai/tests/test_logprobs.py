"""Log probabilities: what is asked for, and what is read, in each form."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
from openai_wire import CHAT, Loopback, chunk, chunked, completion, http, sse

from lollms_core import BadRequest, CapabilityNotSupported, TextDelta, TokenLogprob
from lollms_openai import OpenAIBinding
from lollms_openai.logprobs import token_logprobs
from lollms_openai.presets import groq, lmstudio, mistral, openrouter, together, vllm

Bind = Callable[..., OpenAIBinding]
Ask = Callable[..., Any]
PLAIN = "/v1/completions"


def item(token: str, logprob: float, *top: tuple[str, float], raw: Any = None) -> dict[str, Any]:
    """https://platform.openai.com/docs/api-reference/chat/object, logprobs."""
    likely = [{"token": one, "logprob": value, "bytes": None} for one, value in top]
    return {"token": token, "logprob": logprob, "bytes": raw, "top_logprobs": likely}


HI = item("Hi", -0.5, ("Hi", -0.5), ("Hello", -1.5), ("Yo", -2.5), raw=[72, 105])
MARK = item("!", -0.25, ("?", -0.125), ("!", -0.25), raw=[33])
READ = [
    TokenLogprob("Hi", -0.5, (("Hi", -0.5), ("Hello", -1.5))),
    TokenLogprob("!", -0.25, (("?", -0.125), ("!", -0.25))),
]


@pytest.mark.parametrize(
    ("cls", "asked", "sent"),
    [
        (OpenAIBinding, True, {"logprobs": True, "top_logprobs": 1}),
        (OpenAIBinding, 5, {"logprobs": True, "top_logprobs": 5}),
        (OpenAIBinding, 0, {}),
        (OpenAIBinding, False, {}),
        (vllm, 2, {"logprobs": True, "top_logprobs": 2}),
        # https://docs.together.ai/reference/chat-completions-1
        (together, 2, {"logprobs": 2}),
        (together, True, {"logprobs": 1}),
        (openrouter, 2, {"logprobs": True, "top_logprobs": 2, "provider": {"require_parameters": True}}),
    ],
)
def test_what_is_asked_for(
    server: Loopback, bind: Bind, cls: type[OpenAIBinding], asked: Any, sent: dict[str, Any]
) -> None:
    server.on(CHAT, http(completion()))
    bind(cls).chat("x", logprobs=asked)
    assert {name: value for name, value in server.bodies()[0].items() if name not in ("model", "messages")} == sent


@pytest.mark.parametrize(("asked", "sent"), [(True, 1), (3, 3)])
def test_what_is_asked_for_of_a_plain_completion(server: Loopback, bind: Bind, asked: Any, sent: int) -> None:
    server.on(PLAIN, http({"choices": [{"text": "y", "finish_reason": "stop"}]}))
    bind(completion_format="text").generate_text("x", logprobs=asked)
    assert server.bodies(PLAIN)[0] == {"model": "m1", "prompt": "x", "logprobs": sent}


def with_logprobs(text: str, *items: dict[str, Any]) -> dict[str, Any]:
    choice = {"index": 0, "delta": {"content": text}, "logprobs": {"content": list(items)}, "finish_reason": None}
    return {**chunk(), "choices": [choice]}


def test_a_stream(server: Loopback, bind: Bind, ask: Ask) -> None:
    # Chunks of text alone come first, so that the reader has learned their form.
    records = [chunk("a"), chunk("b"), chunk("c"), with_logprobs("Hi", HI), chunk("d"), with_logprobs("!", MARK)]
    server.on(CHAT, chunked(sse(*records, chunk(finish="stop"))))
    events = ask(bind(), "stream", "x", logprobs=2)
    texts = [event.text if isinstance(event, TextDelta) else event for event in events[:-1]]
    assert texts == ["a", "b", "c", "Hi", READ[0], "d", "!", READ[1]]


def test_many_alike_are_each_read(server: Loopback, bind: Bind, ask: Ask) -> None:
    server.on(CHAT, chunked(sse(*[with_logprobs("Hi", HI)] * 6, chunk(finish="stop"))))
    done = ask(bind(), "chat", "x", logprobs=2, stream=True)
    assert done.logprobs == [READ[0]] * 6
    assert done.text == "Hi" * 6


def test_a_whole_answer(server: Loopback, bind: Bind, ask: Ask) -> None:
    choice = {"index": 0, "message": {"content": "Hi!"}, "logprobs": {"content": [HI, MARK]}, "finish_reason": "stop"}
    server.on(CHAT, http(completion(choices=[choice])))
    assert ask(bind(), "chat", "x", logprobs=2).logprobs == READ
    assert [one.top for one in ask(bind(), "chat", "x", logprobs=True).logprobs] == [(), ()]
    assert ask(bind(), "chat", "x").logprobs == []


# https://platform.openai.com/docs/api-reference/completions/object
OLD = {
    "tokens": ["Hi", "!"],
    "token_logprobs": [-0.5, -0.25],
    "top_logprobs": [{"Hello": -1.5, "Hi": -0.5, "Yo": -2.5}, {"?": -0.125, "!": -0.25}],
    "text_offset": [0, 2],
}


@pytest.mark.parametrize("found", [OLD, {"content": [HI, MARK]}], ids=["OpenAI", "llama-server"])
@pytest.mark.parametrize("stream", [False, True])
def test_a_plain_completion(server: Loopback, bind: Bind, ask: Ask, found: Any, stream: bool) -> None:
    choice = {"index": 0, "text": "Hi!", "logprobs": found, "finish_reason": "stop"}
    server.on(PLAIN, chunked(sse({"choices": [choice]})) if stream else http({"choices": [choice]}))
    request = {"logprobs": 2, "completion_format": "text"}
    if stream:
        binding = bind()
        events = list(binding._events(binding._text_checked({**request, "stream": True}, "x")))
        assert [event for event in events if isinstance(event, TokenLogprob)] == READ
    else:
        assert ask(bind(), "generate_text", "x", **request) == "Hi!"
        assert list(token_logprobs(found, "Hi!", 2)) == READ


def test_togethers_chat(server: Loopback, bind: Bind, ask: Ask) -> None:
    """https://docs.together.ai/docs/inference/chat/logprobs: lists in a whole answer, a number in a stream."""
    lists = {"tokens": ["Hi", "!"], "token_logprobs": [-0.5, -0.25], "token_ids": [1, 2]}
    choice = {"index": 0, "message": {"content": "Hi!"}, "logprobs": lists, "finish_reason": "stop"}
    pieces = [
        {**chunk(), "choices": [{"index": 0, "delta": {"content": text}, "logprobs": value}]}
        for text, value in (("Hi", -0.5), ("!", -0.25), ("", 0))
    ]
    server.on(CHAT, http(completion(choices=[choice])), chunked(sse(*pieces, chunk(finish="stop"))))
    expected = [TokenLogprob("Hi", -0.5), TokenLogprob("!", -0.25)]
    assert ask(bind(together), "chat", "x", logprobs=True).logprobs == expected
    assert ask(bind(together), "chat", "x", logprobs=True, stream=True).logprobs == expected


def test_a_part_of_a_character_has_its_bytes() -> None:
    found = {"content": [item("\\xf0\\x9f", -1, raw=[240, 159]), item("\u00fc", -1, raw=[195, 188])]}
    assert [one.bytes for one in token_logprobs(found, "", 0)] == [b"\xf0\x9f", None]


def test_those_of_the_thinking_are_not_those_of_the_answer(server: Loopback, bind: Bind, ask: Ask) -> None:
    thought = {"index": 0, "delta": {"reasoning_content": "Hm"}, "logprobs": {"content": [MARK]}}
    records = [{**chunk(), "choices": [thought]}, with_logprobs("Hi", HI), chunk(finish="stop")]
    server.on(CHAT, chunked(sse(*records)))
    assert ask(bind(vllm), "chat", "x", logprobs=2, stream=True).logprobs == READ[:1]


@pytest.mark.parametrize(
    "found",
    [
        None,
        True,
        "x",
        [],
        {},
        {"content": None},
        {"content": [None, 3, {}, {"token": "a"}, {"token": 3, "logprob": 1}, {"token": "a", "logprob": None}]},
        {"tokens": None, "token_logprobs": [1]},
        {"tokens": ["a", 3], "token_logprobs": [None, 1]},
    ],
)
def test_what_is_none(found: Any) -> None:
    assert list(token_logprobs(found, "x", 2)) == []


def test_alternatives_that_are_none() -> None:
    bad = [None, {}, {"token": "a"}, {"token": "b", "logprob": -1}]
    found = {"content": [{"token": "a", "logprob": -1, "top_logprobs": bad, "bytes": [999]}]}
    assert list(token_logprobs(found, "a", 2)) == [TokenLogprob("a", -1.0, (("b", -1.0),))]
    assert list(token_logprobs({"tokens": ["a"], "token_logprobs": [-1], "top_logprobs": [3]}, "", 1)) == [
        TokenLogprob("a", -1.0)
    ]


def test_a_server_that_gives_none(server: Loopback, bind: Bind, ask: Ask, caplog: pytest.LogCaptureFixture) -> None:
    server.on(CHAT, http(completion()))
    with caplog.at_level(logging.WARNING):
        assert ask(bind(), "chat", "x", logprobs=True).logprobs == []
    assert "gave no log probabilities" in caplog.text


@pytest.mark.parametrize("cls", [groq, lmstudio, mistral])
def test_a_service_without(server: Loopback, bind: Bind, ask: Ask, cls: type[OpenAIBinding]) -> None:
    with pytest.raises(CapabilityNotSupported, match=r"127\.0\.0\.1.*logprobs"):
        ask(bind(cls), "chat", "x", logprobs=True)
    assert server.seen == []


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ("You are not allowed to request logprobs from this model", CapabilityNotSupported),
        ("'logprobs' is not supported with this model", CapabilityNotSupported),
        ("logprobs is not supported with tools + stream", CapabilityNotSupported),
        ("Invalid 'top_logprobs': integer above maximum value. Expected a value <= 20, but got 21", BadRequest),
    ],
)
def test_a_refusal(server: Loopback, bind: Bind, ask: Ask, words: str, error: type[Exception]) -> None:
    server.on(CHAT, http({"error": {"message": words}}, "400 Bad Request"))
    with pytest.raises(error, match="log probabilities" if error is CapabilityNotSupported else "got 21"):
        ask(bind(), "chat", "x", logprobs=21, tools=[{"name": "f"}])
