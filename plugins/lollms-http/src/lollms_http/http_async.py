"""The asyncio transport: one pool of connections for each event loop that a binding is used in."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from typing import Any

import httpcore

from lollms_core import BackendUnavailable, LollmsError
from lollms_core.forks import forget_in_child
from lollms_http.address import Server
from lollms_http.async_line import AsyncPool
from lollms_http.cookies import Cookies
from lollms_http.exchange import MAX_ERROR_BYTES, Exchange
from lollms_http.http_sync import DRAIN_SECONDS
from lollms_http.pools import ssl_context_for
from lollms_http.wire import ERRORS, adecoded, headers_of, headers_to, request_of

__all__ = ["AsyncHttp", "AsyncResponse"]

_log = logging.getLogger(__name__)


class AsyncResponse:
    """A response that has begun; attributes as of :class:`~lollms_http.http_sync.Response`."""

    def __init__(self, exchange: Exchange, response: httpcore.Response) -> None:
        self.status = response.status
        self.headers = headers_of(response)
        self._exchange = exchange
        self._response = response
        self._raw = adecoded(response.stream, self.headers)  # type: ignore[arg-type]  # the stream of an async pool

    @property
    def content_type(self) -> str:
        """What the server says it is."""
        return self.headers.get("content-type", "")

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body as it comes.

        Raises:
            LollmsError: it breaks off, comes too late, or is too large.
        """
        exchange = self._exchange
        try:
            while (data := await _within(exchange, anext(self._raw, None))) is not None:
                yield exchange.received(data)
        except (*ERRORS, TimeoutError) as error:
            raise exchange.broken(error) from error

    async def rest(self) -> AsyncGenerator[bytes]:
        """The little that follows a complete answer; where it is read to its end, the connection can be used again."""
        until = time.monotonic() + DRAIN_SECONDS
        left = MAX_ERROR_BYTES
        try:
            while left >= 0:
                async with asyncio.timeout(until - time.monotonic()):
                    data = await anext(self._raw, None)
                if data is None:
                    return
                left -= len(data)
                yield data
        except (*ERRORS, TimeoutError) as error:
            _log.debug("%s: the connection cannot be used again: %r", self._exchange.who, error)

    async def beginning(self) -> bytes:
        """As much of a refusal's body as is worth reading."""
        body = b""
        # What has come says enough, also if the connection then breaks.
        with contextlib.suppress(*ERRORS):
            async for data in self._raw:
                body += data
                if len(body) >= MAX_ERROR_BYTES:
                    break
        return body[:MAX_ERROR_BYTES]

    async def aclose(self) -> None:
        """Free the connection, or close it if the body was not read to its end."""
        await self._raw.aclose()  # type: ignore[attr-defined]  # an async generator
        await self._response.aclose()


async def _within(exchange: Exchange, work: Any) -> Any:
    """The result of `work`, a TimeoutError if the deadline comes first."""
    left = exchange.limits.left()
    if left is None:
        return await work
    async with asyncio.timeout(left):
        return await work


