"""Fewer chunks for who parses a response: those that have come together as one, without I/O.

Servers that stream send a chunk for each record, and h11, which httpx and the openai package parse responses with,
takes longer for a chunk than its record takes us. Where the records come faster than they are read, many lie in what
one read gives.

RFC 9112, section 7.1: https://www.rfc-editor.org/rfc/rfc9112#section-7.1
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["GatheredChunks"]

_MAX_HEAD: Final = 32 * 1024
"""Bytes of a response's head that are looked at; of a longer one the chunks stay as they are."""

# Written as RFC 9112 has it; what is written in another way is for the parser to judge.
_CHUNKED: Final = re.compile(
    rb"HTTP/1\.1 2(?!04)[^\r\n]*\r\n(?:[^\r\n]+\r\n)*?transfer-encoding:[ \t]*chunked[ \t]*\r\n(?:[^\r\n]+\r\n)*",
    re.IGNORECASE,
)
_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,8})\r\n")
_CUT_SIZE: Final = re.compile(rb"(?:[0-9A-Fa-f]{1,8}\r?)?")


class GatheredChunks:
    """What a connection gives, with whole chunks that lie side by side put into one.

    Nothing is held back, and the bodies stay the same to the byte. From anything on that is not exactly the usual form
    all is left as it is.
    """

    def __init__(self) -> None:
        self._head: bytes | None = None  # what has come of the head; None unless it is waited for
        self._left: int | None = None  # bytes of the chunk that is coming, with its end; None outside of such a body
        self._line = b""  # of the line with the size of the next chunk, if it was cut

    def sent(self, data: bytes) -> None:
        """`data` goes to the peer: what comes next answers it, if it begins a request."""
        if data[:1].isalpha():
            self._head, self._left, self._line = b"", None, b""

    def received(self, data: bytes) -> bytes:
        """`data`, which came from the peer, with fewer chunks if it has several; what is empty stays so."""
        if self._left is not None:
            return self._in_body(data, 0)
        return data if self._head is None else self._in_head(data)

    def _in_head(self, data: bytes) -> bytes:
        assert self._head is not None
        head = self._head + data
        end = head.find(b"\r\n\r\n") + 2
        if end < 2:
            self._head = head if len(head) <= _MAX_HEAD else None
            return data
        body = end + 2 - len(self._head)
        self._head = None
        if _CHUNKED.fullmatch(head, 0, end) is None:
            return data
        self._left = 0
        return self._in_body(data, body)

    def _in_body(self, data: bytes, start: int) -> bytes:
        """`data`, of which the body's part begins at `start`."""
        begin = self._end_of_begun(data, start)
        if begin is None or begin >= len(data):
            return data
        pieces, position = self._whole_chunks(data, begin)
        if len(pieces) < 2:
            return data
        joined = b"".join(pieces)
        return b"%b%x\r\n%b\r\n%b" % (data[:begin], len(joined), joined, data[position:])

    def _end_of_begun(self, data: bytes, start: int) -> int | None:
        """Where the chunk ends that was cut before `data`; None if there is nothing to gather in it."""
        assert self._left is not None
        if self._line:
            line = self._line + data[start : start + 10]
            found = _SIZE.match(line)
            if found is None:
                self._line = line
                if _CUT_SIZE.fullmatch(line) is None:
                    self._left = None
                return None
            size = int(found[1], 16)
            if not size:
                self._left = None
                return None
            start += found.end() - len(self._line)
            self._left, self._line = size + 2, b""
        end = start + self._left
        self._left = max(0, end - len(data))
        return end

    def _whole_chunks(self, data: bytes, position: int) -> tuple[list[bytes], int]:
        """The contents of the whole chunks from `position` on, and where they end."""
        pieces: list[bytes] = []
        match = _SIZE.match
        self._left = None  # unless another chunk comes
        while (found := match(data, position)) is not None:
            size, begin = int(found[1], 16), found.end()
            end = begin + size
            if not size or (end < len(data) and data[end : end + 2] not in (b"\r\n", b"\r")):
                return pieces, position
            if end + 2 > len(data):
                self._left = end + 2 - len(data)
                return pieces, position
            pieces.append(data[begin:end])
            position = end + 2
        if _CUT_SIZE.fullmatch(data, position) is not None:
            self._left, self._line = 0, data[position:]
        return pieces, position
