"""Ending a request from every side: the server sees its connection close within a second, and nothing is left."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
from openai_wire import STREAM, TEXT, Loopback, Reply, chunk, chunked, completion, http, sse

from lollms_core import BackendUnavailable, StreamInterrupted
from lollms_openai import OpenAIBinding

Bind = Callable[..., OpenAIBinding]
Ask = Callable[..., Any]
CHAT = "/v1/chat/completions"
BEGUN = Reply(chunked(sse(chunk("The "), chunk("sky "), done=False), end=False), "hold")
SILENT = Reply(b"", "hold")


def in_thread(work: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    results: list[Any] = []

    def run() -> None:
        try:
            results.append(work())
        except Exception as exc:  # noqa: BLE001 - looked at by the test
            results.append(exc)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, results


def test_callback_false(server: Loopback, bind: Bind, ask: Ask) -> None:
    server.on(CHAT, BEGUN)
    assert ask(bind(), "generate_text", "x", streaming_callback=lambda *_: False) == "The "
    assert server.gone.acquire(timeout=1)


def test_a_callback_that_raises(server: Loopback, bind: Bind, ask: Ask) -> None:
    server.on(CHAT, BEGUN)

    def callback(*_: Any) -> None:
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        ask(bind(), "generate_text", "x", streaming_callback=callback)
    assert server.gone.acquire(timeout=1)


def test_break(server: Loopback, bind: Bind) -> None:
    server.on(CHAT, BEGUN)
    stream = bind().stream("x")
    for _ in stream:
        break
    assert server.gone.acquire(timeout=1)
    assert (stream.completion.text, stream.completion.finish_reason) == ("The ", "cancelled")


async def test_async_break(server: Loopback, bind: Bind) -> None:
    server.on(CHAT, BEGUN)
    binding = bind()
    async with binding.astream("x") as stream:
        async for _ in stream:
            break
    assert await asyncio.to_thread(server.gone.acquire, timeout=1)
    assert stream.completion.text == "The "
    await binding.aclose()


@pytest.mark.parametrize("reply", [SILENT, BEGUN], ids=["before the headers", "in the middle"])
@pytest.mark.parametrize("used", [False, True], ids=["new connection", "used connection"])
def test_cancel_from_another_thread(server: Loopback, bind: Bind, reply: Reply, used: bool) -> None:
    binding = bind()
    if used:
        server.on(CHAT, http(completion()))
        binding.chat("x")
        assert server.arrived.acquire(timeout=10)
    server.on(CHAT, reply)
    started = threading.Event()
    thread, results = in_thread(lambda: binding.generate_text("x", streaming_callback=lambda *_: started.set()))
    assert server.arrived.acquire(timeout=10)
    if reply is BEGUN:
        assert started.wait(10)
    binding.cancel()
    assert server.gone.acquire(timeout=1)
    thread.join(10)
    assert results[0] in ("", "The ", "The sky ")
    assert server.connections == 1
    server.on(CHAT, chunked(STREAM))
    assert binding.generate_text("x", stream=True) == TEXT


@pytest.mark.parametrize("reply", [SILENT, BEGUN], ids=["before the headers", "in the middle"])
async def test_async_cancel(server: Loopback, bind: Bind, reply: Reply) -> None:
    server.on(CHAT, reply)
    binding = bind()
    task = asyncio.create_task(binding.agenerate_text("x", stream=True))
    assert await asyncio.to_thread(server.arrived.acquire, timeout=10)
    binding.cancel()
    assert await task in ("", "The ", "The sky ")
    assert await asyncio.to_thread(server.gone.acquire, timeout=1)
    await binding.aclose()


@pytest.mark.parametrize("reply", [SILENT, BEGUN], ids=["before the headers", "in the middle"])
async def test_a_cancelled_task(server: Loopback, bind: Bind, reply: Reply) -> None:
    server.on(CHAT, reply)
    binding = bind()
    task = asyncio.create_task(binding.agenerate_text("x", stream=True))
    assert await asyncio.to_thread(server.arrived.acquire, timeout=10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.to_thread(server.gone.acquire, timeout=1)
    await binding.aclose()


def test_cancel_ends_the_wait_before_a_retry(server: Loopback, bind: Bind) -> None:
    server.on(CHAT, http("", "503 Busy", Retry_After="100"))
    binding = bind(retries=2, retry_budget=1000.0)
    thread, results = in_thread(lambda: binding.generate_text("x"))
    assert server.arrived.acquire(timeout=10)
    binding.cancel()
    thread.join(10)
    assert results == [""]


@pytest.mark.parametrize("reply", [SILENT, BEGUN], ids=["before the headers", "in the middle"])
@pytest.mark.parametrize("streamed", [False, True])
def test_a_stream_closed_from_another_thread(server: Loopback, bind: Bind, reply: Reply, streamed: bool) -> None:
    server.on(CHAT, reply)
    binding = bind()
    stream = binding.stream("x")
    thread, results = in_thread(lambda: [str(event) for event in stream])
    assert server.arrived.acquire(timeout=10)
    stream.close() if streamed else binding.close()
    assert server.gone.acquire(timeout=1)
    thread.join(10)
    assert results[0] in ([], ["The "], ["The ", "sky "])
    assert stream.completion.finish_reason == "cancelled"


def test_with_ends_it(server: Loopback, bind: Bind) -> None:
    server.on(CHAT, BEGUN)
    with bind().stream("x") as stream:
        assert str(next(iter(stream))) == "The "
    assert server.gone.acquire(timeout=1)


@pytest.mark.parametrize("reply", [SILENT, BEGUN], ids=["before the headers", "in the middle"])
async def test_aclose_from_another_task(server: Loopback, bind: Bind, reply: Reply) -> None:
    server.on(CHAT, reply)
    binding = bind()
    task = asyncio.create_task(binding.achat("x", stream=True))
    assert await asyncio.to_thread(server.arrived.acquire, timeout=10)
    await binding.aclose()
    assert (await task).finish_reason == "cancelled"
    assert await asyncio.to_thread(server.gone.acquire, timeout=1)


@pytest.mark.parametrize("method", ["achat", "aembed"])
async def test_a_cancelled_task_that_asks_for_no_stream(server: Loopback, bind: Bind, method: str) -> None:
    server.on(CHAT, SILENT)
    server.on("/v1/embeddings", SILENT)
    binding = bind()
    task = asyncio.create_task(getattr(binding, method)("x"))
    assert await asyncio.to_thread(server.arrived.acquire, timeout=10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.to_thread(server.gone.acquire, timeout=1)
    await binding.aclose()


def test_cancel_in_the_middle_of_a_call(server: Loopback, bind: Bind) -> None:
    """What there is of a call is no call."""
    function = {"name": "f", "arguments": '{"x":'}
    delta = {"tool_calls": [{"index": 0, "id": "a", "function": function}]}
    begun = sse(chunk("Hm."), {**chunk(), "choices": [{"index": 0, "delta": delta}]}, done=False)
    server.on(CHAT, Reply(chunked(begun, end=False), "hold"))
    binding = bind()
    with binding.stream("x", tools=[{"name": "f"}]) as stream:
        assert str(next(iter(stream))) == "Hm."
        binding.cancel()
    assert server.gone.acquire(timeout=1)
    assert (stream.completion.tool_calls, stream.completion.finish_reason) == ([], "cancelled")


def test_cancel_ends_embedding(server: Loopback, bind: Bind) -> None:
    server.on("/v1/embeddings", SILENT)
    binding = bind()
    thread, results = in_thread(lambda: binding.embed("x"))
    assert server.arrived.acquire(timeout=10)
    binding.cancel()
    thread.join(10)
    assert isinstance(results[0], StreamInterrupted)


async def test_cancel_ends_async_embedding(server: Loopback, bind: Bind) -> None:
    server.on("/v1/embeddings", SILENT)
    binding = bind()
    task = asyncio.create_task(binding.aembed("x"))
    assert await asyncio.to_thread(server.arrived.acquire, timeout=10)
    binding.cancel()
    with pytest.raises(StreamInterrupted):
        await task
    await binding.aclose()


def test_close_while_threads_read(server: Loopback, bind: Bind) -> None:
    server.on(CHAT, BEGUN)
    binding = bind()
    threads = [in_thread(lambda: binding.generate_text("x", stream=True)) for _ in range(8)]
    for _ in threads:
        assert server.arrived.acquire(timeout=10)
    binding.close()
    for thread, results in threads:
        thread.join(10)
        assert results[0] in ("", "The ", "The sky ")
    with pytest.raises(BackendUnavailable, match="is closed"):
        binding.chat("x")
    with pytest.raises(BackendUnavailable, match="is closed"):
        binding.listModels()


def test_close_from_a_callback(server: Loopback, bind: Bind) -> None:
    server.on(CHAT, BEGUN)
    binding = bind()
    assert binding.generate_text("x", streaming_callback=lambda *_: binding.close()) == "The "


async def test_close_from_another_thread_while_a_loop_runs(server: Loopback, bind: Bind) -> None:
    server.on(CHAT, http(completion()))
    binding = bind()
    await binding.achat("x")
    await asyncio.to_thread(binding.close)
    with pytest.raises(BackendUnavailable, match="is closed"):
        await binding.achat("x")


def test_a_binding_that_nobody_closes(server: Loopback) -> None:
    server.on(CHAT, http(completion()))
    binding = OpenAIBinding(host_address=server.url, model_name="m1")
    binding.chat("x")
    asyncio.run(binding.achat("x"))
    del binding
