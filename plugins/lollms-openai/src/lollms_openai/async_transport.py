"""The transport under the openai package's async client: httpx2's, on connections that hear what is no HTTP."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Iterable
from typing import Any

import httpcore2
import httpx2

from lollms_core.chunks import GatheredChunks
from lollms_core.redaction import Secret
from lollms_core.responses import StatusLine
from lollms_openai.transport import (
    KEEPALIVE_SECONDS,
    STATUS_LINE,
    answered_before,
    as_httpx2,
    not_http,
    proxy_of,
    stale,
)

__all__ = ["AsyncTransport"]


class _Stream(httpcore2.AsyncNetworkStream):
    """A connection that tells from the first bytes whether its peer speaks HTTP."""

    def __init__(self, stream: httpcore2.AsyncNetworkStream) -> None:
        self._stream = stream
        self._status_line = StatusLine()
        self._chunks = GatheredChunks()

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 - httpcore2's signature
        data = await self._stream.read(max_bytes, timeout)
        if not self._status_line.fits(data):
            raise not_http()
        return self._chunks.received(data)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109 - httpcore2's signature
        self._status_line.sent(buffer)
        self._chunks.sent(buffer)
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore2's signature
    ) -> httpcore2.AsyncNetworkStream:
        try:
            return _Stream(await self._stream.start_tls(ssl_context, server_hostname, timeout))
        except BaseException:
            # httpcore2 closes it after an Exception, but not when its task is cancelled.
            await self._stream.aclose()
            raise

    def get_extra_info(self, info: str) -> Any:
        return self._status_line if info == STATUS_LINE else self._stream.get_extra_info(info)


class _Backend(httpcore2.AnyIOBackend):
    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore2's signature
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        return _Stream(await super().connect_tcp(host, port, timeout, local_address, socket_options))


class AsyncTransport(httpx2.AsyncBaseTransport):
    """httpx2's transport on such connections.

    Args:
        context: for TLS, None where the address has none.
        proxy: the URL of a proxy.
    """

    def __init__(self, context: ssl.SSLContext | None, proxy: Secret | None) -> None:
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=context,
            proxy=proxy_of(proxy),
            max_connections=None,
            max_keepalive_connections=100,
            keepalive_expiry=KEEPALIVE_SECONDS,
            network_backend=_Backend(),
        )

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        url = request.url
        with as_httpx2():
            response = await self._pool.handle_async_request(
                httpcore2.Request(
                    method=request.method,
                    url=httpcore2.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
                    headers=request.headers.raw,
                    content=request.stream,
                    extensions=request.extensions,
                )
            )
            if answered_before(response):
                await response.aclose()
                raise stale()
        return httpx2.Response(
            status_code=response.status,
            headers=response.headers,
            stream=_Body(response.stream),
            extensions=response.extensions,
        )

    async def aclose(self) -> None:
        await self._pool.aclose()


class _Body(httpx2.AsyncByteStream):
    def __init__(self, stream: Any) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with as_httpx2():
            async for data in self._stream:
                yield data

    async def aclose(self) -> None:
        await self._stream.aclose()
