"""Bytes from the wire to records: NDJSON lines and server-sent events, bounded, the same at every split.

Both decoders are sans-I/O: ``feed(data)`` gives the records that `data` completes, ``close()`` what the end
of the stream leaves. What feed gives is to be iterated to its end before the next feed; a bad record raises
there, after the good ones before it. Lines end with LF, CR or CRLF and with nothing else (str.splitlines
would also split at U+0085 and U+2028, which JSON allows inside strings); a byte order mark at the start is
dropped once.

Server-sent events: https://html.spec.whatwg.org/multipage/server-sent-events.html, section 9.2.6.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from lollms_core.errors import ProtocolError

__all__ = ["MAX_RECORD_BYTES", "NdjsonDecoder", "ServerSentEvent", "SseDecoder"]

MAX_RECORD_BYTES: Final = 16 * 1024 * 1024
"""Largest record that is accepted, in bytes (16 MiB)."""

_BOM: Final = b"\xef\xbb\xbf"


class _Lines:
    """Whole lines, without their ends."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._tail: list[bytes] = []
        self._tail_bytes = 0
        self._after_cr = False
        self._start: bytes | None = b""  # what has come of the first three bytes; None when that is settled
        self._too_long = False

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that `data` ends, up to one that is longer than the limit; :meth:`check` tells of that."""
        if self._start is not None:
            data = self._start + data
            if len(data) < len(_BOM) and _BOM.startswith(data):
                self._start = data
                return []
            self._start = None
            data = data.removeprefix(_BOM)
        if not data:
            return []
        if self._after_cr:
            self._after_cr = False
            if data[0] == 0x0A:  # the LF of a CRLF that was cut in two
                data = data[1:]
        if b"\r" in data:
            self._after_cr = data[-1] == 0x0D
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        lines = data.split(b"\n")
        last = lines.pop()
        if lines and self._tail:
            lines[0] = b"".join([*self._tail, lines[0]])
            self._tail.clear()
            self._tail_bytes = 0
        if last:
            self._tail.append(last)
            self._tail_bytes += len(last)
        if self._tail_bytes > self._max_bytes or (
            len(data) > self._max_bytes or (lines and len(lines[0]) > self._max_bytes)
        ):
            return self._within_limit(lines)
        return lines

    def check(self) -> None:
        """To be called once the lines are used, so that the same records come before the error at every split.

        Raises:
            ProtocolError: a line is longer than the limit.
        """
        if self._too_long:
            raise ProtocolError(f"the stream has a record of more than {self._max_bytes} bytes")

    def close(self) -> bytes:
        """What stands after the last line's end."""
        rest = (self._start or b"") + b"".join(self._tail)
        self._tail.clear()
        self._start = None
        return rest

    def _within_limit(self, lines: list[bytes]) -> list[bytes]:
        for number, line in enumerate(lines):
            if len(line) > self._max_bytes:
                self._too_long = True
                return lines[:number]
        self._too_long = self._tail_bytes > self._max_bytes
        return lines


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ProtocolError(
            f"the stream is not valid UTF-8: {error.reason} at byte {error.start} of a record"
        ) from error


class NdjsonDecoder:
    """Newline-delimited JSON: the text of each record; empty lines are left out.

    Args:
        max_bytes: the longest record accepted.
    """

    def __init__(self, max_bytes: int = MAX_RECORD_BYTES) -> None:
        self._lines = _Lines(max_bytes)

    def feed(self, data: bytes) -> Iterator[str]:
        """The records that `data` completes.

        Raises:
            ProtocolError: a record is too long or no UTF-8.
        """
        return self._records(self._lines.feed(data))

    def _records(self, lines: list[bytes]) -> Iterator[str]:
        for line in lines:
            if line and not line.isspace():
                yield _text(line)
        self._lines.check()

    def close(self) -> str | None:
        """The record after the last line's end, None if there is none; it may be cut off anywhere.

        Raises:
            ProtocolError: it is no UTF-8, for another reason than being cut off.
        """
        rest = self._lines.close()
        return _cut_text(rest) if rest.strip() else None


def _cut_text(data: bytes) -> str:
    """The text of `data`, which may end in the middle of a character."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.reason == "unexpected end of data":
            return data[: error.start].decode("utf-8") + "\ufffd"
        return _text(data)


class ServerSentEvent(NamedTuple):
    """One event. ``event`` is its type, "message" unless the server says otherwise; data lines are joined by LF."""

    data: str
    event: str = "message"
    id: str | None = None


class SseDecoder:
    """Server-sent events. Comments, empty events and the fields that nobody needs are left out.

    A field ``error``, which is not in the specification but is sent by llama.cpp's server, gives an event of
    the type "error".

    Args:
        max_bytes: the longest event accepted, its data lines together.
    """

    def __init__(self, max_bytes: int = MAX_RECORD_BYTES) -> None:
        self._max_bytes = max_bytes
        self._lines = _Lines(max_bytes)
        self._data: list[bytes] = []
        self._data_bytes = 0
        self._event = ""
        self._id: str | None = None

    def feed(self, data: bytes) -> Iterator[ServerSentEvent]:
        """The events that `data` completes.

        Raises:
            ProtocolError: an event is too long or no UTF-8.
        """
        return self._events(self._lines.feed(data))

    def _events(self, lines: list[bytes]) -> Iterator[ServerSentEvent]:
        for line in lines:
            if not line:
                if self._data:
                    yield self._whole(_text)
                self._event = ""
            elif line.startswith(b"data:"):
                # One space after the colon belongs to the format.
                self._add(line[6:] if line[5:6] == b" " else line[5:])
            else:
                error = self._other_field(line)
                if error is not None:
                    yield error
        self._lines.check()

    def close(self) -> ServerSentEvent | None:
        """The event that lacks its empty line, None if there is none; it may be cut off anywhere.

        Raises:
            ProtocolError: it is no UTF-8, for another reason than being cut off.
        """
        line = self._lines.close()
        if line.startswith(b"data:"):
            self._add(line[6:] if line[5:6] == b" " else line[5:])
        elif line.startswith(b"error:"):
            return ServerSentEvent(_cut_text(line[6:].strip()), "error")
        return self._whole(_cut_text) if self._data else None

    def _add(self, value: bytes) -> None:
        self._data.append(value)
        self._data_bytes += len(value)
        if self._data_bytes > self._max_bytes:
            raise ProtocolError(f"the stream has an event of more than {self._max_bytes} bytes")

    def _whole(self, decode: Callable[[bytes], str]) -> ServerSentEvent:
        data = decode(self._data[0] if len(self._data) == 1 else b"\n".join(self._data))
        event = ServerSentEvent(data, self._event or "message", self._id)
        self._data, self._data_bytes, self._event = [], 0, ""
        return event

    def _other_field(self, line: bytes) -> ServerSentEvent | None:
        name, colon, value = line.partition(b":")
        if not name:
            return None  # a comment
        value = value.removeprefix(b" ")
        if name == b"event":
            self._event = _text(value)
        elif name == b"data" and not colon:
            self._add(b"")
        elif name == b"id" and b"\0" not in value:
            self._id = _text(value)
        elif name == b"error":
            return ServerSentEvent(_text(value), "error")
        return None
