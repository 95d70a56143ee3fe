"""The asyncio transport: one httpx.AsyncClient for each event loop that a binding is used in."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from typing import TYPE_CHECKING, Any

from lollms_core import BackendUnavailable, LollmsError
from lollms_core.forks import forget_in_child
from lollms_http.address import Server
from lollms_http.exchange import MAX_ERROR_BYTES, Exchange
from lollms_http.http_sync import (
    DRAIN_SECONDS,
    IDLE_SECONDS,
    MAX_IDLE,
    headers_for,
    naming_the_proxy,
    ssl_context_for,
)

if TYPE_CHECKING:
    import httpx

__all__ = ["AsyncHttp", "AsyncResponse"]

_log = logging.getLogger(__name__)


class AsyncResponse:
    """A response that has begun."""

    def __init__(self, exchange: Exchange, response: httpx.Response) -> None:
        self._exchange = exchange
        self._response = response
        self._raw = response.aiter_bytes()

    @property
    def content_type(self) -> str:
        """What the server says it is."""
        return str(self._response.headers.get("content-type", ""))

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body as it comes.

        Raises:
            LollmsError: it breaks off, comes too late, or is too large.
        """
        import httpx

        exchange = self._exchange
        try:
            while (data := await _within(exchange, anext(self._raw, None))) is not None:
                yield exchange.received(data)
        except (httpx.HTTPError, TimeoutError) as error:
            raise exchange.broken(error) from error

    async def rest(self) -> AsyncGenerator[bytes]:
        """The little that follows a complete answer; where it is read to its end, the connection can be used again."""
        import httpx

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
        except (httpx.HTTPError, TimeoutError) as error:
            _log.debug("%s: the connection cannot be used again: %r", self._exchange.who, error)

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
        self._clients: dict[asyncio.AbstractEventLoop, _LoopClient] = {}
        forget_in_child(self)

    def forget_connections(self) -> None:
        """See :class:`~lollms_core.forks.ForgetsInChild`."""
        self._lock = threading.Lock()
        self._clients = {}

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
        raw = await self._begin(exchange)
        response = AsyncResponse(exchange, raw)
        try:
            exchange.accepted(raw.headers)
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
            clients = list(self._clients.items())
            self._clients.clear()
        for loop, client in clients:
            if loop is not here:
                client.close_from_outside(loop)
        return [client.aclose() for loop, client in clients if loop is here]

    async def _begin(self, exchange: Exchange) -> httpx.Response:
        """The response that is an answer, after as many tries as it takes."""
        import httpx

        while True:
            try:
                exchange.check_deadline()
                response: httpx.Response = await _within(exchange, self._send(exchange))
                if exchange.is_done(response.status_code):
                    return response
                try:
                    words = _within(exchange, _beginning(response))
                    wait = exchange.refused(response.status_code, response.headers, await words)
                finally:
                    await response.aclose()
            except (httpx.HTTPError, TimeoutError) as error:
                wait = exchange.failed(error)
            if isinstance(wait, LollmsError):
                raise wait
            await asyncio.sleep(wait)

    async def _send(self, exchange: Exchange) -> httpx.Response:
        import httpx

        client = await self._opened()
        limits = exchange.limits
        request = client.build_request(
            exchange.call.method,
            exchange.url,
            content=exchange.call.content(),
            headers=exchange.headers,
            timeout=httpx.Timeout(limits.idle, connect=limits.connect, pool=None),
        )
        return await client.send(request, stream=True, follow_redirects=False)

    async def _opened(self) -> httpx.AsyncClient:
        loop = asyncio.get_running_loop()
        with self._lock:
            if self._closed:
                raise BackendUnavailable("the binding is closed; create a new one")
            client = self._clients.get(loop)
            if client is None:
                # A loop that was closed without its farewell (shutdown_asyncgens) cannot be used again.
                self._clients = {known: one for known, one in self._clients.items() if not known.is_closed()}
                if self._ssl_context is None:
                    self._ssl_context = ssl_context_for(self._server)
                client = _LoopClient(self._server, self._ssl_context, lambda: self._forget(loop))
                self._clients[loop] = client
        await client.watch()
        return client.http

    def _forget(self, loop: asyncio.AbstractEventLoop) -> None:
        with self._lock:
            self._clients.pop(loop, None)


async def _beginning(response: httpx.Response) -> bytes:
    """As much of a refusal's body as is worth reading."""
    import httpx

    body = b""
    # What has come says enough, also if the connection then breaks.
    with contextlib.suppress(httpx.HTTPError):
        async for data in response.aiter_bytes():
            body += data
            if len(body) >= MAX_ERROR_BYTES:
                break
    return body[:MAX_ERROR_BYTES]


class _LoopClient:
    """The client of one event loop; it is closed with the loop, if not before.

    A loop closes the async generators that were begun in it before it ends (``shutdown_asyncgens``, which
    asyncio.run and every test runner call), and there is no other sign of its end. So one stands for us.
    """

    def __init__(self, server: Server, ssl_context: Any, on_end: Callable[[], None]) -> None:
        import httpx

        from lollms_http.async_line import AsyncTransport

        with naming_the_proxy(server):
            transport = AsyncTransport(ssl_context, server.proxy, max_idle=MAX_IDLE, idle_seconds=IDLE_SECONDS)
        # The environment has been asked already; .netrc shall not put its own key in place of ours.
        self.http = httpx.AsyncClient(transport=transport, headers=headers_for(server), trust_env=False)
        self._end = _closes_with_its_loop(self.http, on_end)
        self._watched = False

    async def watch(self) -> None:
        """Be told when the loop ends."""
        if not self._watched:
            self._watched = True
            await anext(self._end)

    async def aclose(self) -> None:
        """Close it now; in its own loop."""
        await self.http.aclose()
        await self._end.aclose()

    def close_from_outside(self, loop: asyncio.AbstractEventLoop) -> None:
        """Have it closed, from another thread or outside of any loop."""
        # A loop that is closed has closed us before it was.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(lambda: _keep(loop.create_task(self.aclose())))


async def _closes_with_its_loop(client: httpx.AsyncClient, on_end: Callable[[], None]) -> AsyncGenerator[None]:
    try:
        yield
    finally:
        on_end()
        await client.aclose()


_running: set[asyncio.Task[None]] = set()


def _keep(task: asyncio.Task[None]) -> None:
    """The loop itself holds its tasks only weakly."""
    _running.add(task)
    task.add_done_callback(_running.discard)
