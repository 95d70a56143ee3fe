"""The transport under the openai package's sync client: one whose blocking calls another thread can end.

Closing a response or a client does not wake a read that blocks in another thread, and before the headers there
is no response to close. Shutting the socket down does both at once. So each request has a :class:`Line`, and
every socket knows the line that it works for. On asyncio none of this is needed: cancelling a task ends its
reads.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from importlib.util import find_spec
from typing import Any, Final

import httpcore2
import httpx2

from lollms_core.chunks import GatheredChunks
from lollms_core.redaction import Secret
from lollms_core.responses import StatusLine

__all__ = [
    "KEEPALIVE_SECONDS",
    "STATUS_LINE",
    "Line",
    "LineTransport",
    "answered_before",
    "as_httpx2",
    "not_http",
    "proxy_of",
    "stale",
]

KEEPALIVE_SECONDS: Final = 30.0
STATUS_LINE: Final = "lollms_status_line"

_line: ContextVar[Line | None] = ContextVar("lollms_openai_line", default=None)


class Line:
    """The way of one request to the server, which any thread may cut.

    Args:
        until: the time (``time.monotonic``) at which it ends by itself, None if it does not.
    """

    def __init__(self, until: float | None = None) -> None:
        self.until = until
        self._cut = threading.Event()
        self._lock = threading.Lock()
        self._stream: _LineStream | None = None

    @property
    def is_cut(self) -> bool:
        """Whether somebody has cut it."""
        return self._cut.is_set()

    @property
    def is_late(self) -> bool:
        """Whether its time is over."""
        return self.until is not None and time.monotonic() >= self.until

    def cut(self) -> None:
        """End what blocks on it, now and later."""
        self._cut.set()
        with self._lock:
            if self._stream is not None:
                self._stream.shut_down(self)

    def wait(self, seconds: float) -> bool:
        """Wait until it is cut, at most so long; whether it was."""
        return self._cut.wait(seconds)

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """What happens inside happens on this line."""
        token = _line.set(self)
        try:
            yield
        finally:
            _line.reset(token)

    def taken(self, stream: _LineStream) -> None:
        """`stream` works for this line from now on."""
        with self._lock:
            self._stream = stream
            if self._cut.is_set():
                stream.shut_down(self)

    def within(self, timeout: float | None) -> float | None:
        """`timeout`, or what is left of the line's time if that is less.

        Raises:
            httpcore2.ReadTimeout: nothing is left.
        """
        if self.until is None:
            return timeout
        left = self.until - time.monotonic()
        if left <= 0:
            raise httpcore2.ReadTimeout("deadline")
        return left if timeout is None else min(timeout, left)


class _LineStream(httpcore2.NetworkStream):
    """A connection, which works for one line at a time: that of the request that it carries."""

    def __init__(self, stream: httpcore2.NetworkStream) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self._owner: Line | None = None
        self._twin: socket.socket | None = None
        self._status_line = StatusLine()
        self._chunks = GatheredChunks()

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        owner = self._owner
        data = self._stream.read(max_bytes, timeout if owner is None else owner.within(timeout))
        if not self._status_line.fits(data):
            raise not_http()
        return self._chunks.received(data)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        owner = self.take()
        self._status_line.sent(buffer)
        self._chunks.sent(buffer)
        self._stream.write(buffer, timeout if owner is None else owner.within(timeout))

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        owner = self.take()
        within = timeout if owner is None else owner.within(timeout)
        with self._during_handshake():
            stream = _LineStream(self._stream.start_tls(ssl_context, server_hostname, within))
        stream.take()
        return stream

    @contextlib.contextmanager
    def _during_handshake(self) -> Iterator[None]:
        """Hold another descriptor for the connection: a TLS socket is made by taking that of the plain one."""
        sock: socket.socket = self._stream.get_extra_info("socket")
        with self._lock:
            self._twin = socket.fromfd(sock.fileno(), sock.family, sock.type, sock.proto)
        if self._owner is not None:
            self._owner.taken(self)  # it may have been cut just before
        try:
            yield
        finally:
            with self._lock:
                self._twin.close()
                self._twin = None

    def close(self) -> None:
        with self._lock:
            # After this the descriptor's number may be another file's.
            self._owner = None
            self._stream.close()

    def get_extra_info(self, info: str) -> Any:
        return self._status_line if info == STATUS_LINE else self._stream.get_extra_info(info)

    def take(self) -> Line | None:
        """Work for the line that is in use here."""
        line = _line.get()
        if line is not self._owner:
            with self._lock:
                self._owner = line
            if line is not None:
                line.taken(self)
        return line

    def shut_down(self, line: Line) -> None:
        """End all reading and writing, if it is still that line's."""
        with self._lock:
            sock = (self._twin or self._stream.get_extra_info("socket")) if self._owner is line else None
            if sock is not None:
                with contextlib.suppress(OSError):
                    # The plain socket's method: that of a TLS socket takes the session from under its reader.
                    socket.socket.shutdown(sock, socket.SHUT_RDWR)


