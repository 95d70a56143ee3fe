"""Asks one server what :mod:`~lollms_http.steps` says, through the blocking or the asyncio transport."""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from lollms_core import BackendUnavailable, Event, LollmsError, ProtocolError, StreamInterrupted
from lollms_core.control import Control
from lollms_core.redaction import LogGuard
from lollms_http.address import Server
from lollms_http.answer import NOT_READABLE, Answer, Reader, parse, quoted
from lollms_http.call import Call
from lollms_http.exchange import Exchange, Limits
from lollms_http.framing import Framing, decoder_for
from lollms_http.steps import Several, Step, Steps, Wait, Work

if TYPE_CHECKING:
    from lollms_http.http_async import AsyncHttp
    from lollms_http.http_sync import SyncHttp

__all__ = ["LOGGERS", "HttpClient", "Meaning"]

LOGGERS: Final = tuple(f"httpcore.{name}" for name in ("connection", "http11", "http2", "proxy", "socks"))
"""Who prints what a server sends; asyncio does not."""

_Result = TypeVar("_Result")

Meaning = Callable[[LollmsError, str | None], LollmsError]
"""What an error that the server tells about a model is for the caller: the same, or a more telling one."""


class HttpClient:
    """One server, to be asked from any thread and any event loop.

    What it raises shows no key, not even in the locals of a traceback: each way out has every error cleaned.

    Args:
        server: where it is.
        who: binding and host, for messages.
        framing: of its streams; None where their content type tells it.
        meaning: what an error that the server tells is for the caller.
    """

    def __init__(
        self,
        server: Server,
        who: str,
        framing: Framing | None = None,
        meaning: Meaning = lambda error, _: error,
    ) -> None:
        self._server = server
        self._who = who
        self._framing = framing
        self._meaning = meaning
        self._sync: SyncHttp | None = None
        self._async: AsyncHttp | None = None
        self._lock = threading.Lock()
        self._guard: LogGuard | None = None
        self._closed = False

    # Answers ----------------------------------------------------------------------------------------------

    def read(self, call: Call, limits: Limits, control: Control, reader: Reader) -> Iterator[Event]:
        """The events of the answer to `call`, the Finish last; closing the iterator closes the connection.

        Raises:
            LollmsError: what went wrong.
        """
        data = b""
        try:
            with self._blocking().open(self._exchange(call, limits), control) as response:
                answer = self._answer(call, reader, response.content_type)
                broken: StreamInterrupted | None = None
                try:
                    for data in response.pieces():
                        yield from answer.feed(data)
                        if answer.complete:
                            break
                except StreamInterrupted as error:
                    broken = error  # the last record may lack nothing but its end
                if answer.complete:
                    for data in response.rest():
                        yield from answer.feed(data)
                yield from answer.close(broken)
        except Exception as error:
            data = b""
            self._clean(error)
            raise

    async def aread(
        self, call: Call | Steps[Call], limits: Limits, reader: Callable[[], Reader]
    ) -> AsyncGenerator[list[Event]]:
        """The same for asyncio, in lists of those that have come together; the first does not wait for those behind it.

        `call` may be a procedure that gives it, and `reader` is called after that.
        """
        data = b""
        events: list[Event] = []
        if not isinstance(call, Call):
            call = await self.arun(call, limits)
        try:
            async with self._asynchronous().open(self._exchange(call, limits)) as response:
                answer = self._answer(call, reader(), response.content_type)
                broken: StreamInterrupted | None = None
                try:
                    async for data in response.pieces():
                        for events in answer.together(data):
                            yield events
                        if answer.complete:
                            break
                except StreamInterrupted as error:
                    broken = error
                if answer.complete:
                    async with aclosing(response.rest()) as rest:
                        async for data in rest:
                            for events in answer.together(data):
                                yield events
                for event in answer.close(broken):
                    yield [event]
        except Exception as error:
            data, events = b"", []
            self._clean(error)
            raise

    def _answer(self, call: Call, reader: Reader, content_type: str) -> Answer:
        return Answer(
            reader,
            decoder_for(content_type, self._framing, streamed=call.stream),
            who=self._who,
            about=call.about(self._who),
            content_type=content_type,
            redaction=self._server.redaction,
            meaning=partial(self._meaning_of, call),
        )

    def _meaning_of(self, call: Call, error: LollmsError) -> LollmsError:
        return self._meaning(error, call.model)

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
                    step = self._sent(procedure, step, answer)
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
                    step = self._sent(procedure, step, answer)
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
        with self._lock:
            self._closed = True
            if self._guard is not None:
                self._guard.close()
            blocking, asynchronous = self._sync, self._async
        if blocking is not None:
            blocking.close()
        return asynchronous

    # ------------------------------------------------------------------------------------------------------

    def _step(self, step: Step, limits: Limits, control: Control | None) -> Any:
        if isinstance(step, Work):
            return step.run()
        if isinstance(step, Wait):
            return None  # a blocking call in an event loop's thread cannot wait for that loop
        if isinstance(step, Several):
            return self._several(step, limits, control)
        return self._parsed(step, self._blocking().fetch(self._exchange(step, limits), control))

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

    def _sent(self, procedure: Steps[Any], step: Step, answer: Any) -> Step:
        """The next step, after `procedure` got the answer to its last."""
        try:
            return procedure.send(answer)
        except NOT_READABLE as error:
            if isinstance(error, LollmsError) or not isinstance(step, Call):
                raise
            raise self._unreadable(answer) from error

    def _read(self, step: Several, place: int, answer: Any) -> Any:
        try:
            return step.read(place, answer)
        except NOT_READABLE as error:
            if isinstance(error, LollmsError):
                raise
            raise self._unreadable(answer) from error

    def _unreadable(self, answer: Any) -> ProtocolError:
        shown = quoted(answer, self._server.redaction)
        return ProtocolError(f"{self._who} sent an answer of another shape than expected: {shown}")

    def _several(self, step: Several, limits: Limits, control: Control | None) -> list[Any]:
        together = Control()  # ends all of them, and nothing else
        first_failure: list[BaseException] = []

        def ask(place: int, call: Call) -> Any:
            try:
                if together.cancelled:
                    raise self._cancelled()
                return self._read(step, place, self._step(call, limits, together))
            except BaseException as error:
                first_failure.append(error)  # those that follow are of our own making
                together.cancel()
                raise

        if len(step.calls) == 1 or step.at_once == 1:
            return [self._read(step, place, self._step(call, limits, control)) for place, call in enumerate(step.calls)]
        from concurrent.futures import ThreadPoolExecutor

        forget = control.on_cancel(together.cancel) if control is not None else None
        workers = ThreadPoolExecutor(min(len(step.calls), step.at_once), thread_name_prefix="lollms-http")
        try:
            return [done.result() for done in [workers.submit(ask, *one) for one in enumerate(step.calls)]]
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
                found[place] = self._read(step, place, await self._astep(call, limits))

        workers = [asyncio.create_task(work()) for _ in range(min(len(step.calls), step.at_once))]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
        return found

    def _parsed(self, call: Call, data: bytes) -> Any:
        if call.says_nothing:
            return {}
        found = parse(data, self._who, redaction=self._server.redaction)
        return found if call.is_large else self._server.redaction.value(found)

    def _clean(self, error: Exception) -> None:
        self._server.redaction.error(error)

    def _cancelled(self) -> BackendUnavailable:
        return BackendUnavailable(f"{self._who}: the request was cancelled")

    def _exchange(self, call: Call, limits: Limits) -> Exchange:
        if self._guard is None:
            with self._lock:
                if not self._closed and self._guard is None:
                    self._guard = LogGuard(self._server.redaction, LOGGERS)
                    # For a binding that nobody closes.
                    weakref.finalize(self, self._guard.close)
        meaning = partial(self._meaning_of, call)
        return Exchange(self._server, self._who, call, limits, self._framing, meaning)

    def _blocking(self) -> SyncHttp:
        if self._sync is not None:
            return self._sync  # once closed, it says so itself
        # Before the lock is taken, which a child would find taken if another thread forks meanwhile.
        from lollms_http.http_sync import SyncHttp

        with self._lock:
            self._check_open()
            if self._sync is None:
                self._sync = SyncHttp(self._server)
            return self._sync

    def _asynchronous(self) -> AsyncHttp:
        if self._async is not None:
            return self._async
        from lollms_http.http_async import AsyncHttp

        with self._lock:
            self._check_open()
            if self._async is None:
                self._async = AsyncHttp(self._server)
            return self._async

    def _check_open(self) -> None:
        if self._closed:
            raise BackendUnavailable(f"{self._who}: the binding is closed; create a new one")
