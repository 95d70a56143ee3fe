"""Bytes of an answer, cut anywhere, give the same events; anything else is said clearly."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from ollama_wire import HELLO, line, over, said

from lollms_core import (
    BackendError,
    BadRequest,
    CapabilityNotSupported,
    ContextOverflow,
    Event,
    Finish,
    ModelNotFound,
    ProtocolError,
    ReasoningDelta,
    StreamInterrupted,
    TextDelta,
    TokenLogprob,
    ToolCall,
    Usage,
)
from lollms_http import JsonLines, Reader
from lollms_http.answer import Answer
from lollms_ollama.answers import AnswerReader
from lollms_ollama.records import known_error

WHO = "ollama at http://h:1"


def read(*pieces: bytes, logprobs: bool = False) -> list[Event]:
    """The events; ids that we made up are taken out."""
    answer = reading(AnswerReader(WHO, "m", logprobs=logprobs))
    events = [event for piece in pieces for event in answer.feed(piece)]
    return [anonymous(event) for event in [*events, *answer.close()]]


def reading(reader: Reader) -> Answer:
    return Answer(reader, JsonLines().decoder(), who=WHO, about=f"{WHO}, model 'm'")


def anonymous(event: Event) -> Event:
    made_up = isinstance(event, ToolCall) and event.id.startswith("call_")
    return replace(event, id="call_?") if made_up else event  # type: ignore[type-var]


CHAT = [said("The "), said("ský 🎉\u2028\u0085"), over()]
GENERATE: list[Any] = [
    {"model": "m", "created_at": "2023-08-04T08:52:19Z", "response": "The ", "done": False},
    {"model": "m", "created_at": "2023-08-04T08:52:19Z", "response": "ský 🎉\u2028\u0085", "done": False},
    {"model": "m", "response": "", "done": True, "done_reason": "length", "context": [1, 2], "eval_count": 3},
]
THINKING = [said("", thinking="Let me "), said("", thinking="see"), said("17"), over()]
TOOLS = [
    said("", tool_calls=[{"function": {"name": "get_weather", "arguments": {"city": "Tokyo"}}}]),
    said("", tool_calls=[{"id": "x", "function": {"name": "now"}}]),
    over(),
]


def test_chat() -> None:
    assert read(*map(line, CHAT)) == [
        TextDelta("The "),
        TextDelta("ský 🎉\u2028\u0085"),
        Usage(26, 282),
        Finish("stop", model="llama3.2", raw=CHAT[-1]),
    ]


def test_generate() -> None:
    *texts, usage, finish = read(*map(line, GENERATE))
    assert texts == [TextDelta("The "), TextDelta("ský 🎉\u2028\u0085")]
    assert usage == Usage(None, 3)
    assert isinstance(finish, Finish)
    assert finish.reason == "length"
    assert "context" not in finish.raw


def test_thinking() -> None:
    events = read(*map(line, THINKING))
    assert events[:3] == [ReasoningDelta("Let me "), ReasoningDelta("see"), TextDelta("17")]
    assert isinstance(events[-1], Finish)
    assert events[-1].provider == {"ollama": {"thinking": "Let me see"}}


def test_tool_calls() -> None:
    events = read(*map(line, TOOLS))
    assert events[:2] == [ToolCall("call_?", "get_weather", '{"city": "Tokyo"}'), ToolCall("x", "now", "{}")]
    assert isinstance(events[-1], Finish)
    assert events[-1].reason == "tool_calls"
    with pytest.raises(ProtocolError, match="tool call"):
        read(line(said("", tool_calls=[{}])))


def test_ids_of_tool_calls_are_never_the_same() -> None:
    """A conversation holds the calls of many answers, and a result finds its call by the id."""
    record = line(said("", tool_calls=[{"function": {"name": "f"}}, {"id": "", "function": {"name": "f"}}]))
    events = [event for _ in range(50) for event in reading(AnswerReader(WHO, "m")).feed(record)]
    assert len({event.id for event in events if isinstance(event, ToolCall)}) == 100


def lp(token: str, logprob: float = -0.5, **more: Any) -> dict[str, Any]:
    return {"token": token, "logprob": logprob, "bytes": list(token.encode()), **more}


def test_logprobs() -> None:
    """Each comes just after the text that it is part of."""
    top = [lp("Hel", -0.1), lp("Hi", -2)]
    records = [said("Hel", logprobs=None), said("lo"), over()]
    records[0]["logprobs"] = [lp("Hel", -0.1, top_logprobs=top)]
    records[1]["logprobs"] = [lp("l"), lp("o")]
    assert read(*map(line, records), logprobs=True)[:5] == [
        TextDelta("Hel"),
        TokenLogprob("Hel", -0.1, (("Hel", -0.1), ("Hi", -2.0))),
        TextDelta("lo"),
        TokenLogprob("l", -0.5),
        TokenLogprob("o", -0.5),
    ]
    assert not any(isinstance(event, TokenLogprob) for event in read(*map(line, records)))  # nobody asked


def with_logprobs(record: dict[str, Any], *tokens: str) -> dict[str, Any]:
    return {**record, "logprobs": [lp(token) for token in tokens]}


def tokens(*records: Any) -> list[str]:
    events = read(*map(line, [*records, over()]), logprobs=True)
    return [event.token for event in events if isinstance(event, TokenLogprob)]


def test_only_the_answers_own_tokens_have_logprobs() -> None:
    """The server also gives those of thinking, of tags, and of text that it holds back for a while."""
    thought = [with_logprobs(said(""), "<think>"), with_logprobs(said("", thinking="hm"), "hm")]
    tag = with_logprobs(said(""), "</think>")
    assert tokens(*thought, tag, with_logprobs(said("17"), "\n17")) == ["\n17"]
    held = with_logprobs(said(""), "<", "tool")
    assert tokens(held, with_logprobs(said("<tool box"), " box")) == ["<", "tool", " box"]
    call = said("", tool_calls=[{"function": {"name": "f"}}])
    assert tokens(held, with_logprobs(call, ">")) == ["<", "tool", ">"]
    assert tokens(*thought, with_logprobs(call, ">")) == [">"]


def test_logprobs_that_a_server_does_not_give() -> None:
    with pytest.raises(CapabilityNotSupported, match="no log probabilities"):
        read(*map(line, HELLO), logprobs=True)
    assert read(line(said("", tool_calls=[{"function": {"name": "f"}}])), line(over()), logprobs=True)


def test_bytes_of_a_token_that_is_no_character() -> None:
    record = {**said("\ufffd"), "logprobs": [{"token": "\ufffd", "logprob": -1, "bytes": [240, 159]}]}
    assert read(line(record), line(over()), logprobs=True)[1] == TokenLogprob("\ufffd", -1.0, (), b"\xf0\x9f")


@pytest.mark.parametrize(
    "found", [1, [1], [{}], [{"token": 1, "logprob": 1}], [{"token": "x", "logprob": "y"}], [lp("x", bytes=[256])]]
)
def test_logprobs_that_are_none(found: Any) -> None:
    with pytest.raises(ProtocolError, match="log probabilities"):
        read(line({**said("x"), "logprobs": found}), logprobs=True)


@pytest.mark.parametrize("records", [CHAT, GENERATE, THINKING, TOOLS])
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r", b"\n\n \n"])
def test_cut_anywhere(records: list[Any], end: bytes) -> None:
    data = b"".join(json.dumps(record, ensure_ascii=False).encode() + end for record in records)
    expected = read(data)
    assert read(*(data[at : at + 1] for at in range(len(data)))) == expected
    for at in range(len(data)):
        assert read(data[:at], data[at:]) == expected
        assert read(b"\xef\xbb\xbf" + data[:at], data[at:] + b"garbage") == expected


def test_every_end_but_the_right_one_is_an_interruption() -> None:
    data = b"".join(map(line, CHAT))
    for at in range(len(data) - 1):
        with pytest.raises(StreamInterrupted, match=r"http://h:1.*'m'"):
            read(data[:at])
    assert read(data[:-1]) == read(data)  # only the line's end is missing


@pytest.mark.parametrize(
    ("reason", "ours"), [("stop", "stop"), ("length", "length"), ("load", "stop"), ("unload", "stop"), (None, "stop")]
)
def test_reasons(reason: Any, ours: str) -> None:
    *_, finish = read(line(over(reason)))
    assert isinstance(finish, Finish)
    assert finish.reason == ours


def test_an_error_in_the_stream() -> None:
    with pytest.raises(BackendError, match="CUDA error") as caught:
        read(line(said("x")), line({"error": "CUDA error: sk-1"}))
    assert WHO in str(caught.value)


@pytest.mark.parametrize(
    "data",
    [
        b"<html>\n",
        b"[]\n",
        b"null\n",
        b'{"x": 1}\n',
        b"\xff\xfe\n",
        b'{"message": {"content": 1}}\n',
        b"[" * 10_000 + b"\n",
    ],
)
def test_something_else_than_ollama(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        read(data)


def test_ollamas_words_that_mean_something() -> None:
    assert isinstance(known_error(BackendError('"m" does not support chat'), "m"), CapabilityNotSupported)
    level = 'think value "low" is not supported for this model'
    assert isinstance(known_error(BadRequest(level), "m"), CapabilityNotSupported)
    assert isinstance(known_error(BackendError("invalid JSON schema in format"), "m"), CapabilityNotSupported)
    assert isinstance(known_error(BackendError("model 'x' not found, try pulling it first"), "x"), ModelNotFound)
    overflow = ContextOverflow("input length exceeds maximum context length")
    assert known_error(overflow, "m") is overflow
