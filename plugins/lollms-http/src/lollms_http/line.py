"""A network backend that knows which socket serves which request, so that a request can be ended at any moment.

``response.close()`` of httpx does not wake a read that blocks in another thread, and before the headers there
is no response to close; shutting the socket down does. So the streams made here tell the request's
:class:`Line` about themselves whenever its thread writes through them. This is httpcore's documented seam
(https://www.encode.io/httpcore/network-backends/); httpx itself offers none for it.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import httpcore
import httpx

from lollms_core.chunks import GatheredChunks
from lollms_core.redaction import Secret
from lollms_core.responses import StatusLine

__all__ = ["STATUS_LINE", "CancellableTransport", "Line", "answered_before", "as_httpx", "not_http", "pool_of", "stale"]

STATUS_LINE: Final = "lollms_status_line"
_EXTENSION: Final = "lollms_line"
_current = threading.local()


class Line:
    """What one request holds of the network; :meth:`cut` may be called from any thread.

    Args:
        left: seconds until the request's deadline, None for never.
    """

    def __init__(self, left: Callable[[], float | None]) -> None:
        self._left = left
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._cut = threading.Event()

    @property
    def extensions(self) -> dict[str, Any]:
        """What the httpx request must carry for the transport to find this line."""
        return {_EXTENSION: self}

    @property
    def is_cut(self) -> bool:
        """Whether it was ended by :meth:`cut`."""
        return self._cut.is_set()

    def cut(self) -> None:
        """End whatever the request does at this moment; a read then gives its end."""
        self._cut.set()
        with self._lock:
            _shut_down(self._socket)

    def wait(self, seconds: float) -> bool:
        """Sleep between two tries; True if the line was cut meanwhile."""
        return self._cut.wait(seconds)

    def attach(self, sock: socket.socket | None) -> None:
        """`sock` serves this request now."""
        with self._lock:
            self._socket = sock
            if self._cut.is_set():
                _shut_down(sock)

    @contextlib.contextmanager
    def during_handshake(self, sock: socket.socket) -> Iterator[None]:
        """`sock` serves this request, and is about to be made a TLS socket.

        That takes the descriptor out of `sock`, so until it is done another one for the same connection is held.
        """
        twin = socket.fromfd(sock.fileno(), sock.family, sock.type, sock.proto)
        self.attach(twin)
        try:
            yield
        finally:
            self.attach(None)
            twin.close()

    def hurry(self, seconds: float) -> None:
        """From now on nothing is waited for longer than `seconds`, all together."""
        until = time.monotonic() + seconds
        self._left = lambda: until - time.monotonic()

    def clipped(self, timeout: float | None) -> float | None:
        """`timeout` in seconds, or what is left until the deadline if that is less."""
        left = self._left()
        if left is None:
            return timeout
        left = max(left, 0.001)  # 0 would mean: do not block at all
        return left if timeout is None else min(timeout, left)


def _shut_down(sock: socket.socket | None) -> None:
    if sock is not None:
        # Not SSLSocket.shutdown, which takes the TLS object away from the thread that reads.
        with contextlib.suppress(OSError):
            socket.socket.shutdown(sock, socket.SHUT_RDWR)


class _Stream(httpcore.NetworkStream):
    """A connection that serves one request after the other."""

    def __init__(self, inner: httpcore.NetworkStream) -> None:
        self._inner = inner
        self._line: Line | None = None
        self._status_line = StatusLine()
        self._chunks = GatheredChunks()

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        line = self._line
        data = self._inner.read(max_bytes, timeout if line is None else line.clipped(timeout))
        if not self._status_line.fits(data):
            raise not_http()
        return self._chunks.received(data)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        line: Line | None = getattr(_current, "line", None)
        if line is not self._line:
            self._line = line
            if line is not None:
                line.attach(self._inner.get_extra_info("socket"))
        self._status_line.sent(buffer)
        self._chunks.sent(buffer)
        self._inner.write(buffer, timeout if line is None else line.clipped(timeout))

    def close(self) -> None:
        if self._line is not None:
            self._line.attach(None)
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        line: Line | None = getattr(_current, "line", None)
        if line is None:
            return _Stream(self._inner.start_tls(ssl_context, server_hostname, timeout))
        with line.during_handshake(self._inner.get_extra_info("socket")):
            return _Stream(self._inner.start_tls(ssl_context, server_hostname, line.clipped(timeout)))

    def get_extra_info(self, info: str) -> Any:
        return self._status_line if info == STATUS_LINE else self._inner.get_extra_info(info)


class _Backend(httpcore.SyncBackend):
    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        line: Line | None = getattr(_current, "line", None)
        timeout = timeout if line is None else line.clipped(timeout)
        return _Stream(super().connect_tcp(host, port, timeout, local_address, socket_options))


class _Body(httpx.SyncByteStream):
    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __iter__(self) -> Iterator[bytes]:
        with as_httpx():
            yield from self._inner

    def close(self) -> None:
        self._inner.close()


@contextlib.contextmanager
def as_httpx() -> Iterator[None]:
    """Raise httpcore's exceptions as httpx's of the same names, as httpx's own transport does."""
    try:
        yield
    except (
        httpcore.NetworkError,
        httpcore.ProtocolError,
        httpcore.ProxyError,
        httpcore.TimeoutException,
        httpcore.UnsupportedProtocol,
    ) as error:
        raise getattr(httpx, type(error).__name__)(str(error)) from error


