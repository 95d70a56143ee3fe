"""A network backend that knows which socket serves which request, so that a request can be ended at any moment.

``response.close()`` does not wake a read that blocks in another thread, and before the headers there
is no response to close; shutting the socket down does. So the streams made here tell the request's
:class:`Line` about themselves whenever its thread writes through them. This is httpcore's documented seam
(https://www.encode.io/httpcore/network-backends/).
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

from lollms_core.chunks import GatheredChunks
from lollms_core.responses import StatusLine
from lollms_http.address import Server
from lollms_http.pools import pool_to, ssl_context_for

__all__ = ["STATUS_LINE", "Line", "LinePool", "answered_before", "not_http", "stale"]

STATUS_LINE: Final = "lollms_status_line"
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


class LinePool:
    """The connections to one server, registered with the requests that they serve.

    Args:
        server: where they go.

    Raises:
        BackendUnavailable: the proxy before it, or the certificates, cannot be used.
    """

    def __init__(self, server: Server) -> None:
        kinds = (httpcore.ConnectionPool, httpcore.HTTPProxy, httpcore.SOCKSProxy)
        self._pool: Any = pool_to(server, kinds, ssl_context_for(server), _Backend())

    def send(self, request: httpcore.Request, line: Line) -> httpcore.Response:
        """The response to `request`, to be closed; its body is still to be read."""
        _current.line = line
        try:
            response: httpcore.Response = self._pool.handle_request(request)
        finally:
            _current.line = None
        if answered_before(response):
            response.close()
            raise stale()
        return response

    def close(self) -> None:
        """Close all of them."""
        self._pool.close()
