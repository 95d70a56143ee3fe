"""The stream's reader without any I/O: the same events however the bytes are cut, and however they are read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai_wire import STREAM, TEXT, chunk, sse

from lollms_core import Event, Finish, StreamInterrupted, TextDelta, Usage
from lollms_openai import answers, stream_reader
from lollms_openai.answers import Records
from lollms_openai.preset import OPENAI
from lollms_openai.server import Server
from lollms_openai.stream_reader import StreamReader

SERVER = Server(OPENAI, "http://h/v1", "openai at http://h/v1")


def read(pieces: Sequence[bytes]) -> list[Event]:
    reader = StreamReader(Records(SERVER, "h, model 'm'", "m"))
    events = [event for piece in pieces for event in reader.feed(piece)]
    return [*events, *reader.close()]


def test_every_cut_gives_the_same_events() -> None:
    body = STREAM.replace(b"blue", "bl\u00fc\u2028\U0001f600e".encode()).replace(b"\n", b"\r\n")
    whole = read([body])
    assert whole[-2] == Usage(3, 5)
    for cut in range(len(body) + 1):
        assert read([body[:cut], body[cut:]]) == whole
    assert read([body[place : place + 1] for place in range(len(body))]) == whole


@pytest.mark.faults
@given(st.lists(st.text(), max_size=8), st.lists(st.integers(0, 600), max_size=4), st.booleans())
def test_any_text_arrives_whole(words: list[str], cuts: list[int], ascii_only: bool) -> None:
    records = [json.dumps(chunk(word), ensure_ascii=ascii_only) for word in words]
    body = "".join(f"data: {record}\n\n" for record in [*records, json.dumps(chunk(finish="stop")), "[DONE]"])
    data = body.encode("utf-8", "surrogatepass") if ascii_only else body.encode("utf-8", "replace")
    places = sorted({0, *cuts, len(data)})
    events = read([data[start:end] for start, end in zip(places, [*places[1:], len(data)], strict=True)])
    expected = "".join(words) if ascii_only else "".join(words).encode("utf-8", "replace").decode()
    assert "".join(event.text for event in events if isinstance(event, TextDelta)) == expected


FORMS: list[Any] = [
    chunk("x"),
    chunk('a "quoted" \\ text'),
    chunk("x", usage=None),
    chunk("x", finish="length"),
    chunk("x", usage={"prompt_tokens": 1, "completion_tokens": 2}),
    {**chunk("x"), "obfuscation": "abc"},
    {**chunk("x"), "id": '"content":"fake"'},
    {"content": "outside", **chunk("x")},
    {**chunk(), "choices": [{"index": 0, "delta": {"content": "x", "reasoning": "thought"}}]},
    {**chunk(), "choices": [{"index": 0, "delta": {"reasoning": "x"}, "note": {"content": "x"}}]},
    {**chunk(), "choices": [{"index": 1, "delta": {"content": "second"}}]},
    {**chunk(), "choices": [{"index": 0, "delta": {"content": "x"}}, {"index": 1, "delta": {"content": "y"}}]},
    {**chunk(), "choices": [{"index": 0, "delta": None, "text": "x"}]},
    {**chunk(), "choices": [{"index": 0, "text": "x", "finish_reason": None}]},
    {**chunk(), "choices": [{"index": 0, "text": "x", "finish_reason": "stop"}]},
    {**chunk(), "choices": [{"index": 0, "delta": {"role": "assistant", "content": "x"}}]},
    {**chunk(), "choices": []},
    {**chunk(), "choices": None},
    {**chunk(), "choices": [{}]},
    {**chunk(), "choices": [None]},
    {**chunk(), "choices": [{"index": 0, "delta": {"content": 7, "tool_calls": [None, {"index": 0, "function": 3}]}}]},
]


@pytest.mark.faults
@given(st.lists(st.sampled_from(FORMS), max_size=12), st.booleans())
def test_the_fast_path_reads_what_the_slow_one_reads(forms: list[Any], compact: bool) -> None:
    separators = (",", ":") if compact else None
    body = sse(*(json.dumps(form, separators=separators) for form in [*forms, chunk(finish="stop")]))
    fast = read([body])
    slow_template = stream_reader._Template.match
    try:
        stream_reader._Template.match = lambda *_: None  # type: ignore[method-assign]
        assert fast == read([body])
    finally:
        stream_reader._Template.match = slow_template  # type: ignore[method-assign]


def test_the_last_event_may_lack_its_empty_line() -> None:
    body = sse(chunk("sky"), done=False) + b"data: " + json.dumps(chunk(finish="stop")).encode()
    assert read([body])[0] == TextDelta("sky")
    assert isinstance(read([body])[-1], Finish)
    with pytest.raises(StreamInterrupted, match="model 'm'"):
        read([body[:-1]])


def test_the_marker_without_a_reason_is_no_end() -> None:
    # So llama-cpp-python's server ends a stream that another request has interrupted.
    with pytest.raises(StreamInterrupted, match="finish_reason"):
        read([sse(chunk("sky"))])


def test_nothing_after_the_marker_counts() -> None:
    events = read([STREAM + sse(chunk("more"))])
    assert "".join(event.text for event in events if isinstance(event, TextDelta)) == TEXT
    assert sum(isinstance(event, Finish) for event in events) == 1


@pytest.mark.parametrize(
    "record",
    [
        {"usage": {"prompt_tokens": 1, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 1}}},
        {"usage": {"prompt_tokens": 1, "completion_tokens": 2, "prompt_cache_hit_tokens": 1}},
        {
            "x_groq": {
                "usage": {"prompt_tokens": 1, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 1}}
            }
        },
    ],
)
def test_usage_in_the_forms_of_the_services(record: dict[str, Any]) -> None:
    assert answers.usage_of(record) == Usage(1, 2, 1)


@pytest.mark.parametrize(
    "record", [{}, {"usage": None}, {"usage": {}}, {"usage": {"prompt_tokens": "3"}}, {"usage": 3}]
)
def test_usage_that_is_none(record: dict[str, Any]) -> None:
    assert answers.usage_of(record) is None
