"""The same records for any bytes at any split."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lollms_core.errors import ProtocolError
from lollms_core.framing import NdjsonDecoder, ServerSentEvent, SseDecoder


def ndjson(pieces: Iterable[bytes], **keywords: int) -> tuple[list[str], str | None]:
    decoder = NdjsonDecoder(**keywords)
    return [record for piece in pieces for record in decoder.feed(piece)], decoder.close()


def sse(pieces: Iterable[bytes], **keywords: int) -> tuple[list[ServerSentEvent], ServerSentEvent | None]:
    decoder = SseDecoder(**keywords)
    return [event for piece in pieces for event in decoder.feed(piece)], decoder.close()


def every_cut(data: bytes) -> Iterable[list[bytes]]:
    yield [data]
    yield [data[n : n + 1] for n in range(len(data))]
    for cut in range(len(data) + 1):
        yield [data[:cut], b"", data[cut:]]


RECORDS = ['{"a": "x"}', '{"t": "\u0085 \u2028 \u00e9 \U0001f600"}', "{}"]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\n\n", "\r\n \r\n"])
@pytest.mark.parametrize("start", ["", "\ufeff", "\ufeff\n"])
def test_ndjson_at_every_cut(start: str, end: str) -> None:
    data = (start + "".join(record + end for record in RECORDS)).encode()
    for pieces in every_cut(data):
        assert ndjson(pieces) == (RECORDS, None)


def test_ndjson_rest() -> None:
    data = (RECORDS[0] + "\n" + RECORDS[1]).encode()
    for pieces in every_cut(data):
        assert ndjson(pieces) == (RECORDS[:1], RECORDS[1])
    assert ndjson(["é".encode()[:1]]) == ([], "\ufffd")
    assert ndjson([b"\xef\xbb"]) == ([], "\ufffd")
    assert ndjson([b""]) == ([], None)


EVENTS = (
    ': hello\n\ndata: {"a": 1}\n\nevent: ping\n\n: ping\n'
    "event: delta\nid: 7\ndata:one\ndata: two\ndata\ndata:  three\n\n"
    'retry: 5\nnonsense\ndata: \u0085\u2028\u00e9\n\nerror: {"code": 500}\n\ndata: [DONE]\n\n'
)
PARSED = [
    ServerSentEvent('{"a": 1}'),
    ServerSentEvent("one\ntwo\n\n three", "delta", "7"),
    ServerSentEvent("\u0085\u2028\u00e9", id="7"),
    ServerSentEvent('{"code": 500}', "error", None),
    ServerSentEvent("[DONE]", id="7"),
]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("start", ["", "\ufeff"])
def test_sse_at_every_cut(start: str, end: str) -> None:
    data = (start + EVENTS).replace("\n", end).encode()
    for pieces in every_cut(data):
        assert sse(pieces) == (PARSED, None)


def test_sse_rest() -> None:
    assert sse([b'data: {"a": 1}']) == ([], ServerSentEvent('{"a": 1}'))
    assert sse([b'data: {"a": 1}\n']) == ([], ServerSentEvent('{"a": 1}'))
    assert sse([b"data: \xc3"]) == ([], ServerSentEvent("\ufffd"))
    assert sse([b"error: bad"]) == ([], ServerSentEvent("bad", "error"))
    assert sse([b"event: x"]) == ([], None)


@pytest.mark.parametrize("data", [b'{"a": "\xff"}\n', b'{"a": "\xed\xa0\x80"}\n', b"\xff\xfe{\x00}\x00\n\x00"])
def test_invalid_utf8(data: bytes) -> None:
    for pieces in every_cut(data):
        with pytest.raises(ProtocolError, match="not valid UTF-8"):
            ndjson(pieces)
    with pytest.raises(ProtocolError, match="not valid UTF-8"):
        sse([b"data: " + data + b"\n"])
    with pytest.raises(ProtocolError, match="not valid UTF-8"):
        ndjson([b"\xff"])


def test_good_records_before_a_bad_one_are_not_lost() -> None:
    records = NdjsonDecoder().feed(b'{"a": 1}\n\xff\n')
    assert next(records) == '{"a": 1}'
    with pytest.raises(ProtocolError):
        next(records)
    events = SseDecoder().feed(b"data: a\n\ndata: \xff\n\n")
    assert next(events).data == "a"
    with pytest.raises(ProtocolError):
        next(events)


def test_records_are_bounded() -> None:
    assert ndjson([b"x" * 10 + b"\n"], max_bytes=10) == (["x" * 10], None)
    for pieces in every_cut(b"ok\n" + b"x" * 11 + b"\n"):
        with pytest.raises(ProtocolError, match="more than 10 bytes"):
            ndjson(pieces, max_bytes=10)
    with pytest.raises(ProtocolError):
        ndjson([b"x"] * 101, max_bytes=100)
    with pytest.raises(ProtocolError):
        sse([b"data: x\n"] * 101, max_bytes=100)
    # Many small records in one large piece are no large record.
    assert len(ndjson([b"{}\n" * 100], max_bytes=10)[0]) == 100


@pytest.mark.faults
@given(st.lists(st.dictionaries(st.text(), st.text() | st.integers())), st.data())
def test_any_records_at_any_split(records: list[dict[str, object]], data: st.DataObject) -> None:
    texts = [json.dumps(record, ensure_ascii=False) for record in records]
    stream = "".join(f"{text}\n" for text in texts).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)))))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert ndjson(pieces) == (texts, None)
    events = "".join(f"data: {text}\n\n" for text in texts).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(events)))))
    pieces = [events[a:b] for a, b in zip([0, *cuts], [*cuts, len(events)], strict=True)]
    assert [event.data for event in sse(pieces)[0]] == texts


# What makes a difference on the wire, so that random streams meet it often.
PARTS = st.sampled_from(
    [
        *(b"\n", b"\r", b"\r\n", b"\n\n", b"\xef\xbb\xbf", b"\xef", b"\xbb\xbf", b" ", b"\t", b":", b"\0"),
        *(
            b"data:",
            b"data: ",
            b"data",
            b"event: x",
            b"event:",
            b"id: 1",
            b"id: \0",
            b"error: e",
            b"retry: 1",
            b": ping",
        ),
        *(b"{}", b"[DONE]", b"xxxxxxxxxx", "\u00e9".encode(), "\U0001f600".encode(), "\u2028".encode()),
        *(b"\xff", b"\xed\xa0\x80", b"\xc3", b"\xf0\x9f", b"\x80"),
    ]
)
STREAMS = st.binary(max_size=60) | st.lists(PARTS, max_size=30).map(b"".join)


def outcome(decoder: NdjsonDecoder | SseDecoder, pieces: Iterable[bytes]) -> list[object]:
    """All records that come, and how it ends: what close gives, or the error's text."""
    came: list[object] = []
    try:
        for piece in pieces:
            came.extend(decoder.feed(piece))
        came.append(("rest", decoder.close()))
    except ProtocolError as error:
        came.append(str(error))
    return came


