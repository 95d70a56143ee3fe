"""Runs what :mod:`~lollms_ollama.steps` asks, through the blocking or the asyncio transport."""

from __future__ import annotations

import contextlib
import threading
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import TYPE_CHECKING, Any, TypeVar

from lollms_core import BackendUnavailable, LollmsError
from lollms_core.control import Control
from lollms_ollama.address import Server
from lollms_ollama.answers import parse
from lollms_ollama.calls import Call
from lollms_ollama.exchange import Exchange, Limits
from lollms_ollama.http_sync import Response, SyncHttp
from lollms_ollama.steps import Step, Steps, Wait, Work

if TYPE_CHECKING:
    from lollms_ollama.http_async import AsyncHttp, AsyncResponse

__all__ = ["Asker"]

_Result = TypeVar("_Result")


class Asker:
    """One server, to be asked from any thread and any event loop.

    Args:
        server: where it is.
        who: binding and host, for messages.
    """

    def __init__(self, server: Server, who: str) -> None:
        self._server = server
        self._who = who
        self._sync = SyncHttp(server)
        self._async: AsyncHttp | None = None
        self._lock = threading.Lock()
        self._closed = False

    def open(self, call: Call, limits: Limits, control: Control | None = None) -> AbstractContextManager[Response]:
        """The response to `call`, to be read as it comes; see :meth:`SyncHttp.open`."""
        return self._sync.open(self._exchange(call, limits), control)

    def aopen(self, call: Call, limits: Limits) -> AbstractAsyncContextManager[AsyncResponse]:
        """The same for asyncio."""
        return self._asynchronous().open(self._exchange(call, limits))

    def run(self, procedure: Steps[_Result], limits: Limits, control: Control | None) -> _Result:
        """The result of `procedure`, in this thread."""
        try:
            step = next(procedure)
            while True:
                try:
                    answer = self._step(step, limits, control)
                except LollmsError as error:
                    step = procedure.throw(error)
                else:
                    step = procedure.send(answer)
        except StopIteration as end:
            result: _Result = end.value
            return result
        finally:
            procedure.close()

    async def arun(self, procedure: Steps[_Result], limits: Limits) -> _Result:
        """The same in an event loop."""
        try:
            step = next(procedure)
            while True:
                try:
                    answer = await self._astep(step, limits)
                except LollmsError as error:
                    step = procedure.throw(error)
                else:
                    step = procedure.send(answer)
        except StopIteration as end:
            result: _Result = end.value
            return result
        finally:
            procedure.close()

    def close(self) -> None:
        """Close all connections; from now on every request is refused."""
        self._sync.close()
        with self._lock:
            self._closed = True
            asynchronous = self._async
        if asynchronous is not None:
            asynchronous.close()

    async def aclose(self) -> None:
        """The same for asyncio; the connections of this event loop are closed when it returns."""
        self._sync.close()
        with self._lock:
            self._closed = True
            asynchronous = self._async
        if asynchronous is not None:
            await asynchronous.aclose()

    def _step(self, step: Step, limits: Limits, control: Control | None) -> Any:
        if isinstance(step, Work):
            return step.run()
        if isinstance(step, Wait):
            return None  # a blocking call in an event loop's thread cannot wait for that loop
        return parse(self._sync.fetch(self._exchange(step, limits), control), self._who)

    async def _astep(self, step: Step, limits: Limits) -> Any:
        if isinstance(step, Work):
            import asyncio

            return await asyncio.to_thread(step.run)
        if isinstance(step, Wait):
            import asyncio

            # Too late is told by the question that comes next.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(limits.left()):
                    await step.answered.wait()
            return None
        return parse(await self._asynchronous().fetch(self._exchange(step, limits)), self._who)

    def _exchange(self, call: Call, limits: Limits) -> Exchange:
        return Exchange(self._server, self._who, call, limits)

    def _asynchronous(self) -> AsyncHttp:
        with self._lock:
            if self._closed:
                raise BackendUnavailable(f"{self._who}: the binding is closed; create a new one")
            if self._async is None:
                from lollms_ollama.http_async import AsyncHttp

                self._async = AsyncHttp(self._server)
            return self._async
