"""Does what operations ask for, on asyncio."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, Self, TypeVar

from lollms_core import BackendTimeout, ProtocolError
from lollms_openai.clients import Clients, request_options
from lollms_openai.exchange import Answer, Ask, Effect, Operation, Read
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
        deadline: seconds in total, None for no limit.
    """

    def __init__(self, clients: Clients, server: Server, deadline: float | None = None) -> None:
        self._clients = clients
        self._server = server
        self._deadline = deadline
        self._until = None if deadline is None else asyncio.get_running_loop().time() + deadline
        self._response: httpx2.Response | None = None
        self._ask = Ask("GET", "")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._close_response()

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

        from lollms_openai.refusals import while_reading

        assert self._response is not None
        pieces = self._response.aiter_bytes()
        try:
            while True:
                # A timer for each piece costs something, so only where there is a limit.
                piece = await (anext(pieces) if self._until is None else self._in_time(anext(pieces)))
                yield piece
        except StopAsyncIteration:
            return
        except (httpx2.TransportError, httpx2.DecodingError) as exc:
            raise while_reading(exc, self._ask, who) from exc
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
            limit = f"the deadline of {self._deadline:g} s" if self._deadline is not None else "it should"
            raise BackendTimeout(f"{self._server.who}: the answer took longer than {limit}") from None

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
        self._ask = ask
        client = await self._clients.here()
        options = request_options(ask, self._server)
        try:
            if ask.method == "GET":
                response = await client.get(ask.path, cast_to=httpx2.Response, options=options)
            else:
                response = await client.post(ask.path, cast_to=httpx2.Response, body=ask.body, options=options)
        except RefusedError as exc:
            return exc.answer
        except (openai.OpenAIError, httpx2.TransportError) as exc:
            failure = no_answer(exc, ask, self._server)
            raise failure from failure.__cause__
        self._response = response
        return Answer(response.status_code, response.headers)

    async def _read(self, limit: int) -> bytes:
        body = bytearray()
        async with contextlib.aclosing(self.pieces(self._server.who)) as pieces:  # type: ignore[type-var]
            async for piece in pieces:
                body += piece
                if len(body) > limit:
                    raise ProtocolError(f"{self._server.who} sent an answer of more than {limit} bytes")
        return bytes(body)

    async def _close_response(self) -> None:
        response, self._response = self._response, None
        if response is not None:
            await response.aclose()


async def run_all(clients: Clients, server: Server, operations: Sequence[Operation[_T]], limit: int) -> list[_T]:
    """The operations' results in their order, at most `limit` of them under way at the same time.

    The first that fails ends the others.

    Raises:
        LollmsError: what that one raises.
    """
    gate = asyncio.Semaphore(limit)

    async def run(operation: Operation[_T]) -> _T:
        async with gate, AsyncSide(clients, server) as side:
            return await side.run(operation)

    tasks = [asyncio.ensure_future(run(operation)) for operation in operations]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
