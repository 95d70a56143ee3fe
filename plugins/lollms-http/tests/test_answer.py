"""Records become events; what is complete, cut off, wrong or late is told from one another."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from lollms_core import (
    BackendError,
    Event,
    Finish,
    LollmsError,
    ModelNotFound,
    ProtocolError,
    StreamInterrupted,
    TextDelta,
    Usage,
)
from lollms_core.redaction import Redaction
from lollms_http import JsonLines, Reader, ServerSentEvents
from lollms_http.answer import Answer, parse
from lollms_http.framing import Decoder, decoder_for

WHO = "acme at http://h:1"
KEY = "sk-secret"


class Words(Reader):
    def feed(self, record: Any) -> Iterator[Event]:
        if "text" in record:
            yield TextDelta(record["text"])
        if record.get("why"):
            yield Finish(record["why"], model=record.get("model"), raw=record)
        if "tokens" in record:
            yield Usage(record["tokens"])


class Marked(Reader):
    """Of a backend whose only end is the marker."""

    def feed(self, record: Any) -> Iterator[Event]:
        yield TextDelta(record["text"])

    def end(self, marked: bool) -> Iterable[Event]:
        return (Finish("stop"),) if marked else ()


def lines(*records: Any) -> bytes:
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


def events_of(*records: Any) -> bytes:
    return b"".join(b"data: " + json.dumps(record).encode() + b"\n\n" for record in records)


def answer(reader: Reader | None = None, decoder: Decoder | None = None, **keywords: Any) -> Answer:
    return Answer(reader or Words(), decoder or JsonLines().decoder(), who=WHO, **keywords)


def read(reading: Answer, *pieces: bytes) -> list[Event]:
    found = [event for piece in pieces for event in reading.feed(piece)]
    return [*found, *reading.close()]


TEXT, END = {"text": "a"}, {"why": "stop"}


def test_the_finish_comes_last_and_once() -> None:
    data = lines(TEXT, {"text": "b", "why": "length", "tokens": 3}, END)
    assert [type(event) for event in read(answer(), data)] == [TextDelta, TextDelta, Usage, Finish]
    *_, finish = read(answer(), data)
    assert isinstance(finish, Finish)
    assert finish.reason == "length"


@pytest.mark.parametrize("late", [{"tokens": 3}, {"text": "x", "tokens": 3}])
def test_of_what_follows_the_finish_only_usage_counts(late: Any) -> None:
    reading = answer()
    assert list(reading.feed(lines(TEXT, END))) == [TextDelta("a")]
    assert reading.complete
    assert list(reading.feed(lines(late))) == [Usage(3)]
    assert [type(event) for event in reading.close()] == [Finish]


@pytest.mark.parametrize("late", [b"{oops}\n", b"[]\n", b"7\n", b'{"error": "late"}\n', b"\xff\n", b"x" * 17_000_000])
def test_nothing_that_follows_the_finish_is_an_error(late: bytes) -> None:
    reading = answer()
    assert list(reading.feed(lines(TEXT, END) + late)) == [TextDelta("a")]
    assert list(reading.feed(b"more\n")) == []
    assert [type(event) for event in reading.close()] == [Finish]


def test_without_a_finish_it_was_cut_off() -> None:
    with pytest.raises(StreamInterrupted, match=r"model 'm'.*without its end"):
        read(answer(about=f"{WHO}, model 'm'"), lines(TEXT))
    reading, broken = answer(), StreamInterrupted("the wire broke")
    list(reading.feed(lines(TEXT)))
    with pytest.raises(StreamInterrupted) as caught:
        list(reading.close(broken))
    assert caught.value is broken


def test_a_last_record_may_lack_its_end() -> None:
    assert [type(event) for event in read(answer(), lines(TEXT, END)[:-1])] == [TextDelta, Finish]
    reading = answer()
    list(reading.feed(lines(TEXT, END)[:-1]))
    assert [type(event) for event in reading.close(StreamInterrupted("broken"))] == [Finish]


@pytest.mark.parametrize("framing", [JsonLines(), ServerSentEvents()])
def test_cut_anywhere(framing: JsonLines | ServerSentEvents) -> None:
    """The same events come of the same bytes at every split; of a stream that ends early nothing is lost that came."""
    records = [{"text": "Th\u00e9 "}, {"text": "sky \U0001f30d"}, {"tokens": 3}, {**END, "model": "m"}]
    data = (lines if isinstance(framing, JsonLines) else events_of)(*records)
    expected = read(answer(decoder=framing.decoder()), data)
    assert [type(event) for event in expected] == [TextDelta, TextDelta, Usage, Finish]
    pieces = [data[place : place + 1] for place in range(len(data))]
    assert read(answer(decoder=framing.decoder()), *pieces) == expected
    for place in range(len(data)):
        assert read(answer(decoder=framing.decoder()), data[:place], data[place:]) == expected
        reading = answer(decoder=framing.decoder())
        found = list(reading.feed(data[:place]))
        try:
            found += reading.close()
        except StreamInterrupted:
            assert found == expected[: len(found)]
            assert len(found) < len(expected)
        else:
            assert found == expected
            assert data[place:].isspace()


@pytest.mark.parametrize("rest", [b'{"text": "b", "why": "st', b"7", b'"te'])
def test_half_a_record_is_none(rest: bytes) -> None:
    with pytest.raises(StreamInterrupted):
        read(answer(), lines(TEXT) + rest)


def test_the_marker_alone_completes_an_answer_only_where_the_reader_says_so() -> None:
    data = events_of(TEXT) + b"data: [DONE]\n\n" + events_of(TEXT)
    reading = answer(Marked(), ServerSentEvents().decoder())
    assert list(reading.feed(data)) == [TextDelta("a")]
    assert reading.complete
    assert list(reading.close()) == [Finish("stop")]
    with pytest.raises(StreamInterrupted):
        read(answer(Marked(), ServerSentEvents().decoder()), events_of(TEXT))
    with pytest.raises(StreamInterrupted):
        read(answer(Words(), ServerSentEvents().decoder()), data)


@pytest.mark.parametrize("record", [[], None, 7, "x", {"text": 7}, {"text": None}, {"text": ["a"]}])
def test_a_record_of_another_shape(record: Any) -> None:
    reading = answer(redaction=Redaction([KEY]))
    with pytest.raises(ProtocolError, match=r"acme at http://h:1 sent a record of another shape"):
        read(reading, lines(TEXT, record))


def test_what_came_before_a_bad_record_is_kept() -> None:
    events = answer().feed(lines(TEXT, {"text": "b"}, []))
    assert [next(events), next(events)] == [TextDelta("a"), TextDelta("b")]
    with pytest.raises(ProtocolError):
        next(events)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (events_of({"error": {"message": "disk full"}}), "disk full"),
        (b"event: error\ndata: disk full\n\n", "disk full"),
        (b'event: error\ndata: {"message": "disk full"}\n\n', "disk full"),
        (b"error: disk full\n\n", "disk full"),
        (b'error: {"error": {"message": "disk full"}}\n\n', "disk full"),
    ],
)
def test_errors_that_a_stream_tells(data: bytes, words: str) -> None:
    with pytest.raises(BackendError, match=f"{WHO} failed: {words}"):
        read(answer(decoder=ServerSentEvents().decoder()), data)


def test_an_error_may_mean_more() -> None:
    class Own(Words):
        def failure(self, error: LollmsError) -> LollmsError:
            return ModelNotFound(f"mine: {error}")

    with pytest.raises(ModelNotFound, match="mine: other"):
        read(answer(Own(), meaning=lambda error: BackendError("other")), lines({"error": "x"}))


def test_no_secret_of_the_server_is_shown() -> None:
    redaction = Redaction([KEY])
    with pytest.raises(BackendError) as caught:
        read(answer(redaction=redaction), lines({"error": f"bad key {KEY}"}))
    assert KEY not in str(caught.value)
    with pytest.raises(ProtocolError) as unreadable:
        read(answer(redaction=redaction), lines([KEY]))
    assert KEY not in str(unreadable.value)
    *_, finish = read(answer(redaction=redaction), lines({"why": "stop", "model": KEY}))
    assert finish == Finish("stop", model="***", raw={"why": "stop", "model": "***"})


# Answers that are not streamed ---------------------------------------------------------------------------


def whole(*pieces: bytes) -> list[Event]:
    return read(answer(decoder=decoder_for("application/json", None, streamed=False)), *pieces)


def test_a_whole_answer_is_one_record() -> None:
    assert whole(b'{"text":\n "a", ', b'"why": "stop"}') == [
        TextDelta("a"),
        Finish("stop", raw={"text": "a", "why": "stop"}),
    ]


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"text": "a"', b"\xff", b"[" * 100_000, b'{"status": "fine"}'])
def test_a_whole_answer_that_is_none(body: bytes) -> None:
    with pytest.raises(ProtocolError, match=WHO):
        whole(body)


def test_a_whole_answer_that_broke_off() -> None:
    reading = answer(decoder=decoder_for("", None, streamed=False))
    list(reading.feed(b'{"text": "a", "why": '))
    with pytest.raises(StreamInterrupted, match="the wire"):
        list(reading.close(StreamInterrupted("the wire broke")))


def test_what_is_no_json_is_named_with_its_type() -> None:
    with pytest.raises(ProtocolError, match=r"text/plain.*'hello'"):
        parse("hello", WHO, "text/plain")
