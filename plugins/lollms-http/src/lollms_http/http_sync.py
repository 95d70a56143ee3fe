"""The blocking transport: one httpx.Client for all threads of a binding."""

from __future__ import annotations

import contextlib
import logging
import threading
import weakref
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Final

from lollms_core import BackendUnavailable, LollmsError
from lollms_core.control import Control
from lollms_core.failures import no_certificates
from lollms_core.forks import forget_in_child
from lollms_http.address import Server
from lollms_http.exchange import MAX_ERROR_BYTES, Exchange

if TYPE_CHECKING:
    import ssl

    import httpx

    from lollms_http.line import Line

__all__ = [
    "DRAIN_SECONDS",
    "IDLE_SECONDS",
    "MAX_IDLE",
    "Response",
    "SyncHttp",
    "headers_for",
    "naming_the_proxy",
    "ssl_context_for",
]

_log = logging.getLogger(__name__)

MAX_IDLE: Final = 32
"""Connections that are kept open for the next requests."""

IDLE_SECONDS: Final = 30.0
"""How long they are."""

DRAIN_SECONDS: Final = 1.0
"""How long the end of a response is waited for once the answer is complete, so that its connection can be reused."""


def headers_for(server: Server) -> dict[str, str]:
    """The headers of every request to `server`."""
    # Compression would only hold pieces back.
    headers = {"Accept-Encoding": "identity", "User-Agent": "lollms-http", **server.headers}
    if server.key is not None:
        name, _, value = server.key_header.partition(":")
        headers[name] = value.strip().replace("{key}", server.key.reveal())
    return headers


@contextlib.contextmanager
def naming_the_proxy(server: Server) -> Iterator[None]:
    """Say so where the proxy's URL is none, or of a kind that takes a package which is not there (SOCKS)."""
    import httpx

    try:
        yield
    except (ImportError, RuntimeError, ValueError, httpx.InvalidURL) as error:
        if server.proxy is None:
            raise
        why = server.redaction.text(str(error))
        raise BackendUnavailable(f"{server.url}: the proxy that is set for it cannot be used: {why}") from None


def ssl_context_for(server: Server) -> ssl.SSLContext | None:
    """The TLS settings for `server`, None if it has no TLS; SSL_CERT_FILE and SSL_CERT_DIR count.

    Raises:
        BackendUnavailable: the certificates that they name cannot be read.
    """
    if not server.url.startswith("https:"):
        return None
    import httpx

    try:
        return httpx.create_ssl_context(verify=server.verify)
    except OSError as error:
        raise no_certificates(error, who=server.url) from error


class Response:
    """A response that has begun."""

    def __init__(self, exchange: Exchange, response: httpx.Response, line: Line) -> None:
        self._exchange = exchange
        self._response = response
        self._line = line
        self._raw = response.iter_bytes()

    @property
    def content_type(self) -> str:
        """What the server says it is."""
        return str(self._response.headers.get("content-type", ""))

    def pieces(self) -> Iterator[bytes]:
        """The body as it comes.

        Raises:
            LollmsError: it breaks off, comes too late, or is too large.
        """
        import httpx

        try:
            for data in self._raw:
                yield self._exchange.received(data)
        except httpx.HTTPError as error:
            raise self._exchange.broken(error) from error

    def rest(self) -> Iterator[bytes]:
        """The little that follows a complete answer; where it is read to its end, the connection can be used again."""
        import httpx

        self._line.hurry(DRAIN_SECONDS)
        left = MAX_ERROR_BYTES
        try:
            for data in self._raw:
                left -= len(data)
                if left < 0:
                    return
                yield data
        except httpx.HTTPError as error:
            _log.debug("%s: the connection cannot be used again: %s", self._exchange.who, error)


class SyncHttp:
    """Sends exchanges to one server, from any thread."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._lock = threading.Lock()
        self._client: httpx.Client | None = None
        self._closed = False
        forget_in_child(self)

    def forget_connections(self) -> None:
        """See :class:`~lollms_core.forks.ForgetsInChild`."""
        self._lock = threading.Lock()
        self._client = None

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
        from lollms_http.line import Line

        line = Line(exchange.limits.left)
        forget = control.on_cancel(line.cut) if control is not None else None
        try:
            response = self._begin(exchange, line)
            try:
                exchange.accepted(response.headers)
                yield Response(exchange, response, line)
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
            client, self._client = self._client, None
        if client is not None:
            client.close()

    def _begin(self, exchange: Exchange, line: Line) -> httpx.Response:
        """The response that is an answer, after as many tries as it takes."""
        import httpx

        while True:
            try:
                exchange.check_deadline()
                response = self._send(exchange, line)
                if exchange.is_done(response.status_code):
                    return response
                try:
                    wait = exchange.refused(response.status_code, response.headers, _beginning(response))
                finally:
                    response.close()
            except httpx.HTTPError as error:
                if line.is_cut:
                    raise BackendUnavailable(f"{exchange.who}: the request was cancelled") from error
                wait = exchange.failed(error)
            if isinstance(wait, LollmsError):
                raise wait
            if line.wait(wait):
                raise BackendUnavailable(f"{exchange.who}: the request was cancelled")

    def _send(self, exchange: Exchange, line: Line) -> httpx.Response:
        import httpx

        client = self._opened()
        limits = exchange.limits
        request = client.build_request(
            exchange.call.method,
            exchange.url,
            content=exchange.call.content(),
            headers=exchange.headers,
            timeout=httpx.Timeout(limits.idle, connect=limits.connect, pool=None),
            extensions=line.extensions,
        )
        return client.send(request, stream=True, follow_redirects=False)

    def _opened(self) -> httpx.Client:
        with self._lock:
            if self._closed:
                raise BackendUnavailable("the binding is closed; create a new one")
            if self._client is None:
                import httpx

                from lollms_http.line import CancellableTransport

                with naming_the_proxy(self._server):
                    transport = CancellableTransport(
                        ssl_context_for(self._server),
                        self._server.proxy,
                        max_idle=MAX_IDLE,
                        idle_seconds=IDLE_SECONDS,
                    )
                # The environment has been asked already; .netrc shall not put its own key in place of ours.
                self._client = httpx.Client(transport=transport, headers=headers_for(self._server), trust_env=False)
                # For a binding that nobody closes; also at the interpreter's end.
                weakref.finalize(self, self._client.close)
            return self._client


def _beginning(response: httpx.Response) -> bytes:
    """As much of a refusal's body as is worth reading."""
    import httpx

    body = b""
    # What has come says enough, also if the connection then breaks.
    with contextlib.suppress(httpx.HTTPError):
        for data in response.iter_bytes():
            body += data
            if len(body) >= MAX_ERROR_BYTES:
                break
    return body[:MAX_ERROR_BYTES]
