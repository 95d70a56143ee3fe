"""Rows about the connection: it does not come about, breaks, is closed, is something else's."""

from __future__ import annotations

from lollms_core.errors import BackendUnavailable, ProtocolError, StreamInterrupted
from lollms_core.testing.dialect import TEXT, Dialect
from lollms_core.testing.fault_server import CLOSE, RESET, Asked, Step
from lollms_core.testing.faults.fault import Expected, Fault, Play
from lollms_core.testing.wire import response

__all__ = ["CONNECTIONS"]


def _refused(dialect: Dialect) -> Play:
    return Play(
        (),
        Expected((BackendUnavailable,), "", r"127\.0\.0\.1", asked=0, retries=1),
        options={"retries": 1},
        network="refused",
    )


def _unknown_name(dialect: Dialect) -> Play:
    return Play(
        (),
        Expected((BackendUnavailable,), "", r"peer\.invalid", asked=0, retries=1),
        options={"retries": 1},
        network="unknown name",
    )


def _closed(step: Step) -> Fault:
    def play(dialect: Dialect) -> Play:
        return Play([(step,)], Expected((BackendUnavailable,), ""), options={"retries": 0})

    return Fault(f"connection {'reset' if step is RESET else 'closed'} instead of an answer", play)


def _closed_once(step: Step) -> Fault:
    def play(dialect: Dialect) -> Play:
        return Play([(step,)], Expected(asked=2, retries=1), options={"retries": 1})

    return Fault(f"connection {'reset' if step is RESET else 'closed'} once, then answered", play)


def _cut(step: Step, *, ended: bool = False) -> Fault:
    def play(dialect: Dialect) -> Play:
        wire = dialect.stream(*dialect.pieces("Th\u00e9 ", "sky"), ended=ended)
        answer = (wire.data, step) if not ended else (wire.data,)
        return Play([answer], Expected((StreamInterrupted,), "Th\u00e9 sky"), wire, options={"retries": 2})

    what = "well-formed end of a stream without its last record" if ended else ""
    return Fault(
        what or f"{'reset' if step is RESET else 'chunked abort'} in the middle of a stream", play, ("stream",)
    )


def _end_of_connection(dialect: Dialect) -> Play:
    wire = dialect.stream(*dialect.pieces("Th\u00e9 ", "sky"), framing="close")
    return Play([(wire.data, CLOSE)], Expected((StreamInterrupted,), "Th\u00e9 sky"), wire)


def _too_short(dialect: Dialect) -> Play:
    def answer(asked: Asked) -> tuple[Step, ...]:
        return (dialect.answer(asked.body)[:-30], CLOSE)

    return Play([answer], Expected((StreamInterrupted,), None))


def _held_by_its_end(dialect: Dialect) -> Play:
    parts = [*dialect.pieces(TEXT), *dialect.ending()]
    return Play([(dialect.stream(*parts, ended=False).data, RESET)], Expected())


def _idle_closed(dialect: Dialect) -> Play:
    # The next request may be sent before the end has arrived.
    return Play((), Expected(connections=2, retries=None), warm=(CLOSE,))


def _closed_when_asked(dialect: Dialect) -> Play:
    """The peer gave the connection up at the moment in which it was used again."""
    return Play([(CLOSE,)], Expected(asked=2, retries=1), options={"retries": 1}, warm=())


def _bytes_after(dialect: Dialect) -> Play:
    wire = dialect.stream(*dialect.pieces(TEXT), *dialect.ending(), dialect.record(dialect.piece("not me")))
    return Play([(wire.data,)], Expected(connections=1), wire)


def _not_http(name: str, greeting: bytes) -> Fault:
    def play(dialect: Dialect) -> Play:
        return Play(
            [(greeting, CLOSE)],
            Expected((ProtocolError,), "", r"127\.0\.0\.1.*(right port|HTTP)"),
            options={"retries": 2},
        )

    return Fault(name, play)


def _early_hints(dialect: Dialect) -> Play:
    def answer(asked: Asked) -> tuple[Step, ...]:
        return (b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n", dialect.answer(asked.body))

    return Play([answer], Expected())


def _goodbye(dialect: Dialect) -> Play:
    def answer(asked: Asked) -> tuple[Step, ...]:
        return (dialect.answer(asked.body).replace(b"\r\n", b"\r\nConnection: close\r\n", 1), CLOSE)

    return Play([answer], Expected(connections=2))


def _unasked(dialect: Dialect) -> Play:
    """A second answer comes by itself; it must not be taken for the next request's."""

    def answer(asked: Asked) -> tuple[Step, ...]:
        return (dialect.answer(asked.body) + response(dialect.whole("of somebody else")),)

    # It comes with the first: one that comes after the next request was sent cannot be told from that one's answer.
    # Whether a request meets it, or its connection is left before, depends on what of it was read by then.
    return Play([answer], Expected(asked=None, retries=None))


CONNECTIONS = (
    Fault("connection refused", _refused),
    Fault("name that cannot be resolved", _unknown_name),
    _closed(CLOSE),
    _closed(RESET),
    _closed_once(CLOSE),
    _closed_once(RESET),
    _cut(CLOSE, ended=True),
    _cut(CLOSE),
    _cut(RESET),
    Fault("end of the connection as the stream's end, before its last record", _end_of_connection, ("stream",)),
    Fault("connection closed before the announced end", _too_short, ("whole",)),
    Fault("reset after the last record", _held_by_its_end, ("stream",)),
    Fault("kept connection closed while idle", _idle_closed),
    Fault("kept connection closed as it is used again", _closed_when_asked),
    Fault("bytes after the end of the answer", _bytes_after, ("stream",)),
    Fault("interim response first (103)", _early_hints),
    Fault("answer that closes its connection", _goodbye),
    Fault("second answer that nobody asked for", _unasked),
    _not_http("SSH banner", b"SSH-2.0-OpenSSH_9.6\r\n"),
    _not_http("TLS alert on a plain connection", b"\x15\x03\x03\x00\x02\x02\x46"),
    _not_http("mail server", b"220 mail.example ESMTP\r\n"),
    _not_http("random bytes", b"\x00\x01\x02\xff" * 20 + b"\r\n\r\n"),
)
