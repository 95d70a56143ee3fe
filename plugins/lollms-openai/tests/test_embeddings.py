"""Texts to vectors: batches, order, sizes, both encodings."""

from __future__ import annotations

import asyncio
import base64
import struct
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from openai_wire import Loopback, Reply, http

from lollms_core import CapabilityNotSupported, LollmsError, ProtocolError, RateLimited, StreamInterrupted
from lollms_openai import OpenAIBinding
from lollms_openai.presets import groq

Bind = Callable[..., OpenAIBinding]
Ask = Callable[..., Any]
PATH = "/v1/embeddings"


def vectors(seen: Any, *, encoded: bool = False) -> Reply:
    """Each text's length and a constant, the last text first."""
    data: list[dict[str, Any]] = []
    for index, text in enumerate(seen.body["input"]):
        vector: Any = [float(len(text)), 0.5]
        if encoded:
            vector = base64.b64encode(struct.pack("<2f", *vector)).decode()
        data.insert(0, {"object": "embedding", "index": index, "embedding": vector})
    return Reply(http({"object": "list", "data": data, "usage": {"prompt_tokens": 1, "total_tokens": 1}}))


@pytest.mark.parametrize("encoded", [False, True])
def test_order_is_kept_over_batches(server: Loopback, bind: Bind, ask: Ask, encoded: bool) -> None:
    server.answer = lambda seen: vectors(seen, encoded=encoded)
    binding = bind(embed_batch_size=2)
    texts = ["a", "bb", "ccc", "dddd", "eeeee"]
    assert ask(binding, "embed", texts) == [[float(len(text)), 0.5] for text in texts]
    assert sorted(body["input"] for body in server.bodies(PATH)) == [["a", "bb"], ["ccc", "dddd"], ["eeeee"]]
    assert ask(binding, "embed", "abc") == [3.0, 0.5]
    assert ask(binding, "embed", []) == []
    assert len(server.seen) == 4


def test_model_and_dimensions(server: Loopback, bind: Bind, ask: Ask) -> None:
    server.answer = vectors
    ask(bind(), "embed", "x", model="other", dimensions=2)
    assert server.bodies(PATH) == [{"model": "other", "input": ["x"], "dimensions": 2}]
    with pytest.raises(ProtocolError, match="2 numbers where 3"):
        ask(bind(), "embed", "x", dimensions=3)


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"data": []},
        {"data": [{"index": 0, "embedding": [1.0]}]},
        {"data": [{"index": 0, "embedding": [1.0]}, {"index": 0, "embedding": [1.0]}]},
        {"data": [{"index": 0, "embedding": [1.0]}, {"index": 1, "embedding": [1.0, 2.0]}]},
        {"data": [{"index": 0, "embedding": [1.0]}, {"index": 1, "embedding": []}]},
        {"data": [{"index": 0, "embedding": [1.0]}, {"index": 1, "embedding": ["x"]}]},
        {"data": [{"index": 0, "embedding": "AAAA"}, {"index": 1, "embedding": "AAAA"}]},
        {"data": [{"index": 0, "embedding": "!"}, {"index": 1, "embedding": "!"}]},
        {"data": ["x", "y"]},
    ],
)
def test_answers_that_do_not_fit(server: Loopback, bind: Bind, ask: Ask, answer: Any) -> None:
    server.on(PATH, http(answer))
    with pytest.raises(ProtocolError, match=r"127\.0\.0\.1.*'m1'"):
        ask(bind(), "embed", ["a", "b"])


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (
            "501 Not Implemented",
            {"code": 501, "message": "This server does not support embeddings.", "type": "not_supported_error"},
        ),
        ("500 Oops", {"message": "Llama model must be created with embedding=True to call this method"}),
        ("403 Forbidden", {"message": "You are not allowed to generate embeddings from this model"}),
        ("400 Bad Request", {"message": "The model does not support Embeddings API", "code": 400}),
    ],
)
def test_a_model_that_cannot_embed(server: Loopback, bind: Bind, ask: Ask, status: str, error: dict[str, Any]) -> None:
    server.on(PATH, http({"error": error}, status))
    with pytest.raises(CapabilityNotSupported, match=r"127\.0\.0\.1.*'m1' cannot embed"):
        ask(bind(retries=2), "embed", "x")
    assert len(server.seen) == 1


def test_a_vector_for_each_token_is_not_one_for_the_text(server: Loopback, bind: Bind, ask: Ask) -> None:
    server.on(PATH, http({"data": [{"index": 0, "embedding": [[1.0], [2.0]]}]}))
    with pytest.raises(CapabilityNotSupported, match="for each token"):
        ask(bind(), "embed", "x")


def test_a_service_without_embeddings(bind: Bind, ask: Ask) -> None:
    with pytest.raises(CapabilityNotSupported):
        ask(bind(groq, host_address=None), "embed", "x")


