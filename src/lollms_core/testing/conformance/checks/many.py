"""Many requests at once, and requests that are ended."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from lollms_core.capabilities import Capability
from lollms_core.events import TextDelta
from lollms_core.testing.conformance import expecting
from lollms_core.testing.conformance.check import check
from lollms_core.testing.conformance.subject import Subject
from lollms_core.testing.resources import Held

_MANY = 8
_SHORT = 0.15  # seconds


@check(Capability.CHAT)
def threads(subject: Subject) -> None:
    """Several threads may use one binding at the same time: each gets its whole answer."""
    binding = subject.new()
    prompts = [f"Say the number {number}." for number in range(_MANY)]
    fields = subject.fields(binding)

    def ask(prompt: str) -> str:
        return binding.chat(prompt, **fields).text

    alone = [ask(prompt) for prompt in prompts]
    with ThreadPoolExecutor(_MANY) as pool:
        together = list(pool.map(ask, prompts, timeout=subject.settings.timeout))
    for prompt, text in zip(prompts, together, strict=True):
        expecting.text(text, f"{prompt!r} beside {_MANY - 1} others")
    if {"seed", "temperature"} <= binding.uses:
        mixed = [text for text, own in zip(together, alone, strict=True) if text != own and text in alone]
        assert not mixed, f"a thread got the answer of another: {mixed[0]!r}"


@check(Capability.CHAT)
def tasks(subject: Subject) -> None:
    """Several tasks of one event loop may, and several loops one after the other."""
    binding = subject.new()

    async def main() -> list[Any]:
        asked = [binding.achat(f"Say the number {number}.", **subject.fields(binding)) for number in range(_MANY)]
        return await asyncio.gather(*asked)

    for _ in range(2):
        for found in subject.awaited(main()):
            expecting.text(found.text, f"a task beside {_MANY - 1} others")


@check(Capability.CHAT, Capability.STREAM)
def loop_runs_on(subject: Subject) -> None:
    """The event loop goes on while an answer is on its way."""
    binding = subject.new()
    turns, begun = 0, time.monotonic()

    async def count() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    async def main() -> int:
        counting = asyncio.create_task(count())
        await asyncio.sleep(0)
        try:
            stream = binding.astream(subject.settings.prompt, **subject.fields(binding))
            return len([event async for event in stream])
        finally:
            counting.cancel()

    events = subject.awaited(main())
    took = time.monotonic() - begun
    # An answer that is there at once says nothing.
    assert turns > 1 or took < _SHORT or events < 4, f"no other task ran in the {took:.2f} s that the answer took"


@check(Capability.CHAT, Capability.STREAM)
def cancel(subject: Subject) -> None:
    """Cancelling ends what runs, with the text so far, and nothing that is begun later."""
    binding = subject.new()
    stream = binding.stream(subject.settings.prompt, **subject.fields(binding))
    text = ""
    for event in stream:
        if isinstance(event, TextDelta):
            text += event.text
            binding.cancel()
    found = stream.completion
    assert found.finish_reason == "cancelled", f"after cancel() the finish_reason is {found.finish_reason!r}"
    assert found.text == text, f"after cancel() {found.text!r} is left of {text!r}"
    expecting.text(subject.chat(binding).text, "a request after cancel()")


@check(Capability.CHAT, Capability.STREAM)
def cancel_from_another_thread(subject: Subject) -> None:
    """Cancelling from another thread ends a generation soon, however long it would have become."""
    binding = subject.new()
    begun = threading.Event()
    prompt = "Write a very long story. " * 8
    fields = {**subject.fields(binding), "n_predict": 400}

    def ask() -> Any:
        stream = binding.stream(prompt, **fields)
        for event in stream:
            if isinstance(event, TextDelta):
                begun.set()
                cancelled.wait(subject.settings.timeout)
        return stream.completion

    cancelled = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(ask)
        if begun.wait(subject.settings.timeout):
            binding.cancel()
        cancelled.set()
        found = running.result(subject.settings.timeout)
    assert found.finish_reason == "cancelled", f"after cancel() the finish_reason is {found.finish_reason!r}"
    expecting.text(subject.chat(binding).text, "a request after cancel()")


@check(Capability.CHAT)
def cancelled_task(subject: Subject) -> None:
    """A cancelled task gets its CancelledError, and the next request works."""
    binding = subject.new()

    async def main() -> str:
        begun = asyncio.Event()
        # Where the answer is quicker than that, it is there.
        task = asyncio.create_task(_noting(binding.achat(subject.settings.prompt, **subject.fields(binding)), begun))
        await begun.wait()
        await asyncio.sleep(0)
        if task.cancel():
            try:
                await task
            except asyncio.CancelledError:
                pass
            else:
                raise AssertionError("a cancelled task went on to its end")
        return (await binding.achat(subject.settings.prompt, **subject.fields(binding))).text

    expecting.text(subject.awaited(main()), "the next request")


async def _noting(work: Any, begun: asyncio.Event) -> Any:
    begun.set()
    return await work


@check(Capability.CHAT)
def closing(subject: Subject) -> None:
    """close() and aclose() may be called twice, and a with block closes."""
    binding = subject.new()
    with binding:
        subject.chat(binding)
    binding.close()
    other = subject.new()

    async def main() -> None:
        async with other:
            await other.achat(subject.settings.prompt, **subject.fields(other))
        await other.aclose()

    subject.awaited(main())


@check(Capability.CHAT)
def nothing_is_left(subject: Subject) -> None:
    """After close() no thread, task, socket or file is left that the binding had opened."""
    _use(subject)  # what is opened once for the process is there now
    before = Held.now()
    _use(subject)
    left = before.more()
    assert not left, f"left behind: {left}"


def _use(subject: Subject) -> None:
    binding = subject.new()
    subject.chat(binding)
    if Capability.STREAM in subject.able(binding):
        for _ in binding.stream(subject.settings.prompt, **subject.fields(binding)):
            break
    subject.awaited(binding.achat(subject.settings.prompt, **subject.fields(binding)))
    binding.close()
