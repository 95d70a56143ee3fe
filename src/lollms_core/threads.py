"""From a function that pushes events to an iterator of them, through one thread and a bounded queue."""

from __future__ import annotations

import contextvars
import threading
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import TYPE_CHECKING, TypeAlias

from lollms_core.events import Event

if TYPE_CHECKING:
    import asyncio

__all__ = ["ThreadedEvents"]

QUEUE_EVENTS = 64
"""Most events that wait for the reader; then the producer waits."""

# A reader's wait is cut into pieces of this many seconds. Python runs a signal's handler between two steps of
# the main thread, so Ctrl-C that comes just before an endless wait begins would not end it.
_PIECE_OF_WAITING = 0.2

_Push: TypeAlias = Callable[[Event], bool]


class ThreadedEvents:
    """Runs ``run(push)`` in a thread of its own and gives its events to one reader, sync or async.

    The thread starts at the first read. ``push`` waits while the queue is full; after :meth:`close` it
    returns False, which tells the producer to stop. What `run` raises is raised to the reader after the
    events that came before it.
    """

    def __init__(self, run: Callable[[_Push], None], *, name: str) -> None:
        self._run = run
        self._name = name
        self._items: deque[Event] = deque()
        self._changed = threading.Condition()
        self._started = self._ended = self._closed = False
        self._error: BaseException | None = None
        self._wake: Callable[[], None] | None = None  # an async reader that waits

    def close(self) -> None:
        """Tell the producer to stop, and wake whoever waits; does not wait for the thread."""
        with self._changed:
            self._closed = True
            self._items.clear()
            self._notify()

    async def aclose(self) -> None:
        self.close()

    # The producer's side --------------------------------------------------------------------------------

    def _start(self) -> None:
        if not self._started:
            self._started = True
            context = contextvars.copy_context()
            # A daemon: a backend that never returns must not keep the interpreter from ending.
            threading.Thread(target=context.run, args=(self._main,), name=self._name, daemon=True).start()

    def _main(self) -> None:
        error: BaseException | None = None
        try:
            self._run(self._push)
        except BaseException as exc:  # noqa: BLE001 - handed over to the reader, SystemExit included
            error = exc
        with self._changed:
            self._error, self._ended = error, True
            self._notify()

    def _push(self, event: Event) -> bool:
        with self._changed:
            while len(self._items) >= QUEUE_EVENTS and not self._closed:
                self._changed.wait()
            if self._closed:
                return False
            self._items.append(event)
            self._notify()
            return True

    def _notify(self) -> None:
        self._changed.notify_all()
        if self._wake is not None:
            wake, self._wake = self._wake, None
            wake()

    # The reader's side ----------------------------------------------------------------------------------

    def _take(self) -> tuple[list[Event], bool]:
        """All events that wait, and whether they are the last; with the lock held.

        Raises:
            BaseException: what the producer raised, once its events are taken.
        """
        items = list(self._items)
        self._items.clear()
        self._changed.notify_all()
        if not items and self._error is not None:
            error, self._error = self._error, None
            raise error
        return items, not items and (self._ended or self._closed)

    def __iter__(self) -> Iterator[Event]:
        self._start()
        try:
            while True:
                with self._changed:
                    while not (self._items or self._ended or self._closed):
                        self._changed.wait(_PIECE_OF_WAITING)
                    items, last = self._take()
                if last:
                    return
                yield from items
        finally:
            self.close()

    async def __aiter__(self) -> AsyncGenerator[Event, None]:
        import asyncio

        self._start()
        loop = asyncio.get_running_loop()
        try:
            while True:
                news = loop.create_future()
                with self._changed:
                    if not (self._items or self._ended or self._closed):
                        self._wake = _waker(loop, news)
                    else:
                        news.set_result(None)
                await news
                with self._changed:
                    items, last = self._take()
                if last:
                    return
                for item in items:
                    yield item
        finally:
            self.close()


def _waker(loop: asyncio.AbstractEventLoop, news: asyncio.Future[None]) -> Callable[[], None]:
    def set_result() -> None:
        if not news.done():
            news.set_result(None)

    def wake() -> None:
        try:
            loop.call_soon_threadsafe(set_result)
        except RuntimeError:
            # The reader's loop is closed, so nobody reads any more.
            return

    return wake
