"""The asyncio twin of :mod:`~lollms_http.line`: here cancelling a task ends its reads, and no line is needed.

What is left is to tell from the first bytes whether it is HTTP that the peer speaks.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from typing import Any

import httpcore

from lollms_core.chunks import GatheredChunks
from lollms_core.responses import StatusLine
from lollms_http.address import Server
from lollms_http.line import STATUS_LINE, answered_before, not_http, stale
from lollms_http.pools import pool_to

__all__ = ["AsyncPool"]


class _Stream(httpcore.AsyncNetworkStream):
    """A connection that hears what is no HTTP."""

    def __init__(self, inner: httpcore.AsyncNetworkStream) -> None:
        self._inner = inner
        self._status_line = StatusLine()
        self._chunks = GatheredChunks()

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 - httpcore's signature
        data = await self._inner.read(max_bytes, timeout)
        if not self._status_line.fits(data):
            raise not_http()
        return self._chunks.received(data)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109 - httpcore's signature
        self._status_line.sent(buffer)
        self._chunks.sent(buffer)
        await self._inner.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's signature
    ) -> httpcore.AsyncNetworkStream:
        try:
            return _Stream(await self._inner.start_tls(ssl_context, server_hostname, timeout))
        except BaseException:
            # httpcore closes it after an Exception, but not when its task is cancelled.
            await self._inner.aclose()
            raise

    def get_extra_info(self, info: str) -> Any:
        return self._status_line if info == STATUS_LINE else self._inner.get_extra_info(info)


class _Backend(httpcore.AnyIOBackend):
    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's signature
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        return _Stream(await super().connect_tcp(host, port, timeout, local_address, socket_options))


class AsyncPool:
    """The connections from one event loop to one server.

    Args:
        server: where they go.
        ssl_context: for https, None where the address has none.

    Raises:
        BackendUnavailable: the proxy before it cannot be used.
    """

    def __init__(self, server: Server, ssl_context: ssl.SSLContext | None) -> None:
        kinds = (httpcore.AsyncConnectionPool, httpcore.AsyncHTTPProxy, httpcore.AsyncSOCKSProxy)
        self._pool: Any = pool_to(server, kinds, ssl_context, _Backend())

    async def send(self, request: httpcore.Request) -> httpcore.Response:
        """The response to `request`, to be closed; its body is still to be read."""
        response: httpcore.Response = await self._pool.handle_async_request(request)
        if answered_before(response):
            await response.aclose()
            raise stale()
        return response

    async def aclose(self) -> None:
        """Close all of them."""
        await self._pool.aclose()
