"""A stream that one thread or task reads and another one ends: the reader's loop ends without an error."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator

import pytest
from samples import AsyncEvents, Hooks, Recorder

from lollms_core.events import Event, TextDelta
from lollms_core.request import GenerationRequest

pytestmark = pytest.mark.timeout(30, method="thread")


class Endless(AsyncEvents):
    """Goes on until it is closed; says when that begins, and waits then until it may end."""

    def __init__(self) -> None:
        super().__init__()
        self.log: list[str] = []
        self._hooks = Hooks(lambda: Recorder(self.log))
        self.closing = threading.Event()
        self.may_end = threading.Event()

    def _events(self, request: GenerationRequest) -> Iterator[Event]:
        try:
            while True:
                yield TextDelta("more ")
        finally:
            self.closing.set()
            self.may_end.wait(10)

    async def _aevents(self, request: GenerationRequest) -> AsyncIterator[Event]:
        try:
            while True:
                yield TextDelta("more ")
        finally:
            self.closing.set()
            await asyncio.to_thread(self.may_end.wait, 10)


def test_another_thread_closes_between_two_events() -> None:
    binding = Endless()
    stream = binding.stream("x")
    first, go_on = threading.Event(), threading.Event()
    raised: list[BaseException] = []

    def read() -> None:
        try:
            for _ in stream:
                first.set()
                go_on.wait(10)
        except BaseException as exc:  # noqa: BLE001 - what the test looks at
            raised.append(exc)

    reader = threading.Thread(target=read)
    closer = threading.Thread(target=stream.close)
    reader.start()
    assert first.wait(10)
    closer.start()
    # Either the closer is in the midst of it now, or leaves it to the reader.
    while closer.is_alive() and not binding.closing.wait(0.01):
        pass
    go_on.set()
    reader.join(0.2)  # where asking on is an error, it has come by now
    binding.may_end.set()
    closer.join(10)
    reader.join(10)
    assert raised == []
    assert binding.closing.is_set()
    assert (stream.completion.text, stream.completion.finish_reason) == ("more ", "cancelled")
    assert binding.log.count("finish cancelled NoneType") == 1


def test_one_that_no_living_thread_reads_is_closed_at_once() -> None:
    binding = Endless()
    binding.may_end.set()
    stream = binding.stream("x")
    held: list[Iterator[Event]] = []

    def read() -> None:
        held.append(iter(stream))
        next(held[0])

    reader = threading.Thread(target=read)
    reader.start()
    reader.join(10)
    assert not binding.closing.is_set()
    stream.close()
    assert binding.closing.is_set()
    assert list(held[0]) == []
    assert binding.log.count("finish cancelled NoneType") == 1


async def test_another_task_closes_between_two_events() -> None:
    binding = Endless()
    stream = binding.astream("x")
    first, go_on = asyncio.Event(), asyncio.Event()

    async def read() -> None:
        async for _ in stream:
            first.set()
            await go_on.wait()

    reader = asyncio.create_task(read())
    await first.wait()
    closer = asyncio.create_task(stream.aclose())
    await asyncio.to_thread(binding.closing.wait, 10)
    go_on.set()
    await reader
    assert not closer.done()
    binding.may_end.set()
    await closer
    assert (stream.completion.text, stream.completion.finish_reason) == ("more ", "cancelled")
    assert binding.log.count("finish cancelled NoneType") == 1
