"""Rows about the bytes of a stream: its records, their ends, their encoding, and what stands in them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lollms_core.errors import BackendError, ProtocolError, StreamInterrupted
from lollms_core.testing.dialect import PIECES, TEXT, Dialect, SseDialect
from lollms_core.testing.fault_server import CLOSE, Endless
from lollms_core.testing.faults.fault import Expected, Fault, Play
from lollms_core.testing.wire import Part, Wire

__all__ = ["STREAMS"]

_START = ("Th\u00e9 ", "sky")
_BEGUN = "".join(_START)


def _good(name: str, wire: Callable[[Dialect], Wire | None], text: str = TEXT) -> Fault:
    """A stream that looks unusual, and is right."""

    def play(dialect: Dialect) -> Play | None:
        made = wire(dialect)
        if made is None:
            return None
        answer = (made.data, CLOSE) if made.framing == "close" else (made.data,)
        return Play([answer], Expected(text=text), made)

    return Fault(name, play, ("stream",))


def _bad(
    name: str, bad: Callable[[Dialect], bytes | None], *error: type[Exception], words: str = "", then_end: bool = True
) -> Fault:
    """A stream with something wrong after its second record."""

    def play(dialect: Dialect) -> Play | None:
        data = bad(dialect)
        if data is None:
            return None
        end = [*dialect.pieces(*PIECES[2:]), *dialect.ending()] if then_end else []
        wire = dialect.stream(*dialect.pieces(*_START), Part(data, fault=True), *end)
        return Play([(wire.data,)], Expected(error, _BEGUN, words), wire, options={"retries": 2})  # type: ignore[arg-type]

    return Fault(name, play, ("stream",))


def _sse(wire: Callable[[SseDialect], Wire]) -> Callable[[Dialect], Wire | None]:
    return lambda dialect: wire(dialect) if isinstance(dialect, SseDialect) else None


def _parts(dialect: Dialect) -> list[Part]:
    return [*dialect.pieces(*PIECES), *dialect.ending()]


def _changed(part: Part, old: bytes, new: bytes) -> Part:
    """`part` with other line ends: it is complete with the first byte of one, at the latest."""
    data = part.data.replace(old, new)
    return Part(data, part.text, part.needed and len(part.data[: part.needed].replace(old, new)), part.ends)


def _ends(new: bytes) -> Callable[[Dialect], Wire]:
    return lambda dialect: dialect.stream(*(_changed(part, b"\n", new) for part in _parts(dialect)))


def _between(noise: bytes) -> Callable[[Dialect], Wire]:
    def wire(dialect: Dialect) -> Wire:
        parts: list[Part] = []
        for part in _parts(dialect):
            parts += [Part(noise), part]
        return dialect.stream(*parts)

    return wire


def _without_last_end(dialect: Dialect) -> Wire:
    """The record that completes the answer is the last, and its end is missing."""
    first = dialect.ending()[0]
    return dialect.stream(*dialect.pieces(*PIECES), Part(first.data[: first.complete], ends=True))


def _bom(dialect: Dialect) -> Wire:
    return dialect.stream(Part(b"\xef\xbb\xbf"), *_parts(dialect))


def _multi_line(dialect: SseDialect) -> Wire:
    """The JSON of each record on two lines."""
    parts = []
    for part in _parts(dialect):
        cut = part.data.find(b",") + 1
        if cut:
            shift = len(b"\ndata: ")
            data = part.data[:cut] + b"\ndata: " + part.data[cut:]
            # Both lines are needed, and where one more could follow only the empty line tells.
            parts.append(Part(data, part.text, part.complete + shift, part.ends))
        else:
            parts.append(part)
    return dialect.stream(*parts)


def _no_space(dialect: SseDialect) -> Wire:
    return dialect.stream(
        *(Part(p.data.replace(b"data: ", b"data:", 1), p.text, p.complete - 1, p.ends) for p in _parts(dialect))
    )


def _separators(dialect: Dialect) -> Wire:
    pieces = ("a\u2028b", "c\u2029d\u0085", "\u000b\u001c".encode("unicode_escape").decode())
    return dialect.stream(*dialect.pieces(*pieces), *dialect.ending())


_SEPARATED = "a\u2028bc\u2029d\u0085" + "\u000b\u001c".encode("unicode_escape").decode()


def _many(dialect: Dialect) -> Wire:
    return dialect.stream(*dialect.pieces(*["x"] * 2000), *dialect.ending())


def _packets(size: int) -> Fault:
    """The same bytes in packets of `size`; the receiver may still get several at once."""

    def play(dialect: Dialect) -> Play:
        data = dialect.stream().data
        return Play([[data[place : place + size] for place in range(0, len(data), size)]], Expected())

    return Fault(f"{size} byte{'s' * (size > 1)} a packet", play, ("stream",))


def _tiny_chunks(dialect: Dialect) -> Wire:
    """One byte in each chunk of the transfer encoding, so that no read gives more."""
    parts: list[Part] = []
    for part in _parts(dialect):
        for place in range(len(part.data)):
            last = place == part.complete - 1
            parts.append(Part(part.data[place : place + 1], part.text if last else "", ends=part.ends and last))
    return dialect.stream(*parts)


def _chunk_extensions(dialect: Dialect) -> Play:
    wire = dialect.stream()
    head, *bodies = wire.packets
    bodies = [body.replace(b"\r\n", b";name=value\r\n", 1) for body in bodies]
    return Play([[head, *bodies[:-1], b"0\r\nX-Trailer: yes\r\n\r\n"]], Expected())


def _bad_chunk(dialect: Dialect) -> Play:
    wire = dialect.stream(*dialect.pieces(*_START), ended=False)
    return Play([(wire.data, b"zz\r\nnot a size\r\n", CLOSE)], Expected((StreamInterrupted, ProtocolError), _BEGUN))


def _endless_record(dialect: Dialect) -> Play:
    head = dialect.stream(*dialect.pieces(*_START), framing="close").data
    start = dialect.record(dialect.piece("@")).data.partition(b"@")[0]
    return Play([(head, start, Endless(b"x" * 65536))], Expected((ProtocolError,), _BEGUN, "bytes"))


def _endless_stream(dialect: Dialect) -> Play:
    """Records without end that say nothing, until the binding's limit for one response."""
    head = dialect.stream(*dialect.pieces(*_START), framing="close").data
    empty = dialect.record(dialect.piece("")).data
    return Play(
        [(head, Endless(empty * 200))],
        Expected((ProtocolError,), _BEGUN, "max_response_bytes"),
        options={"max_response_bytes": 1_000_000},
    )


