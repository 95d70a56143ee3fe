"""A stream of server-sent events, cut into pieces anywhere, as the events of an answer."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from json.decoder import scanstring  # type: ignore[attr-defined]  # typeshed leaves it out
from typing import Any, Final

from lollms_core import Event, ProtocolError, StreamInterrupted, TextDelta, peer_json
from lollms_core.framing import ServerSentEvent, SseDecoder
from lollms_openai.answers import Records

__all__ = ["StreamReader"]


class StreamReader:
    """A stream of server-sent events, fed as its bytes come."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._decoder = SseDecoder()
        self._template = _Template()
        self._seen = False
        self._done = False

    def done(self) -> bool:
        """Whether the server has said that nothing more follows; what follows all the same is no part of it."""
        return self._done

    @property
    def complete(self) -> bool:
        """Whether the server has said why the answer ends."""
        return self._done or self._records.complete

    def feed(self, data: bytes) -> Iterator[Event]:
        """The events that `data` completes.

        Raises:
            LollmsError: the server reports an error, or sends what the protocol does not allow.
        """
        match = self._template.match
        for sent in self._decoder.feed(data):
            if self.done():
                return
            text = match(sent.data) if sent.event == "message" else None
            if text is None:
                yield from self._sent(sent)
            elif text:
                yield TextDelta(text)

    def close(self, content_type: str = "") -> Iterator[Event]:
        """The events that the end of the stream leaves.

        Raises:
            StreamInterrupted: the answer is not complete.
            ProtocolError: there was no event in all of it.
        """
        if self.done():
            return
        rest = self._decoder.close()
        if rest is not None:
            try:
                if rest.data != "[DONE]":
                    peer_json.loads(rest.data)
            except ValueError:
                pass  # it was cut off
            else:
                yield from self._sent(rest)
        if self.done():
            return
        who = self._records.who
        if not self._records.complete:
            if not self._seen and content_type and content_type != "text/event-stream":
                raise ProtocolError(f"{who} answered with {content_type} instead of a stream of events")
            raise StreamInterrupted(f"{who} ended its stream in the middle of the answer")
        self._done = True
        yield from self._records.end()

    def _sent(self, sent: ServerSentEvent) -> Iterator[Event]:
        data = sent.data
        self._seen = True
        if data.strip() == "[DONE]":
            if not self._records.complete:
                # llama-cpp-python's server sends the marker alone when another request interrupts this one.
                raise StreamInterrupted(
                    f"{self._records.who} ended its stream without a finish_reason: it may be cut off"
                )
            self._done = True
            yield from self._records.end()
            return
        try:
            record = peer_json.loads(data)
        except ValueError:
            if sent.event == "error":
                record = {"error": data}
            else:
                raise ProtocolError(f"{self._records.who} sent an event that is not JSON") from None
        if sent.event == "error" and not (isinstance(record, Mapping) and record.get("error")):
            record = {"error": record}
        yield from self._records.events(record)
        self._template.learn(data, record)


class _Template:
    """Recognises chunks that differ from an earlier one in nothing but the text.

    Of the many chunks of a stream most are equal around the text. Parsing that text alone is exact, and several
    times as fast as parsing all: if a record is ``P "x" S`` and another ``P "y" S``, with a whole JSON string
    between the same two ends, then they differ in that string alone.
    """

    def __init__(self) -> None:
        self._before = ""
        self._start = 0
        self._after = ""
        self._tries = 3

    def match(self, data: str) -> str | None:
        """The text of the chunk, None if it is of another form."""
        if not self._start or not data.startswith(self._before):
            return None
        try:
            text, end = scanstring(data, self._start)
        except ValueError:
            return None
        return text if data[end:] == self._after else None

    def learn(self, data: str, record: Any) -> None:
        """Take a chunk that was parsed as the form to expect, if it is one of text alone."""
        if not self._tries:
            return
        text = _plain_text(record)
        if text is None:
            return
        self._tries -= 1
        for key in ('"content":"', '"content": "', '"text":"', '"text": "'):
            start = data.find(key) + len(key)
            if start < len(key):
                continue
            found, end = scanstring(data, start)
            # Whether this string is the one that _plain_text found: put another in its place and look.
            if found == text and _plain_text(json.loads(f'{data[:start]}{_PROBE}"{data[end:]}')) == _PROBE:
                self._before, self._start, self._after = data[:start], start, data[end:]
                return


_PROBE: Final = "\u2603probe"


def _plain_text(record: Any) -> str | None:
    """The text of a chunk that carries nothing else, None of any other."""
    if not isinstance(record, Mapping) or _any(record, ("error", "usage", "x_groq")) or record.get("object") == "error":
        return None
    choices = record.get("choices")
    if not (isinstance(choices, list) and len(choices) == 1 and isinstance(choices[0], Mapping)):
        return None
    choice = choices[0]
    if _any(choice, ("finish_reason", "index", "logprobs")):
        return None
    delta = choice.get("delta")
    if delta is None:
        text = None if choice.get("message") else choice.get("text")
    elif isinstance(delta, Mapping) and not _any(delta, delta.keys() - {"content", "role"}):
        text = delta.get("content")
    else:
        return None
    return text if isinstance(text, str) else None


def _any(mapping: Mapping[str, Any], names: Iterable[str]) -> bool:
    return any(mapping.get(name) for name in names)
