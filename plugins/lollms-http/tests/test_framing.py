"""A response is framed as its content type says; where that says too little, as the binding says."""

from __future__ import annotations

import pytest

from lollms_http import JsonLines, ServerSentEvents
from lollms_http.framing import Framing, RecordText, accepted_types, decoder_for

RECORD = '{"x": 1}'
LINES, EVENTS, WHOLE = f"{RECORD}\n".encode(), f"data: {RECORD}\n\n".encode(), RECORD.encode()

CASES: list[tuple[str, Framing | None, bool, bytes]] = [
    ("application/x-ndjson", None, True, LINES),
    ("application/x-ndjson", ServerSentEvents(), True, LINES),
    ("application/jsonl; charset=utf-8", None, True, LINES),
    ("text/plain", None, True, LINES),
    ("", None, True, LINES),
    ("application/json", JsonLines(), True, LINES),
    ("text/event-stream", None, True, EVENTS),
    ("Text/Event-Stream; charset=utf-8", JsonLines(), True, EVENTS),
    ("text/plain", ServerSentEvents(), True, EVENTS),
    ("", ServerSentEvents(), True, EVENTS),
    ("text/event-stream", None, False, EVENTS),  # streamed without being asked
    ("application/json", None, True, WHOLE),  # not streamed, though asked
    ("application/json", ServerSentEvents(), True, WHOLE),
    ("application/json", JsonLines(), False, WHOLE),
    ("", ServerSentEvents(), False, WHOLE),
]


@pytest.mark.parametrize(("content_type", "framing", "streamed", "data"), CASES)
def test_the_framing(content_type: str, framing: Framing | None, streamed: bool, data: bytes) -> None:
    decoder = decoder_for(content_type, framing, streamed=streamed)
    found = list(decoder.feed(data))
    rest = decoder.close()
    texts = [text.decode() if isinstance(text, bytes) else text for text, _ in [*found, *([rest] if rest else [])]]
    assert texts == [RECORD]
    assert decoder.is_whole is (data is WHOLE)


def test_the_marker_is_the_framings_own() -> None:
    decoder = ServerSentEvents(done="END").decoder()
    assert list(decoder.feed(b"data: [DONE]\n\ndata: END\n\ndata: x\n\n")) == [RecordText("[DONE]")]
    assert decoder.marked
    assert list(decoder.feed(b"data: y\n\n")) == []
    assert decoder.close() is None
    endless = ServerSentEvents(done=None).decoder()
    assert list(endless.feed(b"data: [DONE]\n\n")) == [RecordText("[DONE]")]
    assert not endless.marked


def test_a_marker_may_lack_its_end() -> None:
    decoder = ServerSentEvents().decoder()
    assert list(decoder.feed(b"data: [DONE]")) == []
    assert decoder.close() is None
    assert decoder.marked


def test_what_is_asked_for() -> None:
    assert accepted_types(None, streamed=False) == ("application/json",)
    assert accepted_types(JsonLines(), streamed=True) == ("application/x-ndjson", "application/json")
    assert accepted_types(None, streamed=True) == ("text/event-stream", "application/x-ndjson", "application/json")
