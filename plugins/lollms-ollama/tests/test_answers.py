"""Bytes of an answer, cut anywhere, give the same events; anything else is said clearly."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ollama_wire import line, over, said

from lollms_core import (
    BackendError,
    CapabilityNotSupported,
    ContextOverflow,
    Event,
    Finish,
    ModelNotFound,
    ProtocolError,
    ReasoningDelta,
    StreamInterrupted,
    TextDelta,
    ToolCall,
    Usage,
)
from lollms_ollama.answers import AnswerReader, known_error, parse, vectors

WHO = "ollama at http://h:1"


def read(*pieces: bytes) -> list[Event]:
    reader = AnswerReader(WHO, "m", "application/x-ndjson")
    events = [event for piece in pieces for event in reader.feed(piece)]
    return events + list(reader.close())


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
    assert events[-1].provider == {"thinking": "Let me see"}


def test_tool_calls() -> None:
    events = read(*map(line, TOOLS))
    assert events[:2] == [ToolCall("call_1", "get_weather", '{"city": "Tokyo"}'), ToolCall("x", "now", "{}")]
    assert isinstance(events[-1], Finish)
    assert events[-1].reason == "tool_calls"
    with pytest.raises(ProtocolError, match="tool call"):
        read(line(said("", tool_calls=[{}])))


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
    reader = AnswerReader(WHO, "m", secrets=("sk-1",))
    with pytest.raises(BackendError) as caught:
        list(reader.feed(line({"error": "bad key sk-1"})))
    assert "sk-1" not in str(caught.value)


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


def test_the_content_type_is_named() -> None:
    with pytest.raises(ProtocolError, match=r"text/plain.*'hello'"):
        parse("hello", WHO, "text/plain")


def test_vectors() -> None:
    assert vectors({"embeddings": [[1, 2.5], [0.0, -1.0]]}, 2, WHO) == [[1.0, 2.5], [0.0, -1.0]]
    wrong: tuple[Any, ...] = (
        None,
        [],
        [[1.0]],
        [[1.0], [1.0, 2.0]],
        [[], []],
        [[1.0], ["x"]],
        [[1.0], [float("nan")]],
        [[1.0], 2],
    )
    for found in wrong:
        with pytest.raises(ProtocolError, match="vector"):
            vectors({"embeddings": found}, 2, WHO)


def test_ollamas_words_that_mean_something() -> None:
    assert isinstance(known_error(BackendError('"m" does not support chat'), "m"), CapabilityNotSupported)
    assert isinstance(known_error(BackendError("model 'x' not found, try pulling it first"), "x"), ModelNotFound)
    overflow = ContextOverflow("input length exceeds maximum context length")
    assert known_error(overflow, "m") is overflow
