"""Requests of event loops: no thread waits for them, and nothing is left of those that nobody waits for."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from gates import Gate

from lollms_core import ContextOverflow, Overloaded, TextDelta
from lollms_llamacpp import LlamaCppBinding
from lollms_llamacpp.batching.waking import Wakeup, in_thread
from lollms_llamacpp.engine import Engine

NEVER = {258: -1e9, 256: -1e9}  # the tokens that would end a tiny model's answer
STARTS = "lollms-llamacpp start"  # the name of a thread that begins a request
LONG: dict[str, Any] = {"n_predict": 400, "logit_bias": NEVER}


def engine_of(binding: LlamaCppBinding) -> Engine:
    engine = binding._models.engine
    assert isinstance(engine, Engine)
    return engine


async def until(true: Callable[[], bool]) -> None:
    while not true():  # noqa: ASYNC110 - the engine's thread sets no event
        await asyncio.sleep(0.001)


async def test_no_thread_waits(tiny: LlamaCppBinding) -> None:
    """Thirty streams that run at once are read by one thread, the event loop's."""
    before = threading.active_count()
    streams = [tiny.astream(f"number {number}", seed=number, **LONG) for number in range(30)]
    texts = []
    for stream in streams:
        async for event in stream:
            if isinstance(event, TextDelta):
                texts.append(event.text)
                break
    assert len(texts) == 30
    for thread in threading.enumerate():
        if thread.name == STARTS:
            thread.join(10)  # it has handed over what it has begun, and has nothing more to do
    assert threading.active_count() == before
    for stream in streams:
        await stream.aclose()
    await until(lambda: not engine_of(tiny).n_requests)


async def test_the_same_as_in_a_thread(tiny: LlamaCppBinding) -> None:
    """Events, usage and reasons are those of the sync forms."""
    fields: dict[str, Any] = {"n_predict": 12, "seed": 4, "logit_bias": NEVER, "cache_prompt": False}
    there, here = await tiny.achat("Hello", **fields), await asyncio.to_thread(tiny.chat, "Hello", **fields)
    assert (there.text, there.usage, there.finish_reason) == (here.text, here.usage, here.finish_reason)


async def test_errors(tiny: LlamaCppBinding) -> None:
    """They come where the sync forms raise them."""
    with pytest.raises(ContextOverflow, match="tokens, and the context of"):
        await tiny.achat("word " * 3000)
    assert not engine_of(tiny).n_requests


async def test_a_full_house(tiny_folder: Path, hold_after: Callable[[int], Gate]) -> None:
    """Too many at once: some are refused, the others answered."""
    gate = hold_after(0)
    with LlamaCppBinding(models_path=tiny_folder, model_name="chatty", n_parallel=1, max_queue=2) as binding:
        waiting = [asyncio.create_task(binding.achat("x", n_predict=2, logit_bias=NEVER))]
        await asyncio.to_thread(gate.reached.wait, 60)
        waiting += [asyncio.create_task(binding.achat("x", n_predict=2, logit_bias=NEVER)) for _ in range(4)]
        await until(lambda: sum(task.done() for task in waiting) == 2)
        gate.opened.set()
        done = await asyncio.gather(*waiting, return_exceptions=True)
    assert sum(isinstance(one, Overloaded) for one in done) == 2
    assert sum(getattr(one, "finish_reason", None) == "length" for one in done) == 3


@pytest.mark.parametrize("steps", [0, 3])
async def test_a_cancelled_task_leaves(tiny: LlamaCppBinding, hold_after: Callable[[int], Gate], steps: int) -> None:
    """Before its first token and in the midst of it; the next request is answered."""
    gate = hold_after(steps)
    task = asyncio.create_task(tiny.achat("Hello", **LONG))
    await asyncio.to_thread(gate.reached.wait, 60)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    gate.opened.set()
    await until(lambda: not engine_of(tiny).n_requests)
    assert (await tiny.achat("Hello", n_predict=1, logit_bias=NEVER)).finish_reason == "length"


async def test_cancelled_before_it_has_begun(tiny: LlamaCppBinding, monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread that begins it finds that nobody waits, and takes it back."""
    begins, go_on = threading.Event(), threading.Event()
    begin = Engine.begin

    def held(self: Engine, *arguments: Any) -> Any:
        begins.set()
        assert go_on.wait(60)
        return begin(self, *arguments)

    monkeypatch.setattr(Engine, "begin", held)
    task = asyncio.create_task(tiny.achat("Hello", **LONG))
    await asyncio.to_thread(begins.wait, 60)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    submitted: list[Any] = []
    scheduler = engine_of(tiny)._scheduler
    assert scheduler is not None
    leave = scheduler.leave

    def noted(answer: Any) -> None:
        submitted.append(answer)
        leave(answer)

    monkeypatch.setattr(scheduler, "leave", noted)
    go_on.set()
    await until(lambda: bool(submitted) and not engine_of(tiny).n_requests)
    assert submitted[0].stopped


async def test_cancelled_through_the_binding(tiny: LlamaCppBinding, hold_after: Callable[[int], Gate]) -> None:
    """``cancel()`` from another thread ends a stream that waits; what has come is kept."""
    gate = hold_after(3)
    stream = tiny.astream("Hello", **LONG, temperature=0)  # so that there is text before the gate
    texts = []
    async for event in stream:
        if isinstance(event, TextDelta):
            texts.append(event.text)
            if not gate.opened.is_set():
                await asyncio.to_thread(gate.reached.wait, 60)
                await asyncio.to_thread(tiny.cancel)
                gate.opened.set()
    assert stream.completion.finish_reason == "cancelled"
    assert stream.completion.text == "".join(texts) != ""


def test_a_loop_that_is_closed(tiny: LlamaCppBinding) -> None:
    """Its requests end with it, and news for it is no error."""

    async def begin() -> tuple[Wakeup, Any]:
        stream = tiny.astream("Hello", **LONG)
        await anext(aiter(stream))
        return Wakeup(), stream

    wakeup, stream = asyncio.run(begin())
    wakeup()
    del stream
    gc.collect()
    while engine_of(tiny).n_requests:
        threading.Event().wait(0.001)
    assert tiny.chat("Hello", n_predict=1, logit_bias=NEVER).usage.completion_tokens == 1


async def test_in_thread() -> None:
    """Results and errors come out; of an error that nobody waits for, nobody complains."""

    def fail() -> None:
        raise LookupError("not there")

    assert await in_thread(threading.current_thread, undo=id) is not threading.current_thread()
    with pytest.raises(LookupError, match="not there"):
        await in_thread(fail, undo=id)
    started, go_on = threading.Event(), threading.Event()

    def fail_later() -> None:
        started.set()
        assert go_on.wait(60)
        raise LookupError("too late")

    undone: list[None] = []
    task = asyncio.create_task(in_thread(fail_later, undo=undone.append))
    await asyncio.to_thread(started.wait, 60)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    go_on.set()
    await until(lambda: not any(thread.name == STARTS for thread in threading.enumerate()))
    gc.collect()
    assert undone == []