def not_http() -> Exception:
    """What httpcore itself raises for an answer that does not begin as one."""
    return httpcore.RemoteProtocolError("illegal status line")


def answered_before(response: httpcore.Response) -> bool:
    """Whether an answer was there before the request was sent.

    Bytes that follow an answer stay in httpcore's buffer, and are parsed as the answer to the next request of that
    connection, which is somebody else's.
    """
    status_line: StatusLine | None = response.extensions["network_stream"].get_extra_info(STATUS_LINE)
    return status_line is not None and status_line.unheard


def stale() -> Exception:
    """The end of a connection that holds such an answer; as after any that broke, the request goes to another."""
    return httpcore.ReadError("the connection holds an answer that nobody asked for")


def pool_of(
    kinds: tuple[Any, Any, Any],
    ssl_context: ssl.SSLContext | None,
    proxy: Secret | None,
    backend: Any,
    *,
    max_idle: int,
    idle_seconds: float,
) -> Any:
    """The connections of one transport.

    Args:
        kinds: httpcore's classes for no proxy, for an HTTP and for a SOCKS proxy.
        ssl_context: for https, None where the address has none.
        proxy: the URL of a proxy, None for none.
        backend: makes the connections.
        max_idle: connections kept open for the next requests.
        idle_seconds: how long they are.

    Raises:
        ValueError, RuntimeError, ImportError, httpx.InvalidURL: the proxy is none, or of a kind that is not there.
    """
    settings: dict[str, Any] = {
        "ssl_context": ssl_context,
        "max_connections": None,
        "max_keepalive_connections": max_idle,
        "keepalive_expiry": idle_seconds,
        "network_backend": backend,
    }
    plain, http, socks = kinds
    if proxy is None:
        return plain(**settings)
    # httpx.Proxy knows how user and password are written in a proxy's URL.
    through = httpx.Proxy(proxy.reveal())
    kind = socks if through.url.scheme.startswith("socks") else http
    return kind(str(through.url), proxy_auth=through.raw_auth, **settings)


class CancellableTransport(httpx.BaseTransport):
    """httpx over a pool whose streams are registered with their requests.

    Args:
        ssl_context: for https, None where the address has none.
        proxy: the URL of an HTTP proxy, None for none.
        max_idle: connections kept open for the next requests.
        idle_seconds: how long they are.
    """

    def __init__(
        self, ssl_context: ssl.SSLContext | None, proxy: Secret | None, *, max_idle: int, idle_seconds: float
    ) -> None:
        kinds = (httpcore.ConnectionPool, httpcore.HTTPProxy, httpcore.SOCKSProxy)
        self._pool: Any = pool_of(kinds, ssl_context, proxy, _Backend(), max_idle=max_idle, idle_seconds=idle_seconds)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        url = request.url
        sent = httpcore.Request(
            method=request.method,
            url=httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
            headers=request.headers.raw,
            content=request.stream,
            extensions=request.extensions,
        )
        _current.line = request.extensions.get(_EXTENSION)
        try:
            with as_httpx():
                response = self._pool.handle_request(sent)
                if answered_before(response):
                    response.close()
                    raise stale()
        finally:
            _current.line = None
        return httpx.Response(
            status_code=response.status,
            headers=response.headers,
            stream=_Body(response.stream),
            extensions=response.extensions,
        )

    def close(self) -> None:
        self._pool.close()
