"""Chunks that came together are one for the parser, and nothing else changes; h11 is the judge."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence

import h11
import pytest

from lollms_core.chunks import GatheredChunks

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
REQUEST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"


def _chunked(*pieces: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def _parsed(blocks: Sequence[bytes]) -> tuple[tuple[list[str], bytes], int]:
    """The body, or the name of the error, after what can be read before it; and in how many pieces it came."""
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method="POST", target="/", headers=[("Host", "a"), ("Content-Length", "0")]))
    connection.send(h11.EndOfMessage())
    found: list[str] = []
    body = b""
    count = 0
    try:
        for block in blocks:
            connection.receive_data(block)
            while (event := connection.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
                if isinstance(event, h11.Data):
                    body += bytes(event.data)
                    count += 1
                else:
                    found.append(type(event).__name__)
                if isinstance(event, (h11.EndOfMessage, h11.ConnectionClosed)):
                    return (found, body), count
    except h11.RemoteProtocolError as error:
        found.append(type(error).__name__)
    return (found, body), count


def _cut(data: bytes, places: Sequence[int]) -> list[bytes]:
    edges = [0, *sorted(places), len(data)]
    return [data[begin:end] for begin, end in itertools.pairwise(edges) if begin < end]


def _gathered(blocks: Sequence[bytes]) -> list[bytes]:
    chunks = GatheredChunks()
    chunks.sent(REQUEST)
    return [chunks.received(block) for block in blocks]


def test_chunks_that_came_together_are_one() -> None:
    pieces = [b'{"a": %d}\n' % number for number in range(100)]
    blocks = _gathered([HEAD + _chunked(*pieces)])
    (_, body), count = _parsed(blocks)
    assert body == b"".join(pieces)
    assert count == 1


def test_nothing_is_held_back_wherever_it_is_cut() -> None:
    data = HEAD + _chunked(b"one", b"and two", b"x" * 300, b"four\r\n\r\n5\r\nnot a chunk\r\n", b"5")
    expected = [_parsed([data[:end]])[0] for end in range(len(data) + 1)]
    for first in range(len(data) + 1):
        blocks = _gathered(_cut(data, [first]))
        assert [len(block) > 0 for block in blocks] == [True] * len(blocks)
        assert _parsed(blocks)[0] == expected[-1], first
        if first:
            assert _parsed(blocks[:1])[0] == expected[first], first


def test_a_body_in_any_blocks() -> None:
    chance = random.Random(8)  # noqa: S311 - the same each time
    for _ in range(300):
        pieces = [
            chance.randbytes(chance.choice([1, 2, 15, 16, 17, 255, 4097])) for _ in range(chance.randrange(1, 40))
        ]
        data = HEAD + _chunked(*pieces)
        blocks = _cut(data, [chance.randrange(len(data)) for _ in range(chance.randrange(12))])
        assert _parsed(_gathered(blocks))[0] == _parsed(blocks)[0]


def test_byte_by_byte() -> None:
    data = HEAD + _chunked(b"one", b"and two", b"x" * 30)
    blocks = [data[place : place + 1] for place in range(len(data))]
    assert _gathered(blocks) == blocks


OTHER_BODIES = [
    # An extension, leading zeros, trailers, sizes in capitals
    HEAD + b"3;name=value\r\none\r\n3\r\ntwo\r\n3\r\nabc\r\n0\r\n\r\n",
    HEAD + b"0003\r\none\r\n000000003\r\ntwo\r\n3\r\nabc\r\n0\r\n\r\n",
    HEAD + b"A\r\n0123456789\r\na\r\n0123456789\r\n0\r\nTrailer: 1\r\n\r\n",
    # What is none
    HEAD + b"3\r\none\r\n3\r\ntwoX\r\n3\r\nabc\r\n0\r\n\r\n",
    HEAD + b"3\r\none\r\n3\ntwo\r\n0\r\n\r\n",
    HEAD + b"3\r\none\r\n3\r\ntwo\r\n+3\r\nabc\r\n0\r\n\r\n",
    HEAD + b"3\r\none\r\n3\r\ntwo\r\n3_0\r\nabc\r\n0\r\n\r\n",
    HEAD + b"3\r\none\r\n3\r\ntwo\r\nffffffffffffffffffffff\r\nabc",
    HEAD + b"3\r\none\r\n3\r\ntwo\r\n\r\n\r\n",
    # Cut off
    HEAD + b"3\r\none\r\n3\r\ntwo\r\n5\r\nab",
]
BODY = _chunked(b"one", b"two")
OTHER_HEADS = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 26\r\n\r\n" + BODY + b"12345",
    b"HTTP/1.1 200 OK\r\nContent-Length: 21\r\nX-Transfer-Encoding: chunked\r\n\r\n" + BODY,
    b"HTTP/1.1 200 OK\nContent-Length: 60\n\nx\r\nTransfer-Encoding: chunked\r\n\r\n" + BODY + b"12",
    b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n" + BODY,
    b"HTTP/1.0 200 OK\r\n\r\n" + BODY,
    b"HTTP/1.1 200 OK\r\nX: 1\r\n Transfer-Encoding: chunked\r\nContent-Length: 16\r\n\r\n3\r\none\r\n3\r\ntwo\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n" + BODY,
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n" + BODY,
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n more\r\n\r\n" + BODY,
    b"HTTP/1.1 100 Continue\r\n\r\n" + HEAD + _chunked(b"one", b"two"),
    b"SSH-2.0-x\r\n\r\n" + HEAD + _chunked(b"one", b"two"),
]


@pytest.mark.parametrize("data", [*OTHER_BODIES, *OTHER_HEADS])
def test_what_is_not_quite_the_usual_form_means_the_same(data: bytes) -> None:
    for place in range(len(data) + 1):
        blocks = _cut(data, [place])
        assert _parsed(_gathered(blocks))[0] == _parsed(blocks)[0]


def test_the_next_answer_of_a_connection_is_another() -> None:
    plain = b"HTTP/1.1 200 OK\r\nContent-Length: 21\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"
    chunks = GatheredChunks()
    for answer, changed in (
        (HEAD + _chunked(b"one", b"two"), True),
        (plain, False),
        (HEAD + _chunked(b"a", b"b"), True),
    ):
        chunks.sent(REQUEST)
        chunks.sent(b'{"a": 1}')
        assert (chunks.received(answer) != answer) == changed
        assert chunks.received(b"3\r\none\r\n3\r\ntwo\r\n") == b"3\r\none\r\n3\r\ntwo\r\n"


def test_before_a_request_nothing_is_touched() -> None:
    chunks = GatheredChunks()
    chunks.sent(b"\x05\x01\x00")  # the handshake with a SOCKS proxy
    data = HEAD + _chunked(b"one", b"two")
    assert chunks.received(data) == data


def test_an_endless_head_is_given_up() -> None:
    chunks = GatheredChunks()
    chunks.sent(REQUEST)
    line = b"X: " + b"y" * 1000 + b"\r\n"
    assert chunks.received(b"HTTP/1.1 200 OK\r\n") == b"HTTP/1.1 200 OK\r\n"
    for _ in range(100):
        assert chunks.received(line) == line
    end = b"Transfer-Encoding: chunked\r\n\r\n" + _chunked(b"one", b"two")
    assert chunks.received(end) == end


def test_the_end_of_the_connection_stays_one() -> None:
    chunks = GatheredChunks()
    chunks.sent(REQUEST)
    chunks.received(HEAD + b"3\r\non")
    assert chunks.received(b"") == b""
