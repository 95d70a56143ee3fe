"""What goes wrong on the wire has a name, says who and which model, and is tried again only where that helps."""

from __future__ import annotations

import ssl
import time

import httpcore
import pytest

from lollms_core import (
    AuthenticationError,
    BackendError,
    BackendTimeout,
    BackendUnavailable,
    BadRequest,
    ContextOverflow,
    LollmsError,
    ModelNotFound,
    ProtocolError,
    StreamInterrupted,
)
from lollms_core.redaction import Secret
from lollms_http import Call
from lollms_http.address import Server
from lollms_http.exchange import Exchange, Limits

KEY = "sk-secret"


def exchange(**options: float) -> Exchange:
    deadline = options.pop("deadline", None)
    limits = Limits.of({"retries": 0, **options}, timeout=5, deadline=deadline)
    return Exchange(Server("http://h:1", Secret(KEY)), "acme at http://h:1", Call("POST", "/api/chat", {}, "m"), limits)


def caused(error: Exception, by: Exception) -> Exception:
    error.__cause__ = by
    return error


FAILURES: list[tuple[Exception, type[LollmsError], bool]] = [
    (httpcore.ConnectError("refused"), BackendUnavailable, True),
    (caused(httpcore.ConnectError("x"), ssl.SSLCertVerificationError("x")), BackendUnavailable, False),
    (caused(httpcore.ConnectError("x"), ssl.SSLError("wrong version")), ProtocolError, False),
    (httpcore.ConnectTimeout(""), BackendUnavailable, True),
    (httpcore.ProxyError("no"), BackendUnavailable, False),
    (httpcore.ReadError("reset"), BackendUnavailable, True),
    (httpcore.WriteError("reset"), BackendUnavailable, True),
    (httpcore.RemoteProtocolError("Server disconnected without sending a response."), BackendUnavailable, True),
    (httpcore.RemoteProtocolError("illegal status line"), ProtocolError, False),
    (httpcore.ReadTimeout(""), BackendTimeout, False),
    (httpcore.UnsupportedProtocol("x"), BadRequest, False),
]


@pytest.mark.parametrize(("failure", "kind", "again"), FAILURES)
def test_failures_before_the_response(failure: Exception, kind: type[LollmsError], again: bool) -> None:
    with pytest.raises(kind, match="acme at http://h:1"):
        exchange().failed(failure)
    if again:
        assert exchange(retries=1).failed(failure) > 0
        with pytest.raises(kind):
            exchange(retries=1, deadline=0.1).failed(failure)  # no time for another try
    else:
        with pytest.raises(kind):
            exchange(retries=1).failed(failure)


REFUSALS: list[tuple[int, bytes, type[LollmsError]]] = [
    (401, b'{"error": "bad key sk-secret"}', AuthenticationError),
    (403, b"<html>", AuthenticationError),
    (404, b'{"error":"model \'m\' not found"}', ModelNotFound),
    (400, b'{"error":"input length exceeds maximum context length"}', ContextOverflow),
    (500, b'{"error":"llama runner process has terminated"}', BackendError),
    (302, b"", BackendError),
]


@pytest.mark.parametrize(("status", "body", "kind"), REFUSALS)
def test_refusals(status: int, body: bytes, kind: type[LollmsError]) -> None:
    error = exchange().refused(status, {"location": f"http://other/{KEY}"}, body)
    assert type(error) is kind
    assert str(error).startswith("acme at http://h:1")
    assert KEY not in str(error)


def test_retry_after() -> None:
    assert exchange(retries=1).refused(503, {"retry-after": "7"}, b"") == 7
    assert isinstance(exchange(retries=1).refused(503, {"retry-after": "121"}, b""), LollmsError)
    assert isinstance(exchange(retries=1, deadline=3).refused(503, {"retry-after": "7"}, b""), LollmsError)


def test_failures_in_the_answer() -> None:
    assert isinstance(exchange().broken(httpcore.ReadError("reset")), StreamInterrupted)
    assert isinstance(exchange().broken(httpcore.RemoteProtocolError("incomplete chunked read")), StreamInterrupted)
    silent = exchange().broken(httpcore.ReadTimeout(""))
    assert isinstance(silent, BackendTimeout)
    assert "no sign of life for 5 s" in str(silent)
    assert "'m'" in str(silent)


def test_the_deadline() -> None:
    late = exchange(deadline=1e-9)
    time.sleep(0)
    with pytest.raises(BackendTimeout, match="deadline"):
        late.check_deadline()
    with pytest.raises(BackendTimeout, match="deadline"):
        late.received(b"x")


def test_too_much() -> None:
    small = exchange(max_response_bytes=3)
    small.received(b"123")
    with pytest.raises(ProtocolError, match="max_response_bytes"):
        small.received(b"4")


def test_a_web_page_is_no_answer() -> None:
    with pytest.raises(ProtocolError, match="text/html"):
        exchange().accepted({"content-type": "text/html; charset=utf-8"})
    exchange().accepted({"content-type": "application/json; charset=utf-8"})
    exchange().accepted({})


def test_nothing_shows_the_key() -> None:
    assert KEY not in repr(vars(exchange()))
