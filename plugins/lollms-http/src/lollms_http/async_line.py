"""The asyncio twin of :mod:`~lollms_http.line`: here cancelling a task ends its reads, and no line is needed.

What is left is to tell from the first bytes whether it is HTTP that the peer speaks.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Iterable
from typing import Any

import httpcore
import httpx

from lollms_core.chunks import GatheredChunks
from lollms_core.redaction import Secret
from lollms_core.responses import StatusLine
from lollms_http.line import STATUS_LINE, answered_before, as_httpx, not_http, pool_of, stale

__all__ = ["AsyncTransport"]


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


class _Body(httpx.AsyncByteStream):
    def __init__(self, inner: Any) -> None:
        self._inner = inner

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with as_httpx():
            async for data in self._inner:
                yield data

    async def aclose(self) -> None:
        await self._inner.aclose()


class AsyncTransport(httpx.AsyncBaseTransport):
    """httpx over a pool of such connections; arguments as for :class:`~lollms_http.line.CancellableTransport`."""

    def __init__(
        self, ssl_context: ssl.SSLContext | None, proxy: Secret | None, *, max_idle: int, idle_seconds: float
    ) -> None:
        kinds = (httpcore.AsyncConnectionPool, httpcore.AsyncHTTPProxy, httpcore.AsyncSOCKSProxy)
        self._pool: Any = pool_of(kinds, ssl_context, proxy, _Backend(), max_idle=max_idle, idle_seconds=idle_seconds)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        url = request.url
        sent = httpcore.Request(
            method=request.method,
            url=httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
            headers=request.headers.raw,
            content=request.stream,
            extensions=request.extensions,
        )
        with as_httpx():
            response = await self._pool.handle_async_request(sent)
            if answered_before(response):
                await response.aclose()
                raise stale()
        return httpx.Response(
            status_code=response.status,
            headers=response.headers,
            stream=_Body(response.stream),
            extensions=response.extensions,
        )

    async def aclose(self) -> None:
        await self._pool.aclose()