def _error_record(dialect: Dialect) -> bytes:
    return dialect.record(dialect.failure("the disk is full")).data


def _if_sse(data: bytes) -> Callable[[Dialect], bytes | None]:
    return lambda dialect: data if isinstance(dialect, SseDialect) else None


def _payload(text: bytes) -> Callable[[Dialect], bytes]:
    """A record that holds `text` in place of JSON."""
    return lambda dialect: dialect.record("@").data.replace(b'"@"', text)


def _repeated_end(dialect: Dialect) -> Wire:
    return dialect.stream(*_parts(dialect), *dialect.ending())


def _not_all(dialect: Dialect) -> Play:
    wire = dialect.stream(*dialect.pieces(*_START), dialect.record(dialect.piece("x")), framing="length")
    return Play([(wire.data[:-9], CLOSE)], Expected((StreamInterrupted,), _BEGUN), options={"retries": 2})


def _nothing(dialect: Dialect) -> Play:
    wire = dialect.stream(Part(b""), framing="length")
    return Play([(wire.data,)], Expected((StreamInterrupted, ProtocolError), ""))


STREAMS: Sequence[Fault] = (
    _good("a good stream, chunked", lambda dialect: dialect.stream()),
    _good("a good stream with its length", lambda dialect: dialect.stream(framing="length")),
    _good("a good stream until the connection's end", lambda dialect: dialect.stream(framing="close")),
    _good("last record without its end", _without_last_end),
    _good("CRLF", _ends(b"\r\n")),
    _good("CR", _ends(b"\r")),
    _good("U+2028, U+2029 and U+0085 in JSON", _separators, _SEPARATED),
    _good("one byte a chunk", _tiny_chunks),
    _packets(1),
    _packets(7),
    _good("byte order mark first", _bom),
    _good("empty lines between records", _between(b"\n\n")),
    _good("comments", _sse(_between(b": ping\n\n"))),
    _good("events without data", _sse(_between(b"event: ping\n\n"))),
    _good("fields that nobody needs", _sse(_between(b"retry: 3\nid: 7\nnonsense\n\n"))),
    _good("data on several lines", _sse(_multi_line)),
    _good("no space after the colon", _sse(_no_space)),
    _good("two thousand records", _many, "x" * 2000),
    _good("end told twice", _repeated_end),
    Fault("chunk extensions and trailers", _chunk_extensions, ("stream",)),
    Fault("chunk size that is no number", _bad_chunk, ("stream",)),
    Fault("stream shorter than its length", _not_all, ("stream",)),
    Fault("empty stream", _nothing, ("stream",)),
    Fault("endless record", _endless_record, ("stream",)),
    Fault("endless stream", _endless_stream, ("stream",)),
    _bad("error in the middle of a stream", _error_record, BackendError, words="the disk is full"),
    _bad("error as the last record", _error_record, BackendError, words="the disk is full", then_end=False),
    _bad("error field", _if_sse(b'error: {"message": "the disk is full"}\n\n'), BackendError, words="the disk is full"),
    _bad("error event", _if_sse(b"event: error\ndata: the disk is full\n\n"), BackendError, words="the disk is full"),
    _bad("invalid UTF-8", _payload(b'"\xff\xfe"'), ProtocolError, words="UTF-8"),
    _bad("UTF-8 of half a surrogate pair", _payload(b'"\xed\xa0\x80"'), ProtocolError, words="UTF-8"),
    _bad("record that is no JSON", _payload(b"{oops}"), ProtocolError),
    _bad("record that is a list", _payload(b"[1]"), ProtocolError),
    _bad("record that is a number", _payload(b"7"), ProtocolError),
    _bad("record nested beyond any sense", _payload(b"[" * 100_000), ProtocolError),
    _bad("number of 10,000 digits", _payload(b"1" * 10_000), ProtocolError),
)