class _LineBackend(httpcore2.NetworkBackend):
    """Makes connections that know their line."""

    def __init__(self) -> None:
        self._backend = httpcore2.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.NetworkStream:
        line = _line.get()
        within = timeout if line is None else line.within(timeout)
        stream = _LineStream(self._backend.connect_tcp(host, port, within, local_address, socket_options or ()))
        stream.take()
        return stream


class LineTransport(httpx2.BaseTransport):
    """httpx2's transport on connections that know their line.

    Args:
        context: for TLS, None where the address has none.
        proxy: the URL of a proxy.
    """

    def __init__(self, context: ssl.SSLContext | None, proxy: Secret | None) -> None:
        self._pool = httpcore2.ConnectionPool(
            ssl_context=context,
            proxy=proxy_of(proxy),
            max_connections=None,
            max_keepalive_connections=100,
            keepalive_expiry=KEEPALIVE_SECONDS,
            network_backend=_LineBackend(),
        )

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        url = request.url
        with as_httpx2():
            response = self._pool.handle_request(
                httpcore2.Request(
                    method=request.method,
                    url=httpcore2.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
                    headers=request.headers.raw,
                    content=request.stream,
                    extensions=request.extensions,
                )
            )
            if answered_before(response):
                response.close()
                raise stale()
        return httpx2.Response(
            status_code=response.status,
            headers=response.headers,
            stream=_Body(response.stream),
            extensions=response.extensions,
        )

    def close(self) -> None:
        self._pool.close()


class _Body(httpx2.SyncByteStream):
    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[bytes]:
        with as_httpx2():
            yield from self._stream

    def close(self) -> None:
        self._stream.close()


def not_http() -> Exception:
    """What httpcore2 itself raises for an answer that does not begin as one."""
    return httpcore2.RemoteProtocolError("illegal status line")


def answered_before(response: httpcore2.Response) -> bool:
    """Whether an answer was there before the request was sent.

    Bytes that follow an answer stay in httpcore2's buffer, and are parsed as the answer to the next request of that
    connection, which is somebody else's.
    """
    status_line: StatusLine | None = response.extensions["network_stream"].get_extra_info(STATUS_LINE)
    return status_line is not None and status_line.unheard


def stale() -> Exception:
    """The end of a connection that holds such an answer; as after any that broke, the request goes to another."""
    return httpcore2.ReadError("the connection holds an answer that nobody asked for")


@contextlib.contextmanager
def as_httpx2() -> Iterator[None]:
    """httpcore2's errors as httpx2's, which have the same names."""
    try:
        yield
    except Exception as exc:
        kind = next((kind for cls in type(exc).__mro__ if (kind := _KINDS.get(cls)) is not None), None)
        if kind is None:
            raise
        raise kind(str(exc)) from exc


_KINDS: Final[dict[type, type[httpx2.TransportError]]] = {
    getattr(httpcore2, name): getattr(httpx2, name)
    for name in (
        "ConnectError",
        "ConnectTimeout",
        "LocalProtocolError",
        "NetworkError",
        "PoolTimeout",
        "ProtocolError",
        "ProxyError",
        "ReadError",
        "ReadTimeout",
        "RemoteProtocolError",
        "TimeoutException",
        "UnsupportedProtocol",
        "WriteError",
        "WriteTimeout",
    )
}


def proxy_of(url: Secret | None) -> httpcore2.Proxy | None:
    """The proxy at `url`.

    Raises:
        ValueError, httpx2.InvalidURL: it is none.
        ImportError: it is of a kind that takes a package which is not there.
    """
    if url is None:
        return None
    proxy = httpx2.Proxy(url.reveal())
    if proxy.url.scheme.startswith("socks") and find_spec("socksio") is None:
        # Else the first request would say so, in words of its own.
        raise ImportError("a SOCKS proxy takes a package that is not installed: pip install socksio")
    return httpcore2.Proxy(
        url=httpcore2.URL(
            scheme=proxy.url.raw_scheme, host=proxy.url.raw_host, port=proxy.url.port, target=proxy.url.raw_path
        ),
        auth=proxy.raw_auth,
        headers=proxy.headers.raw,
        ssl_context=proxy.ssl_context,
    )
