"""HTTP responses as bytes, in the three ways in which HTTP/1.1 tells where a body ends, and where to cut them.

RFC 9112, section 6.3: https://www.rfc-editor.org/rfc/rfc9112#section-6.3
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

__all__ = ["Framing", "Part", "Wire", "response"]

Framing: TypeAlias = Literal["chunked", "length", "close"]


def response(
    body: bytes | str | dict[str, Any] | list[Any],
    status: str = "200 OK",
    content_type: str = "application/json",
    **headers: str,
) -> bytes:
    """A whole response with its length; dicts and lists are written as JSON; ``Retry_After="1"`` gives a header."""
    data = body if isinstance(body, bytes) else body.encode() if isinstance(body, str) else json.dumps(body).encode()
    return _head(status, content_type, [f"Content-Length: {len(data)}"], headers) + data


def _head(status: str, content_type: str, length: list[str], headers: dict[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status}", *([f"Content-Type: {content_type}"] if content_type else []), *length]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a body.

    Attributes:
        data: its bytes.
        text: the answer's text that it carries.
        needed: how many of its bytes it takes for it to count; the rest is the record's end.
        ends: whether the answer is complete with it.
        fault: whether it is what is wrong in this body.
    """

    data: bytes
    text: str = ""
    needed: int | None = None
    ends: bool = False
    fault: bool = False

    @property
    def complete(self) -> int:
        """How many of its bytes it takes."""
        return len(self.data) if self.needed is None else self.needed


@dataclass(frozen=True, slots=True)
class Wire:
    """A response whose body is sent part by part.

    Attributes:
        parts: the body.
        content_type: of the response.
        framing: how its end is told.
        ended: whether its end is told at all.
        head: what stands in the head besides.
    """

    parts: Sequence[Part]
    content_type: str
    framing: Framing = "chunked"
    ended: bool = True
    head: Sequence[tuple[str, str]] = ()

    @property
    def packets(self) -> list[bytes]:
        """The head, each part, and the end, as they are sent."""
        length = {
            "chunked": ["Transfer-Encoding: chunked"],
            "length": [f"Content-Length: {sum(len(part.data) for part in self.parts)}"],
            "close": ["Connection: close"],
        }[self.framing]
        packets = [_head("200 OK", self.content_type, length, dict(self.head))]
        bodies = [part.data for part in self.parts]
        packets += [b"%x\r\n%s\r\n" % (len(data), data) for data in bodies] if self.framing == "chunked" else bodies
        if self.framing == "chunked" and self.ended:
            packets.append(b"0\r\n\r\n")
        return packets

    @property
    def data(self) -> bytes:
        """All of it."""
        return b"".join(self.packets)

    def after(self, cut: int) -> Outlook:
        """What a client can know after `cut` bytes of it."""
        packets = self.packets
        place = len(packets[0])
        text, ended, faulty = "", False, False
        for part, packet in zip(self.parts, packets[1:], strict=False):
            before = packet.index(b"\n") + 1 if self.framing == "chunked" else 0
            begins = place + before
            if cut > begins and part.fault:
                faulty = True
            if cut >= begins + part.complete and not ended:
                text += part.text
                ended = part.ends
            place += len(packet)
        return Outlook(cut >= len(packets[0]), text, ended, faulty)


@dataclass(frozen=True, slots=True)
class Outlook:
    """What a client can know of a response that was cut.

    Attributes:
        begun: whether the whole head has come.
        text: the text that has come.
        ended: whether the answer is complete.
        faulty: whether some of what is wrong has come.
    """

    begun: bool
    text: str
    ended: bool
    faulty: bool
