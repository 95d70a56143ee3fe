"""Many texts go in several requests, some of them at once; the vectors come in the order of the texts."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
from ollama_wire import WAIT, Server, until_left, whole

from lollms_core import BackendError, LollmsError, ProtocolError
from lollms_http.options import DEFAULT_EMBED_BATCH_SIZE as EMBED_BATCH
from lollms_ollama import OllamaBinding

Make = Callable[..., OllamaBinding]
Embed = Callable[..., list[list[float]]]
TEXTS = [str(number) for number in range(EMBED_BATCH * 8 + 3)]
VECTORS = [[float(number), 1.0] for number in range(len(TEXTS))]


@pytest.fixture(params=["sync", "async"])
def embed(request: pytest.FixtureRequest) -> Embed:
    """``embed(binding, texts, **fields)``, by the blocking and by the asyncio transport."""
    if request.param == "sync":
        return lambda binding, *args, **fields: binding.embed(*args, **fields)

    def run(binding: OllamaBinding, *args: Any, **fields: Any) -> Any:
        async def main() -> Any:
            return await binding.aembed(*args, **fields)

        return asyncio.run(main())

    return run


def of(heard: Any) -> Any:
    return whole({"embeddings": [[float(text), 1.0] for text in heard.json["input"]]})


class Crowd:
    """Holds each answer back until `size` requests are there, and counts them."""

    def __init__(self, size: int) -> None:
        self._barrier = threading.Barrier(size, timeout=WAIT)
        self._lock = threading.Lock()
        self._now = 0
        self.most = 0

    def __call__(self, heard: Any) -> Any:
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)
        self._barrier.wait()
        with self._lock:
            self._now -= 1
        return of(heard)


@pytest.mark.parametrize("at_once", [1, 2, 4])
def test_as_many_at_once_as_allowed_and_in_order(server: Server, make: Make, embed: Embed, at_once: int) -> None:
    texts = TEXTS[: EMBED_BATCH * 8]
    crowd = Crowd(at_once)  # none would be answered if fewer came
    server.on("/api/embed", crowd)
    assert embed(make(), texts, embed_concurrency=at_once) == VECTORS[: len(texts)]
    assert crowd.most == at_once


def test_whatever_answer_comes_first(server: Server, make: Make, embed: Embed) -> None:
    """The first batch is answered last."""
    others = threading.Semaphore(0)

    def answer(heard: Any) -> Any:
        if heard.json["input"][0] == "0":
            for _ in range(8):
                assert others.acquire(timeout=WAIT)
            return of(heard)
        return [*of(heard), others.release]

    server.on("/api/embed", answer)
    assert embed(make(), TEXTS) == VECTORS


def test_the_default_is_four(server: Server, make: Make, embed: Embed) -> None:
    crowd = Crowd(4)
    server.on("/api/embed", crowd)
    embed(make(), TEXTS[: EMBED_BATCH * 4])
    assert crowd.most == 4


@pytest.mark.parametrize("wrong", [0, 65, 1.5, "2", True])
def test_a_concurrency_that_is_none(make: Make, wrong: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="embed_concurrency"):
        make(embed_concurrency=wrong)


def test_dimensions_are_sent_with_every_batch(server: Server, make: Make, embed: Embed) -> None:
    server.on("/api/embed", of)
    embed(make(), TEXTS, dimensions=2)
    sent = [heard.json["dimensions"] for heard in server.heard if heard.path == "/api/embed"]
    assert sent == [2] * 9


def test_all_vectors_are_of_one_size(server: Server, make: Make, embed: Embed) -> None:
    def answer(heard: Any) -> Any:
        size = 3 if heard.json["input"][0] == str(EMBED_BATCH) else 2
        return whole({"embeddings": [[1.0] * size for _ in heard.json["input"]]})

    server.on("/api/embed", answer)
    with pytest.raises(ProtocolError, match="different size"):
        embed(make(), TEXTS[: EMBED_BATCH * 2])


@pytest.mark.parametrize("fault", ["refused", "too few", "no JSON"])
def test_what_goes_wrong_with_one_ends_the_others(server: Server, make: Make, embed: Embed, fault: str) -> None:
    held = threading.Semaphore(0)

    def answer(heard: Any) -> Any:
        if heard.json["input"][0] != "0":
            return [held.release, until_left]  # never answered
        for _ in range(3):
            assert held.acquire(timeout=WAIT)
        if fault == "refused":
            return whole({"error": "boom"}, "500 Oops")
        return whole({"embeddings": []} if fault == "too few" else b"what?")

    server.on("/api/embed", answer)
    with pytest.raises(BackendError if fault == "refused" else ProtocolError) as caught:
        embed(make(), TEXTS)
    assert "cancelled" not in str(caught.value)
    assert server.paths().count("/api/embed") == 4  # no further one was begun
    for _ in range(3):
        assert server.left.acquire(timeout=1)  # the others' connections were closed at once


@pytest.mark.parametrize("how", ["cancel", "close"])
def test_all_end_together(server: Server, make: Make, embed: Embed, how: str) -> None:
    held = threading.Semaphore(0)
    server.on("/api/embed", lambda _: [held.release, until_left])
    binding = make(timeout=600, retries=3)
    raised: list[LollmsError] = []

    def read() -> None:
        try:
            embed(binding, TEXTS)
        except LollmsError as error:
            raised.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(4):
        assert held.acquire(timeout=WAIT)
    getattr(binding, how)()
    for _ in range(4):
        assert server.left.acquire(timeout=1)
    reader.join(WAIT)
    assert not reader.is_alive()
    assert "cancelled" in str(raised[0])


async def test_a_cancelled_task_ends_them_all(server: Server, make: Make) -> None:
    held = threading.Semaphore(0)
    server.on("/api/embed", lambda _: [held.release, until_left])
    async with make(timeout=600) as binding:
        task = asyncio.create_task(binding.aembed(TEXTS))
        for _ in range(4):
            assert await asyncio.to_thread(held.acquire, timeout=WAIT)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        for _ in range(4):
            assert await asyncio.to_thread(server.left.acquire, timeout=1)
