"""From the records of one answer to its events, without I/O: what is complete, cut off, an error, or nonsense."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from lollms_core import (
    Event,
    Finish,
    LollmsError,
    ProtocolError,
    ReasoningDelta,
    StreamInterrupted,
    TextDelta,
    Usage,
    peer_json,
)
from lollms_core.redaction import Redaction
from lollms_core.responses import error_of_message
from lollms_http.framing import Decoder, RecordText

__all__ = ["NOT_READABLE", "Answer", "Reader", "parse", "quoted"]

NOT_READABLE: Final = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
"""What code raises that takes something for what it is not."""

_MAX_QUOTED: Final = 60
_NOTHING: Final = Redaction()


class Reader(ABC):
    """What the records of one answer mean; each request has a reader of its own.

    What a method raises that shows a record to be of another shape than it expects (a KeyError, a TypeError, a
    ValueError, ...) becomes a ProtocolError that quotes the record, so a reader need not check for that.
    """

    @abstractmethod
    def feed(self, record: Any) -> Iterable[Event]:
        """The events of a record, which is any JSON value; with the one that completes the answer a Finish.

        An answer that is not streamed is one record. After the Finish the little that may follow is read too, but only
        Usage counts. ``{"error": ...}`` does not come here: it is raised.
        """

    def end(self, marked: bool) -> Iterable[Event]:
        """The events that were held back when the stream ends without a Finish having come.

        Without a Finish among them the answer counts as cut off. It is given here by a reader whose backend knows no
        other sign of the end than the stream's marker (``[DONE]``).

        Args:
            marked: whether the stream has ended with its marker.
        """
        return ()

    def failure(self, error: LollmsError) -> LollmsError:
        """The error to raise for a record ``{"error": ...}``; `error` has the server's words."""
        return error