@pytest.mark.faults
@settings(max_examples=2000 if os.environ.get("LOLLMS_FAULTS") else 200, deadline=None)
@given(STREAMS, st.lists(st.integers(0, 100)), st.sampled_from([4, 12, 16 * 1024 * 1024]))
def test_any_bytes_give_the_same_at_any_split(stream: bytes, places: list[int], limit: int) -> None:
    """The same records and the same error, in the same order; also one byte at a time."""
    cuts = sorted({place for place in places if place < len(stream)})
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    for kind in NdjsonDecoder, SseDecoder:
        whole = outcome(kind(max_bytes=limit), [stream])
        assert outcome(kind(max_bytes=limit), pieces) == whole
        assert outcome(kind(max_bytes=limit), [stream[n : n + 1] for n in range(len(stream))]) == whole


def test_records_before_one_that_is_too_long_are_not_lost() -> None:
    """Wherever the stream is cut."""
    for pieces in every_cut(b"ok\n" + b"x" * 11 + b"\n"):
        assert outcome(NdjsonDecoder(max_bytes=10), pieces) == ["ok", "the stream has a record of more than 10 bytes"]
    for pieces in every_cut(b"data: ok\n\ndata: " + b"x" * 11 + b"\n"):
        assert outcome(SseDecoder(max_bytes=10), pieces) == [
            ServerSentEvent("ok"),
            "the stream has a record of more than 10 bytes",
        ]
