"""Fetching models, and what else a backend may do with them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from samples import EightMethods, Events

from lollms_core.capabilities import Capability
from lollms_core.control import Control
from lollms_core.errors import BackendError, BackendUnavailable, CapabilityNotSupported, ModelNotFound
from lollms_core.events import Progress

NEWS = [
    Progress("manifest"),
    Progress("layer", 1, 4, "sha256:1"),
    Progress("layer", 4, 4, "sha256:1"),
    Progress("done"),
]


class Puller(Events):
    """Fetches every model but "missing"; "endless" waits until it is cancelled."""

    capabilities = Events.capabilities | {Capability.PULL}

    def __init__(self) -> None:
        super().__init__()
        self.open = 0
        self.waiting = threading.Event()
        self.idle = threading.Event()

    def _pull(self, model_name: str, control: Control) -> Iterator[Progress]:
        self.open += 1
        self.idle.clear()
        try:
            if model_name == "missing":
                raise ModelNotFound("there is no model 'missing'")
            if model_name == "broken":
                raise ZeroDivisionError("oops")
            yield from NEWS
            if model_name == "endless":
                ended = threading.Event()
                control.on_cancel(ended.set)
                self.waiting.set()
                assert ended.wait(60)
        finally:
            self.open -= 1
            self.idle.set()


class AsyncPuller(Puller):
    async def _apull(self, model_name: str, control: Control) -> AsyncIterator[Progress]:
        for progress in self._pull("x" if model_name == "endless" else model_name, control):
            yield progress
        if model_name == "endless":
            self.open += 1
            self.waiting.set()
            try:
                await asyncio.Event().wait()
            finally:
                self.open -= 1


@pytest.fixture(params=[Puller, AsyncPuller])
def binding(request: pytest.FixtureRequest) -> Puller:
    made: Puller = request.param()
    return made


def check_idle(binding: Puller) -> None:
    assert binding.open == 0
    assert not binding.__dict__.get("_in_flight")


def test_pull(binding: Puller) -> None:
    with binding.pull("m") as stream:
        assert binding.open == 0  # nothing yet
        assert list(stream) == NEWS
    assert (stream.last, stream.cancelled) == (NEWS[-1], False)
    got: list[Progress] = []
    stream = binding.pull("m", progress=got.append)
    assert got == NEWS
    with pytest.raises(RuntimeError, match="only once"):
        iter(stream)
    check_idle(binding)


async def test_apull(binding: Puller) -> None:
    assert [progress async for progress in binding.apull("m")] == NEWS
    got: list[Progress] = []
    stream = await binding.apull("m", progress=got.append)
    assert (got, stream.last) == (NEWS, NEWS[-1])

    async def take(progress: Progress) -> None:
        got.append(progress)

    await binding.apull("m", progress=take)
    assert got == [*NEWS, *NEWS]
    check_idle(binding)


async def test_errors_raise(binding: Puller) -> None:
    for name, error in (("missing", ModelNotFound), ("broken", BackendError)):
        with pytest.raises(error):
            binding.pull(name, progress=print)
        with pytest.raises(error):
            list(binding.pull(name))
        with pytest.raises(error):
            await binding.apull(name)
    check_idle(binding)


async def test_leaving_ends_it(binding: Puller) -> None:
    for _ in binding.pull("endless"):
        break
    stream = binding.pull("endless", progress=lambda _: False)
    assert (stream.cancelled, stream.last) == (True, NEWS[0])
    awaited = await binding.apull("endless", progress=lambda _: False)
    assert awaited.cancelled
    async with binding.apull("endless") as leaving:
        async for _ in leaving:
            break
    assert await asyncio.to_thread(binding.idle.wait, 60)  # a thread that is told to stop needs its moment


def test_an_error_of_the_callback_propagates(binding: Puller) -> None:
    def callback(_: Progress) -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        binding.pull("m", progress=callback)
    check_idle(binding)


def test_cancel_ends_it(binding: Puller) -> None:
    def cancel() -> None:
        assert binding.waiting.wait(60)
        binding.cancel()

    canceller = threading.Thread(target=cancel)
    canceller.start()
    assert list(binding.pull("endless")) == NEWS
    canceller.join()
    check_idle(binding)


async def test_cancel_ends_it_async(binding: Puller) -> None:
    task = asyncio.create_task(binding.apull("endless")._wait())
    await asyncio.to_thread(binding.waiting.wait, 60)
    binding.cancel()
    assert (await asyncio.wait_for(task, 60)).last == NEWS[-1]
    binding.waiting.clear()
    task = asyncio.create_task(binding.apull("endless")._wait())
    await asyncio.to_thread(binding.waiting.wait, 60)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize(
    ("arguments", "error"),
    [({"model_name": 3}, TypeError), ({"model_name": " "}, ValueError), ({"progress": 3}, TypeError)],
)
def test_misuse(arguments: dict[str, Any], error: type[Exception]) -> None:
    for pull in (Puller().pull, Puller().apull):
        with pytest.raises(error):
            pull(**{"model_name": "m", **arguments})


def test_closed(binding: Puller) -> None:
    binding.close()
    with pytest.raises(BackendUnavailable, match="closed"):
        list(binding.pull("m"))


@pytest.mark.parametrize("kind", [EightMethods, Events])
def test_who_cannot_says_so(kind: Any) -> None:
    lacking = kind()
    for use in (
        lambda: lacking.pull("m"),
        lambda: lacking.apull("m"),
        lambda: lacking.delete("m"),
        lacking.ps,
        lacking.unload,
    ):
        with pytest.raises(CapabilityNotSupported, match=r"eight|events"):
            use()