class Answer:
    """The events of one response.

    Args:
        reader: knows what a record means.
        decoder: finds the records in the bytes.
        who: binding and host, for messages.
        about: the same and the model.
        content_type: what the response says it is, for messages.
        redaction: takes out what must not appear in messages, nor in what the server says of itself.
        meaning: what an error that the server tells is for the caller.
    """

    def __init__(
        self,
        reader: Reader,
        decoder: Decoder,
        *,
        who: str,
        about: str = "",
        content_type: str = "",
        redaction: Redaction = _NOTHING,
        meaning: Callable[[LollmsError], LollmsError] = lambda error: error,
    ) -> None:
        self._reader = reader
        self._decoder = decoder
        self._who = who
        self._about = about or who
        self._content_type = content_type
        self._redaction = redaction
        self._meaning = meaning
        self._finish: Finish | None = None
        self._deaf = False
        self._begun = False  # whether its first event has gone on

    @property
    def complete(self) -> bool:
        """Whether all of the answer has come, or its stream was ended by the server."""
        return self._finish is not None or self._decoder.marked

    def feed(self, data: bytes) -> Iterator[Event]:
        """The events that `data` completes, but for the Finish; once that has come, only Usage.

        Raises:
            LollmsError: the server reports an error in the stream.
            ProtocolError: it sends what its protocol does not allow.
        """
        if not self._deaf:
            yield from self._read(self._reader.feed, self._records(self._decoder.feed(data)))

    def together(self, data: bytes) -> Iterator[list[Event]]:
        """The same in lists of those that have come together; the answer's first does not wait for those behind it."""
        events: list[Event] = []
        try:
            for event in self.feed(data):
                events.append(event)
                if not self._begun:
                    self._begun = True
                    yield events
                    events = []
        except Exception:
            if events:
                yield events
            raise
        if events:
            yield events

    def close(self, broken: StreamInterrupted | None = None) -> Iterator[Event]:
        """The events that the end of the response leaves, the Finish last.

        Args:
            broken: how it ended, if its own end has not come.

        Raises:
            StreamInterrupted: the answer is not complete.
            LollmsError: as for :meth:`feed`.
        """
        yield from self._rest(broken)
        if self._finish is None:
            yield from self._read(lambda _: self._reader.end(self._decoder.marked), (None,))
        if self._finish is None:
            if broken is not None:
                raise broken from broken.__cause__
            raise StreamInterrupted(f"{self._about}: the answer ended without its end")
        yield self._shown(self._finish)

    def _rest(self, broken: StreamInterrupted | None) -> Iterator[Event]:
        """The events of a record that lacks its end."""
        if self._deaf:
            return
        try:
            rest = self._decoder.close()
        except ProtocolError as error:
            if self._finish is not None:
                return
            raise ProtocolError(f"{self._who}: {error}") from error
        if rest is None:
            return
        if self._decoder.is_whole and broken is None:
            yield from self._read(self._reader.feed, self._records(iter((rest,))))
            if self._finish is None:
                raise ProtocolError(f"{self._who} sent no whole answer: {self._quoted(rest.text)}")
        elif isinstance(_json(rest.text), (dict, list)):  # of anything else nobody knows whether it was cut off
            yield from self._read(self._reader.feed, self._records(iter((rest,))))

    def _records(self, texts: Iterator[RecordText]) -> Iterator[Any]:
        """The values of `texts`; once the answer is whole, of those that have one."""
        while True:
            try:
                text = next(texts, None)
            except ProtocolError as error:
                self._deaf = True
                if self._finish is not None:
                    return
                raise ProtocolError(f"{self._who}: {error}") from error
            if text is None:
                return
            try:
                record = self._record(text)
            except (LollmsError, *NOT_READABLE):
                if self._finish is None:
                    raise
            else:
                yield record

    def _record(self, text: RecordText) -> Any:
        if not text.failed:
            try:
                record = peer_json.loads(text.text)
            except ValueError:
                record = parse(text.text, self._who, self._content_type, self._redaction)  # for its words
        else:
            found = _json(text.text)
            record = {"error": text.text if found is None else found}
            if isinstance(found, Mapping) and found.get("error"):
                record = found
        if type(record) is dict and record.get("error"):
            error = error_of_message(record["error"], who=self._who, secrets=self._redaction)
            raise self._reader.failure(self._meaning(error))
        return record

    def _read(self, read: Callable[[Any], Iterable[Event]], records: Iterable[Any]) -> Iterator[Event]:
        """What the reader gives for `records`, but for the Finish, which is held back; after it, only Usage."""
        for record in records:
            if self._finish is not None:
                yield from self._late(read, record)
                continue
            try:
                for event in read(record):
                    if type(event) is TextDelta and type(event.text) is str and self._finish is None:
                        yield event  # nearly all are that
                    elif self._finish is not None:
                        if isinstance(event, Usage):
                            yield event
                    elif isinstance(event, Finish):
                        self._finish = event
                    else:
                        if isinstance(event, (TextDelta, ReasoningDelta)) and not isinstance(event.text, str):
                            raise TypeError(f"a piece of text is {type(event.text).__name__}")
                        yield event
            except NOT_READABLE as error:
                if isinstance(error, LollmsError):
                    raise
                raise ProtocolError(
                    f"{self._who} sent a record of another shape than expected: {self._quoted(record)}"
                ) from error

    def _late(self, read: Callable[[Any], Iterable[Event]], record: Any) -> list[Event]:
        try:
            return [event for event in read(record) if isinstance(event, Usage)]
        except (LollmsError, *NOT_READABLE):
            return []  # the answer is whole, whatever follows it

    def _shown(self, finish: Finish) -> Finish:
        """`finish` without secrets in what the server says of itself."""
        text, value = self._redaction.text, self._redaction.value
        shown = {
            "model": text(finish.model) if isinstance(finish.model, str) else None,
            "id": text(finish.id) if isinstance(finish.id, str) else None,
            "raw": value(finish.raw),
        }
        return finish if all(new is getattr(finish, name) for name, new in shown.items()) else replace(finish, **shown)

    def _quoted(self, record: Any) -> str:
        return quoted(record, self._redaction)


def _json(text: str | bytes) -> Any:
    """The JSON value in `text`, None if there is none."""
    try:
        return peer_json.loads(text)
    except ValueError:
        return None


def parse(text: str | bytes, who: str, content_type: str = "", redaction: Redaction = _NOTHING) -> Any:
    """The JSON value in `text`.

    Raises:
        ProtocolError: there is none; the text names the content type and quotes the beginning.
    """
    try:
        return peer_json.loads(text)
    except ValueError:
        kind = f" ({content_type})" if content_type else ""
        shown = quoted(text, redaction)
    raise ProtocolError(f"{who} sent something that is not JSON{kind}: {shown}")


def quoted(value: Any, redaction: Redaction = _NOTHING) -> str:
    """The beginning of `value`, which is text, bytes or JSON, on one line, in quotes and without secrets."""
    if isinstance(value, bytes):
        value = value[: _MAX_QUOTED * 4].decode("utf-8", "replace")
    elif not isinstance(value, str):
        value = json.dumps(value, ensure_ascii=False)
    line = " ".join(redaction.text(value).split())
    return repr(line if len(line) <= _MAX_QUOTED else line[:_MAX_QUOTED] + "...")
