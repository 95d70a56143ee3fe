"""Waiting for an engine's thread without a thread: an event loop is woken when there is news."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

__all__ = ["Wakeup", "in_thread"]

_T = TypeVar("_T")


class Wakeup:
    """Called from any thread, it wakes the coroutine of the running event loop that waits for it."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._event = asyncio.Event()
        self._told = False

    def __call__(self) -> None:
        if self._told:
            return
        self._told = True
        try:
            self._loop.call_soon_threadsafe(self._event.set)
        except RuntimeError:
            # The loop is closed: nobody waits any more.
            return

    async def wait(self) -> None:
        """Return when there was news since the last time."""
        await self._event.wait()
        self._event.clear()
        # Whoever brings news from here on tells of it; what came before is there to be taken.
        self._told = False


async def in_thread(call: Callable[[], _T], undo: Callable[[_T], object]) -> _T:
    """What `call` returns, from a thread of its own.

    Not from the loop's pool of threads: that is the application's, and what loads a model or looks at an image would
    keep it from all else.

    Args:
        call: what is to be done.
        undo: gets the result if this coroutine is cancelled before it is there.

    Raises:
        Exception: whatever `call` does.
    """
    done: Future[_T] = Future()
    context = contextvars.copy_context()

    def run() -> None:
        try:
            result = context.run(call)
        except BaseException as error:  # noqa: BLE001 - it is handed over
            done.set_exception(error)
        else:
            done.set_result(result)

    def nobody_waits(late: Future[_T]) -> None:
        if late.exception() is None:
            undo(late.result())

    threading.Thread(target=run, name="lollms-llamacpp start", daemon=True).start()
    waiting = asyncio.wrap_future(done)
    # Looked at in any case: of an exception that nobody has seen asyncio would complain.
    waiting.add_done_callback(lambda future: future.cancelled() or future.exception())
    try:
        return await asyncio.shield(waiting)
    except asyncio.CancelledError:
        done.add_done_callback(nobody_waits)
        raise