def test_misuse(bind: Bind, ask: Ask) -> None:
    for bad in (3, None, [3], b"x"):
        with pytest.raises(TypeError):
            ask(bind(), "embed", bad)
    with pytest.raises(TypeError, match="dimensons"):
        ask(bind(), "embed", "x", dimensons=3)
    with pytest.raises(ValueError, match="at least 1"):
        ask(bind(), "embed", "x", embed_batch_size=0)


# Several requests at the same time -----------------------------------------------------------------------


class Crowd:
    """Answers that wait until so many requests are there at the same time."""

    def __init__(self, size: int) -> None:
        self._barrier = threading.Barrier(size)
        self._lock = threading.Lock()
        self._here = 0
        self.most = 0

    def __call__(self, seen: Any) -> Reply:
        with self._lock:
            self._here += 1
            self.most = max(self.most, self._here)
        self._barrier.wait(10)
        with self._lock:
            self._here -= 1
        return vectors(seen)


@pytest.mark.parametrize(("options", "size"), [({}, 4), ({"embed_concurrency": 3}, 3), ({"embed_concurrency": 1}, 1)])
def test_so_many_at_the_same_time_and_no_more(
    server: Loopback, bind: Bind, ask: Ask, options: dict[str, Any], size: int
) -> None:
    crowd = server.answer = Crowd(size)
    texts = ["x" * length for length in range(1, 4 * size + 1)]
    assert ask(bind(embed_batch_size=1), "embed", texts, **options) == [[float(len(text)), 0.5] for text in texts]
    assert crowd.most == size


def test_sizes_are_equal_over_batches(server: Loopback, bind: Bind, ask: Ask) -> None:
    def answer(seen: Any) -> Reply:
        (text,) = seen.body["input"]
        return Reply(http({"data": [{"index": 0, "embedding": [0.5] * len(text)}]}))

    server.answer = answer
    with pytest.raises(ProtocolError, match=r"127\.0\.0\.1.*'m1'.*vector of [12] numbers"):
        ask(bind(embed_batch_size=1), "embed", ["a", "bb"])


def test_the_first_failure_ends_the_rest(server: Loopback, bind: Bind, ask: Ask) -> None:
    all_there = threading.Barrier(3)

    def answer(seen: Any) -> Reply:
        if len(server.seen) <= 3:
            all_there.wait(10)
        if seen.body["input"] == ["bad"]:
            return Reply(http({"error": {"message": "slow down"}}, "429 Too Many"))
        return Reply(b"", "hold")

    server.answer = answer
    binding = bind(embed_batch_size=1, embed_concurrency=3)
    started = time.monotonic()
    with pytest.raises(RateLimited, match="slow down"):
        ask(binding, "embed", ["a", "bad", "b", *["c"] * 50])
    assert time.monotonic() - started < 5
    # Those that were under way; one of the waiting ones may have taken the place of the first that ended.
    assert len(server.seen) <= 4
    for _ in range(2):
        assert server.gone.acquire(timeout=1)


@pytest.mark.parametrize("how", ["cancel", "close"])
def test_ending_ends_all(server: Loopback, bind: Bind, how: str) -> None:
    server.answer = lambda _: Reply(b"", "hold")
    binding = bind(embed_batch_size=1, embed_concurrency=3)
    results: list[Any] = []

    def work() -> None:
        try:
            results.append(binding.embed(list("abcdefgh")))
        except LollmsError as exc:
            results.append(exc)

    thread = threading.Thread(target=work)
    thread.start()
    for _ in range(3):
        assert server.arrived.acquire(timeout=10)
    getattr(binding, how)()
    for _ in range(3):
        assert server.gone.acquire(timeout=1)
    thread.join(10)
    assert isinstance(results[0], StreamInterrupted)
    assert len(server.seen) == 3


@pytest.mark.parametrize("how", ["cancel", "task", "aclose"])
async def test_ending_ends_all_on_asyncio(server: Loopback, bind: Bind, how: str) -> None:
    server.answer = lambda _: Reply(b"", "hold")
    binding = bind(embed_batch_size=1, embed_concurrency=3)
    task = asyncio.create_task(binding.aembed(list("abcdefgh")))
    for _ in range(3):
        assert await asyncio.to_thread(server.arrived.acquire, timeout=10)
    if how == "task":
        task.cancel()
    elif how == "cancel":
        binding.cancel()
    else:
        await binding.aclose()
    with pytest.raises(asyncio.CancelledError if how == "task" else StreamInterrupted):
        await task
    for _ in range(3):
        assert await asyncio.to_thread(server.gone.acquire, timeout=1)
    assert len(server.seen) == 3
    await binding.aclose()


def test_misuse_of_the_number(bind: Bind, ask: Ask) -> None:
    with pytest.raises(ValueError, match="embed_concurrency must be at least 1"):
        ask(bind(), "embed", "x", embed_concurrency=0)
