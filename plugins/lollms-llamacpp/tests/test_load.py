"""Many at once and many in a row: every answer comes, and is that of its own prompt."""

from __future__ import annotations

import asyncio
import os
import random
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lollms_llamacpp import LlamaCppBinding

FULL = bool(os.environ.get("LOLLMS_FAULTS"))
ALONE: dict[str, Any] = {"n_predict": 4, "temperature": 0, "cache_prompt": False, "logit_bias": {258: -1e9, 256: -1e9}}

pytestmark = pytest.mark.faults


@pytest.fixture(scope="module")
def binding(tiny_folder: Path) -> Iterator[LlamaCppBinding]:
    with LlamaCppBinding(models_path=tiny_folder, model_name="chatty") as binding:
        yield binding


@pytest.fixture(scope="module")
def answers(binding: LlamaCppBinding) -> dict[str, str]:
    """Prompts and what the model says to each, asked alone."""
    prompts = [f"{number} {chr(97 + number % 26) * (number % 7 + 1)}" for number in range(200 if FULL else 40)]
    found = {prompt: binding.chat(prompt, **ALONE).text for prompt in prompts}
    # Else mixed up answers would not be noticed.
    assert len(set(found.values())) > len(prompts) // 3
    return found


def test_threads(binding: LlamaCppBinding, answers: dict[str, str]) -> None:
    """As many threads as prompts, all at once on one binding."""
    start = threading.Barrier(len(answers))
    found: dict[str, list[str]] = {prompt: [] for prompt in answers}

    def ask(prompt: str) -> None:
        start.wait(60)
        found[prompt].append(binding.chat(prompt, **ALONE).text)
        found[prompt].append("".join(binding.stream(prompt, **ALONE).text_stream))

    threads = [threading.Thread(target=ask, args=(prompt,)) for prompt in answers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(100)
    assert found == {prompt: [answer, answer] for prompt, answer in answers.items()}


def test_calls_in_a_row(binding: LlamaCppBinding, answers: dict[str, str]) -> None:
    """Short calls one after the other, prompts by chance."""
    chance = random.Random(1)  # noqa: S311 - to be the same each time
    prompts = [chance.choice(list(answers)) for _ in range(1000 if FULL else 100)]
    assert [binding.generate_text(prompt, **ALONE) for prompt in prompts] == [answers[prompt] for prompt in prompts]


async def test_streams(binding: LlamaCppBinding, answers: dict[str, str]) -> None:
    """Concurrent async streams, a third of which are given up after their first piece: the others are right."""
    chance = random.Random(2)  # noqa: S311
    prompts = [chance.choice(list(answers)) for _ in range(100 if FULL else 20)]
    given_up = set(chance.sample(range(len(prompts)), len(prompts) // 3))

    async def read(number: int) -> str:
        text = ""
        async with binding.astream(prompts[number], **ALONE) as stream:
            async for piece in stream.text_stream:
                text += piece
                if number in given_up:
                    break
        return text

    found = await asyncio.wait_for(asyncio.gather(*map(read, range(len(prompts)))), 100)
    for number, text in enumerate(found):
        whole = answers[prompts[number]]
        assert whole.startswith(text) if number in given_up else text == whole
    assert binding.chat(prompts[0], **ALONE).text == answers[prompts[0]]


async def test_cancelled_tasks(binding: LlamaCppBinding, answers: dict[str, str]) -> None:
    """Tasks cancelled by chance, before or in the midst of their answers, cost the others nothing."""
    chance = random.Random(3)  # noqa: S311
    prompts = [chance.choice(list(answers)) for _ in range(90 if FULL else 18)]
    tasks = [asyncio.ensure_future(binding.achat(prompt, **ALONE)) for prompt in prompts]
    cancelled = chance.sample(tasks, len(tasks) // 3)
    for task in cancelled[::2]:
        task.cancel()
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in cancelled[1::2]:
        task.cancel()
    done = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 100)
    for prompt, task, outcome in zip(prompts, tasks, done, strict=True):
        if isinstance(outcome, asyncio.CancelledError):
            assert task in cancelled
        else:
            assert not isinstance(outcome, BaseException), outcome
            assert outcome.text == answers[prompt]
