"""The async drivers of a :class:`~lollms_core.generation.Generation`; apart, so that only they import asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator
from typing import Any, TypeVar

from lollms_core.control import Control
from lollms_core.events import Completion, Event
from lollms_core.generation import Emit, Generation, Pushed, Sink
from lollms_core.request import EmbedRequest, GenerationRequest

__all__ = ["CancellableWait", "apull", "apush"]

_E = TypeVar("_E", bound=Event)
_T = TypeVar("_T")


async def apush(
    generation: Generation, produce: Callable[[GenerationRequest, Emit], Awaitable[None]], sink: Sink | None
) -> Completion:
    """The async twin of :func:`~lollms_core.generation.push`."""
    pushed = Pushed(generation, sink)
    wait = CancellableWait(generation.request)
    generation.alarm = _alarm_in_loop
    try:
        again = True
        while again:
            try:
                answer = generation.begin()
                if answer is None:
                    await wait.result(produce(generation.request, pushed.emit))
                else:
                    pushed.emit_all(answer)
                pushed.settle()
                again = False
            except Exception as exc:
                again = pushed.failed(exc)
    finally:
        wait.forget()
        generation.close()
    return generation.completion


async def apull(
    generation: Generation, source: Callable[[GenerationRequest], AsyncIterable[Event | list[Event]]]
) -> AsyncIterator[Event]:
    """The caller's events of a backend that we iterate asynchronously; those in a list have come together."""
    stopped, feed = generation.stopped, generation.feed
    wait = CancellableWait(generation.request)
    generation.alarm = _alarm_in_loop
    try:
        again = True
        while again:
            try:
                answer = generation.begin()
                if answer is not None:
                    for out in _given(generation, answer):
                        yield out
                elif not stopped():
                    events = aiter(source(generation.request))
                    step = events.__anext__
                    try:
                        while not stopped():
                            # What wait.next does, without a coroutine of its own for every event.
                            wait.begin()
                            try:
                                event = await step()
                            except StopAsyncIteration:
                                wait.end()
                                break
                            except BaseException as exc:
                                if wait.ended_by(exc):
                                    break
                                raise
                            wait.end()
                            for out in _given(generation, event) if isinstance(event, list) else feed(event):
                                yield out
                    finally:
                        await _aclose(events)
                generation.done()
                again = False
            except Exception as exc:
                again = generation.failed(exc)
    finally:
        wait.forget()
        generation.close()


def _given(generation: Generation, events: Iterable[Event]) -> Iterator[Event]:
    """The caller's events of several that are there."""
    for event in events:
        if generation.stopped():
            break
        yield from generation.feed(event)


def _alarm_in_loop(seconds: float, ring: Callable[[], object]) -> Callable[[], None]:
    """An alarm for a request that one event loop works on; see :data:`~lollms_core.alarm.Alarm`."""
    return asyncio.get_running_loop().call_later(seconds, ring).cancel


async def _aclose(events: Any) -> None:
    aclose = getattr(events, "aclose", None)
    if aclose is not None:
        await aclose()


class CancellableWait:
    """Waits for what a backend does next, and stops waiting when the request is cancelled from anywhere.

    The task is only cancelled while it waits here: between events it runs the caller's own code. As in
    asyncio.timeout, our own cancellation is taken back (uncancel), and one from outside goes through.
    """

    def __init__(self, request: GenerationRequest | EmbedRequest | Control) -> None:
        self._request = request
        self._loop = asyncio.get_running_loop()
        self._waiting: asyncio.Task[Any] | None = None
        self._pending = 0  # cancellations of the task from outside, before it waited
        self._interrupted = False
        self.forget = request.on_cancel(self._on_cancel)

    def _on_cancel(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._interrupt)
        except RuntimeError:
            # The loop is closed: nobody waits any more.
            return

    def _interrupt(self) -> None:
        if self._waiting is not None and not self._interrupted:
            self._interrupted = True
            self._waiting.cancel()

    def next(self, events: AsyncIterator[_E]) -> Awaitable[_E | None]:
        """The next event; None at the end, and when the request is cancelled."""
        return self.result(anext(events, None))

    async def result(self, work: Awaitable[_T]) -> _T | None:
        """What `work` gives; None when the request is cancelled, and `work` then too."""
        if self._request.cancelled:
            if asyncio.iscoroutine(work):
                work.close()  # never begun
            return None
        self.begin()
        try:
            found = await work
        except BaseException as exc:
            if self.ended_by(exc):
                return None
            raise
        self.end()
        return found

    def begin(self) -> None:
        """From now on this task waits."""
        task = asyncio.current_task(self._loop)
        assert task is not None
        self._pending = task.cancelling()
        self._waiting = task

    def end(self) -> None:
        """What was waited for has come."""
        task, self._waiting = self._waiting, None
        if self._interrupted and task is not None:
            task.uncancel()

    def ended_by(self, exc: BaseException) -> bool:
        """Whether what was raised in place of it is our own cancellation, and no other."""
        task, self._waiting = self._waiting, None
        if not self._interrupted or task is None:
            return False
        # Also if the backend turned our cancellation into something else: the task must not stay marked.
        return task.uncancel() <= self._pending and isinstance(exc, asyncio.CancelledError)
