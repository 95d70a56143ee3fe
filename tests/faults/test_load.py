"""Many requests at once on one binding, and many in a row: none is lost, none gets another's answer, nothing grows."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from lollms_core import LollmsLLMBinding
from lollms_core.testing import MARKER, Asked, Dialect, FaultServer, Gate, Held, response
from lollms_core.testing.fault_server import Step
from lollms_core.testing.playing import Factory, places_of

FULL = bool(os.environ.get("LOLLMS_FAULTS"))
STREAMS = 1000 if FULL else 100
THREADS = 200 if FULL else 25
CALLS = 10_000 if FULL else 300
GROWTH = 500
"""Python objects that the second half of the calls may leave: one for ten calls of the whole run, for chance."""

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]
Note = Callable[[str, object], None]


class Echo:
    """A server that answers each request with what it says, in pieces, and all of them only when all have come."""

    def __init__(self, server: FaultServer, dialect: Dialect) -> None:
        self.server, self.dialect, self.gate = server, dialect, Gate()
        places_of(server, dialect)
        server.on(dialect.chat_path, self._answer)

    def _answer(self, asked: Asked) -> tuple[Step, ...]:
        words = asked.json["messages"][-1]["content"]
        if not self.dialect.streams(asked.body):
            return (self.gate, response(self.dialect.whole(f"You said: {words}")))
        wire = self.dialect.stream(*self.dialect.pieces("You ", "said: ", words), *self.dialect.ending()).data
        half = len(wire) // 2
        return (wire[:half], self.gate, wire[half:])

    def let_go(self, count: int) -> None:
        """Let the answers pass when `count` generations have been asked for."""
        self.server.wait_asked(count, self.dialect.chat_path, within=60)
        self.gate.open()


@pytest.fixture
def echo(peer: tuple[Dialect, Factory]) -> Iterator[Echo]:
    with FaultServer() as server:
        yield Echo(server, peer[0])


def bound(echo: Echo, peer: tuple[Dialect, Factory]) -> LollmsLLMBinding:
    dialect, factory = peer
    return factory(host_address=echo.server.url + dialect.address, service_key=MARKER, model_name=dialect.model)


def test_streams_on_one_loop(echo: Echo, peer: tuple[Dialect, Factory], record_property: Note) -> None:
    """All are open at the same time."""

    async def one(binding: LollmsLLMBinding, number: int) -> str:
        async with binding.astream(f"request {number}") as stream:
            return "".join([piece async for piece in stream.text_stream])

    async def main() -> list[str]:
        binding = bound(echo, peer)
        try:
            letting = asyncio.create_task(asyncio.to_thread(echo.let_go, STREAMS))
            texts = await asyncio.gather(*(one(binding, number) for number in range(STREAMS)))
            await letting
            return texts
        finally:
            await binding.aclose()

    before = Held.now()
    assert asyncio.run(main()) == [f"You said: request {number}" for number in range(STREAMS)]
    echo.server.wait_closed()
    assert before.more() == ""
    record_property("reliability: streams at once on one event loop, on one binding, answered right", STREAMS)
    record_property("requests", STREAMS)


def test_threads_on_one_binding(echo: Echo, peer: tuple[Dialect, Factory], record_property: Note) -> None:
    """All ask at the same time, half of them for streams, and each three times more."""
    binding = bound(echo, peer)
    start = threading.Barrier(THREADS)

    def one(thread: int) -> list[str]:
        start.wait(60)
        return [binding.chat(f"{thread} asks {turn}", stream=bool(thread % 2)).text for turn in range(4)]

    before = Held.now()
    with ThreadPoolExecutor(THREADS + 1) as pool:
        letting = pool.submit(echo.let_go, THREADS)
        texts = list(pool.map(one, range(THREADS)))
        letting.result()
    binding.close()
    assert texts == [[f"You said: {thread} asks {turn}" for turn in range(4)] for thread in range(THREADS)]
    echo.server.wait_closed()
    assert before.more() == ""
    record_property("reliability: threads at once on one binding, answered right", THREADS)
    record_property("requests", 4 * THREADS)


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_calls_in_a_row(peer: tuple[Dialect, Factory], mode: str, record_property: Note) -> None:
    with FaultServer(max_seen=10) as server:
        echo = Echo(server, peer[0])
        echo.gate.open()
        binding = bound(echo, peer)
        objects: list[int] = []

        def judge(number: int, text: str) -> None:
            assert text == f"You said: request {number}"
            if number in (CALLS // 2, CALLS - 1):
                gc.collect()
                objects.append(sys.getallocatedblocks())

        def asking() -> None:
            for number in range(CALLS):
                judge(number, binding.chat(f"request {number}", stream=bool(number % 2)).text)
            binding.close()

        async def main() -> None:
            for number in range(CALLS):
                judge(number, (await binding.achat(f"request {number}", stream=bool(number % 2))).text)
            await binding.aclose()

        asking() if mode == "sync" else asyncio.run(main())
        assert server.connections == 1
        server.wait_closed()
    half, whole = objects
    assert whole - half < GROWTH, f"{whole - half:,} objects more after {CALLS // 2:,} calls more"
    record_property("reliability: calls in a row on one connection, memory flat", CALLS)
    record_property("requests", CALLS)
