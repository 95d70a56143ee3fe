"""The blocking transport: one pool of connections for all threads of a binding."""

from __future__ import annotations

import contextlib
import logging
import threading
import weakref
from collections.abc import Generator, Iterator
from typing import Final

import httpcore

from lollms_core import BackendUnavailable, LollmsError
from lollms_core.control import Control
from lollms_core.forks import forget_in_child
from lollms_http.address import Server
from lollms_http.cookies import Cookies
from lollms_http.exchange import MAX_ERROR_BYTES, Exchange
from lollms_http.line import Line, LinePool
from lollms_http.wire import ERRORS, decoded, headers_of, headers_to, request_of

__all__ = ["DRAIN_SECONDS", "Response", "SyncHttp"]

_log = logging.getLogger(__name__)

DRAIN_SECONDS: Final = 1.0
"""How long the end of a response is waited for once the answer is complete, so that its connection can be reused."""


class Response:
    """A response that has begun.

    Attributes:
        status: of HTTP.
        headers: by their names in lower case.
    """

    def __init__(self, exchange: Exchange, response: httpcore.Response, line: Line) -> None:
        self.status = response.status
        self.headers = headers_of(response)
        self._exchange = exchange
        self._response = response
        self._line = line
        self._raw = decoded(response.stream, self.headers)  # type: ignore[arg-type]  # the stream of a blocking pool

    @property
    def content_type(self) -> str:
        """What the server says it is."""
        return self.headers.get("content-type", "")

    def pieces(self) -> Iterator[bytes]:
        """The body as it comes.

        Raises:
            LollmsError: it breaks off, comes too late, or is too large.
        """
        try:
            for data in self._raw:
                yield self._exchange.received(data)
        except ERRORS as error:
            raise self._exchange.broken(error) from error

    def rest(self) -> Iterator[bytes]:
        """The little that follows a complete answer; where it is read to its end, the connection can be used again."""
        self._line.hurry(DRAIN_SECONDS)
        left = MAX_ERROR_BYTES
        try:
            for data in self._raw:
                left -= len(data)
                if left < 0:
                    return
                yield data
        except ERRORS as error:
            _log.debug("%s: the connection cannot be used again: %s", self._exchange.who, error)

    def beginning(self) -> bytes:
        """As much of a refusal's body as is worth reading."""
        body = b""
        # What has come says enough, also if the connection then breaks.
        with contextlib.suppress(*ERRORS):
            for data in self._raw:
                body += data
                if len(body) >= MAX_ERROR_BYTES:
                    break
        return body[:MAX_ERROR_BYTES]

    def close(self) -> None:
        """Free the connection, or close it if the body was not read to its end."""
        self._response.close()


class SyncHttp:
    """Sends exchanges to one server, from any thread."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._lock = threading.Lock()
        self._pool: LinePool | None = None
        self._closed = False
        self._headers = headers_to(server)
        self._cookies = Cookies()
        forget_in_child(self)

    def forget_connections(self) -> None:
        """See :class:`~lollms_core.forks.ForgetsInChild`."""
        self._lock = threading.Lock()
        self._pool = None
        self._cookies = Cookies()

    def fetch(self, exchange: Exchange, control: Control | None = None) -> bytes:
        """The whole body of the response.

        Raises:
            LollmsError: what went wrong.
        """
        with self.open(exchange, control) as response:
            return b"".join(response.pieces())

    @contextlib.contextmanager
    def open(self, exchange: Exchange, control: Control | None = None) -> Generator[Response]:
        """The response; afterwards its connection is free for the next request, or closed.

        Args:
            exchange: what is sent.
            control: what ends the request from another thread.

        Raises:
            LollmsError: what went wrong.
        """
        line = Line(exchange.limits.left)
        forget = control.on_cancel(line.cut) if control is not None else None
        try:
            response = self._begin(exchange, line)
            try:
                exchange.accepted(response.headers)
                yield response
            finally:
                # A response that was not read to its end takes its connection with it.
                response.close()
        finally:
            if forget is not None:
                forget()

    def close(self) -> None:
        """Close every connection; a request that runs fails."""
        with self._lock:
            self._closed = True
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.close()

    def _begin(self, exchange: Exchange, line: Line) -> Response:
        """The response that is an answer, after as many tries as it takes."""
        while True:
            try:
                exchange.check_deadline()
                response = self._send(exchange, line)
                if exchange.is_done(response.status):
                    return response
                try:
                    wait = exchange.refused(response.status, response.headers, response.beginning())
                finally:
                    response.close()
            except ERRORS as error:
                if line.is_cut:
                    raise BackendUnavailable(f"{exchange.who}: the request was cancelled") from error
                wait = exchange.failed(error)
            if isinstance(wait, LollmsError):
                raise wait
            if line.wait(wait):
                raise BackendUnavailable(f"{exchange.who}: the request was cancelled")

    def _send(self, exchange: Exchange, line: Line) -> Response:
        request = request_of(exchange, self._headers, self._cookies)
        answer = self._opened().send(request, line)
        response = Response(exchange, answer, line)
        if "set-cookie" in response.headers:
            self._cookies.keep(exchange.url, answer.headers)
        _log.debug("%s: %s %s: status %d", exchange.who, exchange.call.method, exchange.call.path, response.status)
        return response

    def _opened(self) -> LinePool:
        with self._lock:
            if self._closed:
                raise BackendUnavailable("the binding is closed; create a new one")
            if self._pool is None:
                self._pool = LinePool(self._server)
                # For a binding that nobody closes; also at the interpreter's end.
                weakref.finalize(self, self._pool.close)
            return self._pool