class AsyncHttp:
    """Sends exchanges to one server, from any task of any event loop."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._lock = threading.Lock()
        self._closed = False
        self._ssl_context: Any = None
        self._headers = headers_to(server)
        self._cookies = Cookies()
        self._pools: dict[asyncio.AbstractEventLoop, _LoopPool] = {}
        forget_in_child(self)

    def forget_connections(self) -> None:
        """See :class:`~lollms_core.forks.ForgetsInChild`."""
        self._lock = threading.Lock()
        self._pools = {}
        self._cookies = Cookies()

    async def fetch(self, exchange: Exchange) -> bytes:
        """The whole body of the response.

        Raises:
            LollmsError: what went wrong.
        """
        async with self.open(exchange) as response:
            return b"".join([data async for data in response.pieces()])

    @contextlib.asynccontextmanager
    async def open(self, exchange: Exchange) -> AsyncGenerator[AsyncResponse]:
        """The response; afterwards its connection is free for the next request, or closed.

        Raises:
            LollmsError: what went wrong.
        """
        response = await self._begin(exchange)
        try:
            exchange.accepted(response.headers)
            yield response
        finally:
            await response.aclose()

    async def aclose(self) -> None:
        """Close the connections of every loop; those of other loops are closed there, a moment later."""
        await asyncio.gather(*self._closing(asyncio.get_running_loop()))

    def close(self) -> None:
        """The same without a loop of one's own."""
        self._closing(None)

    def _closing(self, here: asyncio.AbstractEventLoop | None) -> list[Coroutine[Any, Any, None]]:
        with self._lock:
            self._closed = True
            pools = list(self._pools.items())
            self._pools.clear()
        for loop, pool in pools:
            if loop is not here:
                pool.close_from_outside(loop)
        return [pool.aclose() for loop, pool in pools if loop is here]

    async def _begin(self, exchange: Exchange) -> AsyncResponse:
        """The response that is an answer, after as many tries as it takes."""
        while True:
            try:
                exchange.check_deadline()
                response: AsyncResponse = await _within(exchange, self._send(exchange))
                if exchange.is_done(response.status):
                    return response
                try:
                    words = await _within(exchange, response.beginning())
                    wait = exchange.refused(response.status, response.headers, words)
                finally:
                    await response.aclose()
            except (*ERRORS, TimeoutError) as error:
                wait = exchange.failed(error)
            if isinstance(wait, LollmsError):
                raise wait
            await asyncio.sleep(wait)

    async def _send(self, exchange: Exchange) -> AsyncResponse:
        pool = await self._opened()
        request = request_of(exchange, self._headers, self._cookies)
        answer = await pool.send(request)
        response = AsyncResponse(exchange, answer)
        if "set-cookie" in response.headers:
            self._cookies.keep(exchange.url, answer.headers)
        _log.debug("%s: %s %s: status %d", exchange.who, exchange.call.method, exchange.call.path, response.status)
        return response

    async def _opened(self) -> AsyncPool:
        loop = asyncio.get_running_loop()
        with self._lock:
            if self._closed:
                raise BackendUnavailable("the binding is closed; create a new one")
            pool = self._pools.get(loop)
            if pool is None:
                # A loop that was closed without its farewell (shutdown_asyncgens) cannot be used again.
                self._pools = {known: one for known, one in self._pools.items() if not known.is_closed()}
                if self._ssl_context is None:
                    self._ssl_context = ssl_context_for(self._server)
                pool = _LoopPool(self._server, self._ssl_context, lambda: self._forget(loop))
                self._pools[loop] = pool
        await pool.watch()
        return pool.connections

    def _forget(self, loop: asyncio.AbstractEventLoop) -> None:
        with self._lock:
            self._pools.pop(loop, None)


class _LoopPool:
    """The connections of one event loop; it is closed with the loop, if not before.

    A loop closes the async generators that were begun in it before it ends (``shutdown_asyncgens``, which
    asyncio.run and every test runner call), and there is no other sign of its end. So one stands for us.
    """

    def __init__(self, server: Server, ssl_context: Any, on_end: Callable[[], None]) -> None:
        self.connections = AsyncPool(server, ssl_context)
        self._end = _closes_with_its_loop(self.connections, on_end)
        self._watched = False

    async def watch(self) -> None:
        """Be told when the loop ends."""
        if not self._watched:
            self._watched = True
            await anext(self._end)

    async def aclose(self) -> None:
        """Close it now; in its own loop."""
        await self.connections.aclose()
        await self._end.aclose()

    def close_from_outside(self, loop: asyncio.AbstractEventLoop) -> None:
        """Have it closed, from another thread or outside of any loop."""
        # A loop that is closed has closed us before it was.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(lambda: _keep(loop.create_task(self.aclose())))


async def _closes_with_its_loop(connections: AsyncPool, on_end: Callable[[], None]) -> AsyncGenerator[None]:
    try:
        yield
    finally:
        on_end()
        await connections.aclose()


_running: set[asyncio.Task[None]] = set()


def _keep(task: asyncio.Task[None]) -> None:
    """The loop itself holds its tasks only weakly."""
    _running.add(task)
    task.add_done_callback(_running.discard)
