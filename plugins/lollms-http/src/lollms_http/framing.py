"""From a response's bytes to the texts of its records, in the ways in which servers frame them.

How a response is framed is told by its content type; where that says too little, by the binding.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Final, NamedTuple

from lollms_core.framing import NdjsonDecoder, ServerSentEvent, SseDecoder

__all__ = [
    "KNOWN_TYPES",
    "Decoder",
    "Framing",
    "JsonLines",
    "RecordText",
    "ServerSentEvents",
    "accepted_types",
    "decoder_for",
]

_JSON: Final = frozenset({"application/json", "text/json"})
_LINES: Final = frozenset({"application/x-ndjson", "application/ndjson", "application/jsonl"})
_EVENTS: Final = "text/event-stream"

KNOWN_TYPES: Final = frozenset({*_JSON, *_LINES, _EVENTS, "text/plain"})
"""The content types that a response may have."""


class RecordText(NamedTuple):
    """A record as it came; ``failed`` where its frame says that it tells of an error."""

    text: str | bytes
    failed: bool = False


class Decoder(ABC):
    """The records of one response, fed as its bytes come."""

    marked: bool = False
    """Whether the marker has come that ends the stream; what follows it is no part of it."""

    is_whole: ClassVar[bool] = False
    """Whether the response is one record."""

    @abstractmethod
    def feed(self, data: bytes) -> Iterator[RecordText]:
        """The records that `data` completes; to be iterated to its end before the next.

        Raises:
            ProtocolError: a record is too long or no UTF-8.
        """

    @abstractmethod
    def close(self) -> RecordText | None:
        """The record that lacks its end, None if there is none; it may be cut off anywhere.

        Raises:
            ProtocolError: it is no UTF-8, for another reason than being cut off.
        """


class Framing(ABC):
    """How a stream's records are told apart."""

    content_type: ClassVar[str]

    @abstractmethod
    def decoder(self) -> Decoder:
        """A decoder for one response."""


@dataclass(frozen=True, slots=True)
class JsonLines(Framing):
    """A line of JSON for each record (NDJSON)."""

    content_type: ClassVar[str] = "application/x-ndjson"

    def decoder(self) -> Decoder:
        return _LinesDecoder()


@dataclass(frozen=True, slots=True)
class ServerSentEvents(Framing):
    """Server-sent events, the data of each a JSON record.

    Events of the type "error" and lines with the field ``error`` are failures that the server tells.

    Attributes:
        done: the data of an event that ends the stream and is no record; None for none. Whether the answer is then
            complete is the reader's to say.
    """

    content_type: ClassVar[str] = _EVENTS
    done: str | None = "[DONE]"

    def decoder(self) -> Decoder:
        return _EventsDecoder(self.done)


class _LinesDecoder(Decoder):
    def __init__(self) -> None:
        self._lines = NdjsonDecoder()

    def feed(self, data: bytes) -> Iterator[RecordText]:
        return map(RecordText, self._lines.feed(data))

    def close(self) -> RecordText | None:
        rest = self._lines.close()
        return None if rest is None else RecordText(rest)


class _EventsDecoder(Decoder):
    def __init__(self, done: str | None) -> None:
        self._done = done
        self._events = SseDecoder()

    def feed(self, data: bytes) -> Iterator[RecordText]:
        if self.marked:
            return
        for event in self._events.feed(data):
            record = self._record(event)
            if record is None:
                return
            yield record

    def close(self) -> RecordText | None:
        event = None if self.marked else self._events.close()
        return None if event is None else self._record(event)

    def _record(self, event: ServerSentEvent) -> RecordText | None:
        if self._done is not None and event.data.strip() == self._done:
            self.marked = True
            return None
        return RecordText(event.data, event.event == "error")


class _WholeDecoder(Decoder):
    is_whole = True

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def feed(self, data: bytes) -> Iterator[RecordText]:
        self._pieces.append(data)
        return iter(())

    def close(self) -> RecordText | None:
        return RecordText(b"".join(self._pieces))


def accepted_types(framing: Framing | None, *, streamed: bool) -> tuple[str, ...]:
    """The content types to ask for.

    Args:
        framing: the binding's own; None where the content type tells it.
        streamed: whether a stream is asked for.
    """
    if not streamed:
        return ("application/json",)
    framings = (ServerSentEvents, JsonLines) if framing is None else (framing,)
    return (*(one.content_type for one in framings), "application/json")


def decoder_for(content_type: str, framing: Framing | None, *, streamed: bool) -> Decoder:
    """What reads a response of this content type; other arguments as for :func:`accepted_types`.

    A server that answers a request for a stream with one JSON value has sent a stream of one record, and one that
    streams without being asked is understood too.
    """
    kind = content_type.partition(";")[0].strip().lower()
    if kind == _EVENTS:
        return (framing if isinstance(framing, ServerSentEvents) else ServerSentEvents()).decoder()
    if kind in _LINES:
        return JsonLines().decoder()
    if not streamed or (kind in _JSON and not isinstance(framing, JsonLines)):
        return _WholeDecoder()
    return (framing or JsonLines()).decoder()
