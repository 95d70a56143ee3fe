"""Bindings that cannot be shared or left."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from conformant import Evented

from lollms_core.errors import BackendError
from lollms_core.events import MSG_TYPE, Completion, Event
from lollms_core.request import GenerationRequest
from lollms_core.testing.parrot import Said, Wanted
from mutants.registry import mutant

Callback = Callable[[str, MSG_TYPE], Any]


@mutant("threads")
class MixesUp(Evented):
    """Keeps the request in the instance."""

    def _think(self, wanted: Wanted) -> Said:
        self._wanted_now = wanted
        for _ in range(20):
            time.sleep(0.001)  # where another thread comes in between
        return super()._think(self._wanted_now)


@mutant("tasks")
class OneLoopOnly(Evented):
    _loop: Any = None

    async def _aevents(self, request: GenerationRequest) -> AsyncIterator[Event]:
        loop = asyncio.get_running_loop()
        self._loop = self._loop or loop
        if loop is not self._loop:
            raise BackendError("made in another event loop")
        async for event in super()._aevents(request):
            yield event


@mutant("loop_runs_on")
class BlocksTheLoop(Evented):
    async def _aevents(self, request: GenerationRequest) -> AsyncIterator[Event]:
        for event in self._answer(request):
            time.sleep(0.02)  # noqa: ASYNC251 - that is the defect
            yield event


@mutant("cancel")
class CannotBeCancelled(Evented):
    def cancel(self) -> None:
        pass


@mutant("cancel")
class StaysCancelled(Evented):
    _over = False

    def cancel(self) -> None:
        self._over = True
        super().cancel()

    def _answer(self, request: GenerationRequest) -> Iterator[Event]:
        if self._over:
            raise BackendError("this binding was cancelled")
        return super()._answer(request)


@mutant("cancel_from_another_thread")
class HearsItsOwnThreadOnly(Evented):
    def __init__(self, **defaults: Any) -> None:
        super().__init__(**defaults)
        self._thread = threading.current_thread()

    def cancel(self) -> None:
        pass


@mutant("cancelled_task")
class GoesOnWhenCancelled(Evented):
    async def achat(self, messages: Any, **fields: Any) -> Completion:
        task = asyncio.ensure_future(super().achat(messages, **fields))
        while not task.done():
            try:
                await asyncio.sleep(0.001)
                await asyncio.shield(task)
            except asyncio.CancelledError:
                continue
        return task.result()


@mutant("closing")
class ClosesOnce(Evented):
    _done = False

    def close(self) -> None:
        if self._done:
            raise RuntimeError("closed already")
        self._done = True
        super().close()


@mutant("nothing_is_left")
class LeavesAFile(Evented):
    def _answer(self, request: GenerationRequest) -> Iterator[Event]:
        _LEFT.append(open(__file__, "rb"))  # noqa: SIM115, PTH123 - that is the defect
        return super()._answer(request)


_LEFT: list[Any] = []


def close_what_is_left() -> None:
    """Close what the mutants have left open."""
    while _LEFT:
        _LEFT.pop().close()
