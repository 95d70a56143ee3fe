"""Runs what :mod:`~lollms_ollama.steps` asks, through the blocking or the asyncio transport."""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import TYPE_CHECKING, Any, Final, TypeVar

from lollms_core import BackendUnavailable, LollmsError, StreamInterrupted
from lollms_core.control import Control
from lollms_core.redaction import LogGuard
from lollms_ollama.address import Server
from lollms_ollama.calls import Call
from lollms_ollama.exchange import Exchange, Limits
from lollms_ollama.http_sync import SyncHttp
from lollms_ollama.records import Records, parse
from lollms_ollama.steps import Several, Step, Steps, Wait, Work

if TYPE_CHECKING:
    from lollms_ollama.http_async import AsyncHttp

__all__ = ["Asker"]

_LOGGERS: Final = (
    "httpx",
    *(f"httpcore.{name}" for name in ("connection", "http11", "http2", "proxy", "socks")),
)
"""Who prints what a server sends; asyncio does not."""

_Result = TypeVar("_Result")

Reader = Callable[[str], Records[Any]]
"""Makes the reader of a response from its content type."""


class Asker:
    """One server, to be asked from any thread and any event loop.

    What it raises shows no key, not even in the locals of a traceback: each way out has every error cleaned.

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
        self._guard: LogGuard | None = None
        self._closed = False

    # Streams ----------------------------------------------------------------------------------------------

    def read(self, call: Call, limits: Limits, control: Control, reader_for: Reader) -> Iterator[Any]:
        """The events of the streamed answer to `call`; closing the iterator closes the connection."""
        data = b""
        try:
            with self._sync.open(self._exchange(call, limits), control) as response:
                reader = reader_for(response.content_type)
                try:
                    for data in response.pieces():
                        yield from reader.feed(data)
                        if reader.done:
                            break
                except StreamInterrupted as broken:
                    # The last record may lack nothing but its line end.
                    yield from _last_of(reader, broken)
                    return
                yield from reader.close()
                response.drain()
        except Exception as error:
            data = b""
            self._clean(error)
            raise

    async def aread(self, call: Call, limits: Limits, reader_for: Reader) -> AsyncGenerator[Any]:
        """The same for asyncio."""
        data = b""
        try:
            async with self._asynchronous().open(self._exchange(call, limits)) as response:
                reader = reader_for(response.content_type)
                try:
                    async for data in response.pieces():
                        for event in reader.feed(data):
                            yield event
                        if reader.done:
                            break
                except StreamInterrupted as broken:
                    for event in _last_of(reader, broken):
                        yield event
                    return
                for event in reader.close():
                    yield event
                await response.drain()
        except Exception as error:
            data = b""
            self._clean(error)
            raise

    # Procedures -------------------------------------------------------------------------------------------

    def run(self, procedure: Steps[_Result], limits: Limits, control: Control | None) -> _Result:
        """The result of `procedure`, in this thread.

        Args:
            procedure: what to ask.
            limits: what all of it together may take.
            control: ends it from another thread; then it is a BackendUnavailable.
        """
        answer = None
        try:
            step = next(procedure)
            while True:
                try:
                    answer = self._step(step, limits, control)
                except LollmsError as error:
                    self._clean(error)  # a procedure may log it
                    if control is not None and control.cancelled:
                        raise self._cancelled() from error
                    step = procedure.throw(error)
                else:
                    step = procedure.send(answer)
        except StopIteration as end:
            result: _Result = end.value
            return result
        except Exception as error:
            answer = None
            self._clean(error)
            raise
        finally:
            procedure.close()

    async def arun(self, procedure: Steps[_Result], limits: Limits) -> _Result:
        """The same in an event loop; it ends with its task."""
        answer = None
        try:
            step = next(procedure)
            while True:
                try:
                    answer = await self._astep(step, limits)
                except LollmsError as error:
                    self._clean(error)
                    step = procedure.throw(error)
                else:
                    step = procedure.send(answer)
        except StopIteration as end:
            result: _Result = end.value
            return result
        except Exception as error:
            answer = None
            self._clean(error)
            raise
        finally:
            procedure.close()

    # Ending -----------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Close all connections; from now on every request is refused."""
        asynchronous = self._end()
        if asynchronous is not None:
            asynchronous.close()

    async def aclose(self) -> None:
        """The same for asyncio; the connections of this event loop are closed when it returns."""
        asynchronous = self._end()
        if asynchronous is not None:
            await asynchronous.aclose()

    def _end(self) -> AsyncHttp | None:
        self._sync.close()
        with self._lock:
            self._closed = True
            if self._guard is not None:
                self._guard.close()
            return self._async

    # ------------------------------------------------------------------------------------------------------

    def _step(self, step: Step, limits: Limits, control: Control | None) -> Any:
        if isinstance(step, Work):
            return step.run()
        if isinstance(step, Wait):
            return None  # a blocking call in an event loop's thread cannot wait for that loop
        if isinstance(step, Several):
            return self._several(step, limits, control)
        return self._parsed(step, self._sync.fetch(self._exchange(step, limits), control))

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
        if isinstance(step, Several):
            return await self._aseveral(step, limits)
        return self._parsed(step, await self._asynchronous().fetch(self._exchange(step, limits)))

    def _several(self, step: Several, limits: Limits, control: Control | None) -> list[Any]:
        together = Control()  # ends all of them, and nothing else
        first_failure: list[BaseException] = []

        def ask(call: Call) -> Any:
            try:
                if together.cancelled:
                    raise self._cancelled()
                return step.read(call, self._step(call, limits, together))
            except BaseException as error:
                first_failure.append(error)  # those that follow are of our own making
                together.cancel()
                raise

        if len(step.calls) == 1 or step.at_once == 1:
            return [step.read(call, self._step(call, limits, control)) for call in step.calls]
        from concurrent.futures import ThreadPoolExecutor

        forget = control.on_cancel(together.cancel) if control is not None else None
        workers = ThreadPoolExecutor(min(len(step.calls), step.at_once), thread_name_prefix="lollms-ollama")
        try:
            return [done.result() for done in [workers.submit(ask, call) for call in step.calls]]
        except Exception:
            if first_failure:
                raise first_failure[0] from first_failure[0].__cause__
            raise
        finally:
            # Also where this thread is interrupted: what still runs ends at once, and is waited for.
            together.cancel()
            workers.shutdown(cancel_futures=True)
            if forget is not None:
                forget()

    async def _aseveral(self, step: Several, limits: Limits) -> list[Any]:
        import asyncio

        found: list[Any] = [None] * len(step.calls)
        left = iter(enumerate(step.calls))

        async def work() -> None:
            for place, call in left:  # each takes the next
                found[place] = step.read(call, await self._astep(call, limits))

        workers = [asyncio.create_task(work()) for _ in range(min(len(step.calls), step.at_once))]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
        return found

    def _parsed(self, call: Call, data: bytes) -> dict[str, Any]:
        if call.says_nothing:
            return {}
        found = parse(data, self._who, redaction=self._server.redaction)
        if call.is_large:
            return found
        described: dict[str, Any] = self._server.redaction.value(found)
        return described

    def _clean(self, error: Exception) -> None:
        self._server.redaction.error(error)

    def _cancelled(self) -> BackendUnavailable:
        return BackendUnavailable(f"{self._who}: the request was cancelled")

    def _exchange(self, call: Call, limits: Limits) -> Exchange:
        if self._guard is None:
            with self._lock:
                if not self._closed and self._guard is None:
                    self._guard = LogGuard(self._server.redaction, _LOGGERS)
                    # For a binding that nobody closes.
                    weakref.finalize(self, self._guard.close)
        return Exchange(self._server, self._who, call, limits)

    def _asynchronous(self) -> AsyncHttp:
        with self._lock:
            if self._closed:
                raise BackendUnavailable(f"{self._who}: the binding is closed; create a new one")
            if self._async is None:
                from lollms_ollama.http_async import AsyncHttp

                self._async = AsyncHttp(self._server)
            return self._async


def _last_of(reader: Records[Any], broken: StreamInterrupted) -> Iterator[Any]:
    """The events that the end of a broken stream leaves.

    Raises:
        StreamInterrupted: `broken`, where the answer is not complete.
    """
    try:
        yield from reader.close()
    except StreamInterrupted:
        raise broken from broken.__cause__
