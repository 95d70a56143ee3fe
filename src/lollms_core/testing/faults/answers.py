"""Rows about answers as a whole: statuses, refusals, Retry-After, redirects, bodies that are none."""

from __future__ import annotations

from collections.abc import Sequence

from lollms_core.errors import (
    AuthenticationError,
    BackendError,
    BackendTimeout,
    BadRequest,
    ContextOverflow,
    LollmsError,
    ModelNotFound,
    Overloaded,
    ProtocolError,
    RateLimited,
    StreamInterrupted,
)
from lollms_core.testing.dialect import Dialect
from lollms_core.testing.fault_server import Asked, Endless, Step
from lollms_core.testing.faults.fault import Expected, Fault, Play
from lollms_core.testing.wire import response

__all__ = ["ANSWERS", "ELSEWHERE"]

ELSEWHERE = "http://elsewhere.invalid/"
"""Where redirects point to."""


def _passing(status: str) -> Fault:
    """A status that goes away."""

    def play(dialect: Dialect) -> Play:
        refusal = response(dialect.refusal("not now"), status, Retry_After="0")
        return Play([(refusal,), (refusal,)], Expected(asked=3, retries=2), options={"retries": 2})

    return Fault(f"{status[:3]} twice, then an answer", play)


def _lasting(status: str, error: type[LollmsError]) -> Fault:
    """The same, longer than anybody tries."""

    def play(dialect: Dialect) -> Play:
        refusal = response(dialect.refusal("never now"), status, Retry_After="0")
        return Play(
            [(refusal,)] * 3,
            Expected((error,), "", "never now", asked=3, retries=2),
            options={"retries": 2},
        )

    return Fault(f"{status[:3]} for longer than is tried", play)


def _refusal(status: str, words: str, error: type[LollmsError], pattern: str = "") -> Fault:
    def play(dialect: Dialect) -> Play:
        answer = (response(dialect.refusal(words), status),)
        return Play([answer], Expected((error,), "", pattern or words), options={"retries": 2})

    return Fault(f"{status[:3]}: {words}", play)


def _retry_after(value: str, what: str = "") -> Fault:
    """Values that are obeyed at once, or that mean nothing."""

    def play(dialect: Dialect) -> Play:
        refusal = response(dialect.refusal("slow down"), "429 Too Many Requests", Retry_After=value)
        return Play([(refusal,)], Expected(asked=2, retries=1), options={"retries": 1})

    return Fault(f"Retry-After: {what or value}", play)


def _too_long(dialect: Dialect) -> Play:
    refusal = response(dialect.refusal("slow down"), "429 Too Many Requests", Retry_After="121")
    return Play([(refusal,)], Expected((RateLimited,), "", "slow down"), options={"retries": 2})


def _over_budget(dialect: Dialect) -> Play:
    refusal = response(dialect.refusal("slow down"), "503 Service Unavailable", Retry_After="30")
    return Play(
        [(refusal,)],
        Expected((Overloaded,), "", "slow down"),
        options={"retries": 2, "retry_budget": 20.0},
    )


def _redirect(status: str) -> Fault:
    def play(dialect: Dialect) -> Play:
        answer = (response("", status, Location=ELSEWHERE),)
        return Play([answer], Expected((BackendError,), "", "elsewhere.invalid"), options={"retries": 2})

    return Fault(f"{status[:3]} to another host", play)


def _body(name: str, body: bytes, *error: type[LollmsError], kind: str = "", words: str = "", **headers: str) -> Fault:
    """A successful answer with a body that is none."""

    def play(dialect: Dialect) -> Play:
        streamed: list[bool] = []

        def answer(asked: Asked) -> tuple[Step, ...]:
            streamed.append(dialect.streams(asked.body))
            own = dialect.content_type if streamed[-1] else "application/json"
            return (response(body, "200 OK", kind or own, **headers),)

        return Play([answer], Expected(error, "", words), options={"retries": 2})

    return Fault(name, play)


def _endless_body(dialect: Dialect) -> Play:
    def answer(asked: Asked) -> tuple[Step, ...]:
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n"
        return (head, Endless(b" " * 65536))

    return Play(
        [answer],
        Expected((ProtocolError,), "", "max_response_bytes"),
        options={"max_response_bytes": 1_000_000},
    )


def _endless_refusal(dialect: Dialect) -> Play:
    head = b"HTTP/1.1 500 Oops\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n"
    return Play([(head, Endless(b"x" * 65536))], Expected((BackendError,), "", "xxx"), options={"retries": 0})


_HTML = b"<html><title>It works!</title></html>"

ANSWERS: Sequence[Fault] = (
    *(
        _passing(status)
        for status in (
            "408 Request Timeout",
            "409 Conflict",
            "429 Too Many Requests",
            "500 Internal Server Error",
            "502 Bad Gateway",
            "503 Service Unavailable",
            "504 Gateway Timeout",
            "529 Overloaded",
        )
    ),
    _lasting("408 Request Timeout", BackendTimeout),
    _lasting("429 Too Many Requests", RateLimited),
    _lasting("500 Internal Server Error", BackendError),
    _lasting("503 Service Unavailable", Overloaded),
    _refusal("400 Bad Request", "temperature must be a number", BadRequest),
    _refusal("401 Unauthorized", "no such key", AuthenticationError),
    _refusal("403 Forbidden", "not for you", AuthenticationError),
    _refusal("404 Not Found", "model 'm1' not found", ModelNotFound),
    _refusal("422 Unprocessable Content", "field required", BadRequest),
    _refusal("400 Bad Request", "the prompt exceeds the context size", ContextOverflow),
    _refusal("501 Not Implemented", "not here", BackendError),
    _retry_after("0"),
    _retry_after("Wed, 21 Oct 2015 07:28:00 GMT", "a date that has passed"),
    _retry_after("-10"),
    _retry_after("inf"),
    _retry_after("nan"),
    _retry_after("soon"),
    _retry_after("\u0661".encode().decode("latin-1"), "digits of another script"),
    Fault("Retry-After: 121", _too_long),
    Fault("Retry-After beyond the budget", _over_budget),
    *(
        _redirect(status)
        for status in ("301 Moved", "302 Found", "303 See Other", "307 Temporary Redirect", "308 Permanent Redirect")
    ),
    _body("200 with a web page", _HTML, ProtocolError, kind="text/html; charset=utf-8", words="text/html"),
    _body("200 with a picture", b"\x89PNG", ProtocolError, kind="image/png", words="image/png"),
    _body("200 with a web page said to be JSON", _HTML, ProtocolError, StreamInterrupted),
    _body("empty answer", b"", ProtocolError, StreamInterrupted),
    _body("half a JSON value", b'{"id": "x", "mess', ProtocolError, StreamInterrupted),
    _body("JSON of another shape", b'{"status": "fine"}', ProtocolError, StreamInterrupted),
    _body("JSON list", b"[]", ProtocolError, StreamInterrupted),
    _body("JSON null", b"null", ProtocolError, StreamInterrupted),
    _body("bytes that are no text", b"\xff\xfe\x00", ProtocolError, StreamInterrupted),
    _body("JSON nested beyond any sense", b"[" * 100_000, ProtocolError, StreamInterrupted),
    _body("broken compression", b"not gzip at all", ProtocolError, StreamInterrupted, Content_Encoding="gzip"),
    Fault("endless answer", _endless_body),
    Fault("endless refusal", _endless_refusal),
)
