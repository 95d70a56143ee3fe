"""Does what operations ask for, on asyncio."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, Self, TypeVar

from lollms_core import BackendTimeout, ProtocolError
from lollms_core.failures import in_answer
from lollms_openai.clients import Clients, request_options
from lollms_openai.exchange import Answer, Ask, Effect, Operation, Read
from lollms_openai.limits import Limits
from lollms_openai.server import Server

if TYPE_CHECKING:
    import httpx2

__all__ = ["AsyncSide", "run_all"]

_T = TypeVar("_T")


class AsyncSide:
    """One operation, and what is then to be read; an async context manager.

    Args:
        clients: where the client comes from.
        server: whom it talks to.
        limits: what all of it together may take.

    Errors leave it without the server's key, also in the locals of its frames.
    """

    def __init__(self, clients: Clients, server: Server, limits: Limits) -> None:
        self._clients = clients
        self._server = server
        self._limits = limits
        left = None if limits.until is None else limits.until - time.monotonic()
        self._until = None if left is None else asyncio.get_running_loop().time() + left
        self._response: httpx2.Response | None = None
        self._idle = limits.idle
        self._received = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, _: object, exc: BaseException | None, __: object) -> None:
        await self._close_response()
        if isinstance(exc, Exception):
            self._server.redaction.error(exc)

    async def run(self, operation: Operation[_T]) -> _T:
        """The operation's result.

        Raises:
            LollmsError: what the operation raises.
        """
        try:
            effect = next(operation)
            while True:
                try:
                    result = await self._in_time(self._do(effect))
                except Exception as exc:  # noqa: BLE001 - the operation judges it
                    effect = operation.throw(exc)
                else:
                    effect = operation.send(result)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        finally:
            operation.close()

    async def pieces(self, who: str) -> AsyncIterator[bytes]:
        """The bytes of the last answer's body as they come.

        Raises:
            BackendTimeout, StreamInterrupted, ProtocolError: reading failed.
        """
        import httpx2

        assert self._response is not None
        pieces = self._response.aiter_bytes()
        try:
            while True:
                # A timer for each piece costs something, so only where there is a limit.
                piece = await (anext(pieces) if self._until is None else self._in_time(anext(pieces)))
                self._received += len(piece)
                if self._received > self._limits.size:
                    raise ProtocolError(f"{who} sent more than {self._limits.size} bytes (max_response_bytes)")
                yield piece
        except StopAsyncIteration:
            return
        except (httpx2.TransportError, httpx2.DecodingError) as exc:
            raise in_answer(exc, who=who, idle=self._idle) from exc
        finally:
            await pieces.aclose()  # an async generator

    def hurry(self, seconds: float) -> None:
        """What is still to be read is worth waiting so long, not longer."""
        until = asyncio.get_running_loop().time() + seconds
        self._until = until if self._until is None else min(self._until, until)

    async def _in_time(self, work: Coroutine[Any, Any, _T]) -> _T:
        try:
            async with asyncio.timeout_at(self._until):
                return await work
        except TimeoutError:
            deadline = self._limits.deadline
            limit = f"the deadline of {deadline:g} s" if deadline is not None else "it should"
            raise BackendTimeout(f"{self._server.who} took longer than {limit}") from None

    async def _do(self, effect: Effect) -> Answer | bytes | None:
        if isinstance(effect, Ask):
            return await self._send(effect)
        if isinstance(effect, Read):
            return await self._read(effect.limit)
        await asyncio.sleep(effect.seconds)
        return None

    async def _send(self, ask: Ask) -> Answer:
        import httpx2
        import openai

        from lollms_openai.refusals import RefusedError, no_answer

        await self._close_response()
        self._idle, self._received = min(ask.idle, self._limits.idle), 0
        client = await self._clients.here()
        times = {"idle": self._idle, "connect": self._limits.connect}
        options = request_options(self._server, **times)
        try:
            if ask.method == "GET":
                response = await client.get(ask.path, cast_to=httpx2.Response, options=options)
            else:
                response = await client.post(ask.path, cast_to=httpx2.Response, body=ask.body, options=options)
        except RefusedError as exc:
            return exc.answer
        except (openai.OpenAIError, httpx2.TransportError) as exc:
            failure = no_answer(exc, self._server.redaction, who=ask.who(self._server), **times)
            raise failure from failure.__cause__
        self._response = response
        return Answer(response.status_code, self._server.redaction.headers(response.headers))

    async def _read(self, limit: int | None) -> bytes:
        body = bytearray()
        async with contextlib.aclosing(self.pieces(self._server.who)) as pieces:  # type: ignore[type-var]
            async for piece in pieces:
                body += piece
                if limit is not None and len(body) > limit:
                    raise ProtocolError(f"{self._server.who} sent an answer of more than {limit} bytes")
        return bytes(body)

    async def _close_response(self) -> None:
        response, self._response = self._response, None
        if response is not None:
            await response.aclose()


async def run_all(
    clients: Clients, server: Server, limits: Limits, operations: Sequence[Operation[_T]], at_once: int
) -> list[_T]:
    """The operations' results in their order, at most `at_once` of them under way at the same time.

    The first that fails ends the others.

    Raises:
        LollmsError: what that one raises.
    """
    gate = asyncio.Semaphore(at_once)

    async def run(operation: Operation[_T]) -> _T:
        async with gate, AsyncSide(clients, server, limits) as side:
            return await side.run(operation)

    tasks = [asyncio.ensure_future(run(operation)) for operation in operations]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
