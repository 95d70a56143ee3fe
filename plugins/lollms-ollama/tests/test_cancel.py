"""However a request is ended, the server sees its connection close, and nothing is left behind."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from ollama_wire import WAIT, Server, begun, over, said, streamed, until_left

from lollms_core import BackendTimeout, Completion, LollmsError, Progress
from lollms_http import binding as http_binding
from lollms_ollama import OllamaBinding

Make = Callable[..., OllamaBinding]


def endless(server: Server) -> Any:
    """An answer that goes on until the connection is closed."""

    def answer(_: Any) -> Any:
        yield from begun(said("one "))
        while not server.released.is_set():
            yield streamed(said("more "))[1]
            server.released.wait(0.005)

    return answer


def gone(server: Server) -> bool:
    """Whether a connection has been closed by the client."""
    return server.left.acquire(timeout=WAIT)


def test_false_from_the_callback(server: Server, make: Make) -> None:
    server.on("/api/chat", endless(server))
    assert make().generate_text("x", streaming_callback=lambda *_: False) == "one "
    assert gone(server)


def test_an_exception_of_the_callback(server: Server, make: Make) -> None:
    server.on("/api/chat", endless(server))

    def callback(*_: Any) -> None:
        raise LookupError("mine")

    with pytest.raises(LookupError):
        make().generate_text("x", streaming_callback=callback)
    assert gone(server)


def test_leaving_the_loop(server: Server, make: Make) -> None:
    server.on("/api/chat", endless(server), streamed(said("fine"), over()))
    binding = make()
    stream = binding.stream("x")
    for _ in stream:
        break
    assert gone(server)
    assert stream.completion.text == "one "
    assert binding.generate_text("x") == "fine"


@pytest.mark.parametrize("when", ["before the headers", "in the answer"])
@pytest.mark.parametrize("how", ["cancel", "close"])
def test_from_another_thread_while_reading_blocks(server: Server, make: Make, when: str, how: str) -> None:
    reading, heard = threading.Event(), threading.Event()
    opening = begun(said("one ")) if when == "in the answer" else []
    server.on("/api/chat", [*opening, reading.set, server.hold])
    binding = make(timeout=600, retries=3)
    stream = binding.stream("x")

    def read() -> None:
        for _ in stream:
            heard.set()

    reader = threading.Thread(target=read)
    reader.start()
    assert (heard if opening else reading).wait(WAIT)
    getattr(binding, how)()
    reader.join(WAIT)
    assert not reader.is_alive()
    assert stream.completion.finish_reason == "cancelled"
    assert stream.completion.text == ("one " if opening else "")


@pytest.mark.timeout(30, method="thread")
def test_while_the_model_is_looked_up(server: Server, make: Make) -> None:
    """What must be known before the request belongs to it: it can be cancelled, and its deadline counts."""
    reading = threading.Event()
    server.on("/api/show", [reading.set, server.hold])
    binding = make(timeout=600)
    stream = binding.stream("x")
    assert server.heard == []
    reader = threading.Thread(target=lambda: list(stream))
    reader.start()
    assert reading.wait(WAIT)
    stream.cancel()
    reader.join(WAIT)
    assert not reader.is_alive()
    assert stream.completion.finish_reason == "cancelled"
    with pytest.raises(BackendTimeout, match=r"deadline of 0\.2 s"):
        binding.chat("x", deadline=0.2)
    answer = binding.generate_from_messages([{"role": "user", "content": "x"}], deadline=0.2)
    assert isinstance(answer, dict)
    assert answer["error_type"] == "BackendTimeout"


@pytest.mark.timeout(30, method="thread")
def test_nobody_waits_long_to_learn_what_a_model_can_do(
    server: Server, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_binding, "LOOK_UP_SECONDS", 0.2)
    server.on("/api/show", [server.hold])
    binding = make(timeout=600)
    assert binding.capabilities_of() == binding.capabilities
    assert binding.get_model_info()["loaded"] is False
    # Images need a model that sees; that it could not be asked is said by the request, within its own time.
    with pytest.raises(BackendTimeout, match=r"deadline of 0\.2 s"):
        binding.chat("x", images=["data:image/png;base64,iVBORw0KGgo="], deadline=0.2)


def test_a_stream_closed_from_another_thread(server: Server, make: Make) -> None:
    reading = threading.Event()
    server.on("/api/chat", [*begun(said("one ")), reading.set, server.hold])
    stream = make(timeout=600).stream("x")
    texts: list[str] = []
    reader = threading.Thread(target=lambda: texts.extend(stream.text_stream))
    reader.start()
    assert reading.wait(WAIT)
    stream.close()
    reader.join(WAIT)
    assert not reader.is_alive()


def test_between_two_tries(server: Server, make: Make) -> None:
    """A request that waits to be sent again stops waiting."""
    refused = threading.Event()

    def answer(_: Any) -> Any:
        yield b"HTTP/1.1 503 No\r\nRetry-After: 100\r\nContent-Length: 0\r\n\r\n"
        refused.set()

    server.on("/api/chat", answer)
    binding = make(retries=3, retry_budget=1000)
    results: list[Completion] = []
    reader = threading.Thread(target=lambda: results.append(binding.chat("x")))
    reader.start()
    assert refused.wait(WAIT)
    while not results:
        binding.cancel()
        reader.join(0.01)
    assert results[0].finish_reason == "cancelled"


def test_cancelling_an_embedding(server: Server, make: Make) -> None:
    reading = threading.Event()
    server.on("/api/embed", [reading.set, server.hold])
    binding = make(timeout=600)
    raised: list[LollmsError] = []

    def read() -> None:
        try:
            binding.embed("x")
        except LollmsError as error:
            raised.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    assert reading.wait(WAIT)
    binding.cancel()
    reader.join(WAIT)
    assert not reader.is_alive()
    assert raised


async def test_a_cancelled_task(server: Server, make: Make) -> None:
    server.on("/api/chat", endless(server))
    async with make() as binding:
        for pieces in (0, 1):
            task = asyncio.create_task(read_some(binding))
            await asyncio.to_thread(wait_for, server, 1 + pieces)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await asyncio.to_thread(gone, server)


async def read_some(binding: OllamaBinding) -> None:
    async for _ in binding.astream("x"):
        pass


def wait_for(server: Server, count: int) -> None:
    while server.paths().count("/api/chat") < count:
        server.released.wait(0.005)


async def test_leaving_an_async_loop(server: Server, make: Make) -> None:
    server.on("/api/chat", endless(server), streamed(said("fine"), over()))
    async with make() as binding:
        stream = binding.astream("x")
        async with stream:
            async for _ in stream:
                break
        assert await asyncio.to_thread(gone, server)
        assert (await binding.achat("x")).text == "fine"


async def test_cancel_from_another_thread_ends_an_async_request(server: Server, make: Make) -> None:
    reading = threading.Event()
    server.on("/api/chat", [*begun(said("one ")), reading.set, server.hold])
    async with make() as binding:
        task = asyncio.create_task(binding.achat("x"))
        await asyncio.to_thread(reading.wait, WAIT)
        await asyncio.to_thread(binding.cancel)
        assert (await task).finish_reason == "cancelled"


def test_a_binding_closed_from_outside_of_its_loop(server: Server, make: Make) -> None:
    """close() in a thread without a loop also closes the connections that a running loop keeps."""
    binding = make()

    async def main() -> None:
        await binding.achat("x")
        await asyncio.to_thread(binding.close)
        assert await asyncio.to_thread(gone, server)

    asyncio.run(main())


# The server sees it within a second, before the headers too ----------------------------------------------

WHEN = ["before the headers", "in the answer"]


def waiting(server: Server, path: str, when: str, *records: Any) -> threading.Semaphore:
    """Have `path` answer with `records`, or nothing, and then wait for the client to leave; one for each request."""
    there = threading.Semaphore(0)
    opening = begun(*records) if when == "in the answer" else []
    server.on(path, lambda _: [*opening, there.release, until_left])
    return there


def read_all(events: Iterable[object], heard: threading.Semaphore) -> None:
    for _ in events:
        heard.release()


def left_at_once(server: Server) -> bool:
    return server.left.acquire(timeout=1)


@pytest.mark.parametrize("when", WHEN)
@pytest.mark.parametrize("how", ["cancel", "close", "the stream's close"])
def test_generating(server: Server, make: Make, when: str, how: str) -> None:
    there = waiting(server, "/api/chat", when, said("one "))
    binding = make(timeout=600, retries=3)
    stream = binding.stream("x")
    heard = threading.Semaphore(0)
    reader = threading.Thread(target=read_all, args=(stream, heard))
    reader.start()
    assert (heard if when == "in the answer" else there).acquire(timeout=WAIT)
    {"cancel": binding.cancel, "close": binding.close, "the stream's close": stream.close}[how]()
    assert left_at_once(server)
    reader.join(WAIT)
    assert not reader.is_alive()
    assert stream.completion.finish_reason == "cancelled"


@pytest.mark.parametrize("when", WHEN)
@pytest.mark.parametrize("how", ["cancel", "task", "aclose"])
async def test_generating_async(server: Server, make: Make, when: str, how: str) -> None:
    there = waiting(server, "/api/chat", when, said("one "))
    async with make(timeout=600, retries=3) as binding:
        stream = binding.astream("x")

        heard = threading.Semaphore(0)

        async def read() -> None:
            async for _ in stream:
                heard.release()

        task = asyncio.create_task(read())
        assert await asyncio.to_thread((heard if when == "in the answer" else there).acquire, timeout=WAIT)
        if how == "cancel":
            await asyncio.to_thread(binding.cancel)
        elif how == "task":
            task.cancel()
        else:
            await stream.aclose()
        assert await asyncio.to_thread(left_at_once, server)
        if how == "task":
            with pytest.raises(asyncio.CancelledError):
                await task
        else:
            await task
        assert stream.completion.text == ("one " if when == "in the answer" else "")


async def test_false_from_an_async_callback(server: Server, make: Make) -> None:
    waiting(server, "/api/chat", "in the answer", said("one "))
    async with make(timeout=600) as binding:
        assert await binding.agenerate_text("x", streaming_callback=lambda *_: False) == "one "
        assert await asyncio.to_thread(left_at_once, server)


PULLING = {"status": "pulling manifest"}


@pytest.mark.parametrize("when", WHEN)
@pytest.mark.parametrize("how", ["cancel", "close", "the stream's close"])
def test_pulling(server: Server, make: Make, when: str, how: str) -> None:
    there = waiting(server, "/api/pull", when, PULLING)
    binding = make(timeout=600, retries=3)
    stream = binding.pull("m")
    heard = threading.Semaphore(0)
    reader = threading.Thread(target=read_all, args=(stream, heard))
    reader.start()
    assert (heard if when == "in the answer" else there).acquire(timeout=WAIT)
    {"cancel": binding.cancel, "close": binding.close, "the stream's close": stream.close}[how]()
    assert left_at_once(server)
    reader.join(WAIT)
    assert not reader.is_alive()
    assert stream.cancelled
    assert stream.last == (Progress("pulling manifest") if when == "in the answer" else None)


def test_leaving_a_pull(server: Server, make: Make) -> None:
    waiting(server, "/api/pull", "in the answer", PULLING)
    binding = make(timeout=600)
    for _ in binding.pull("m"):
        break
    assert left_at_once(server)
    stream = binding.pull("m", progress=lambda _: False)
    assert left_at_once(server)
    assert stream.cancelled
    with pytest.raises(LookupError):
        binding.pull("m", progress=fail)
    assert left_at_once(server)


def fail(_: Progress) -> None:
    raise LookupError("mine")


@pytest.mark.parametrize("when", WHEN)
@pytest.mark.parametrize("how", ["cancel", "task", "aclose"])
async def test_pulling_async(server: Server, make: Make, when: str, how: str) -> None:
    there = waiting(server, "/api/pull", when, PULLING)
    async with make(timeout=600, retries=3) as binding:
        stream = binding.apull("m")

        heard = threading.Semaphore(0)

        async def read() -> None:
            async for _ in stream:
                heard.release()

        task = asyncio.create_task(read())
        assert await asyncio.to_thread((heard if when == "in the answer" else there).acquire, timeout=WAIT)
        if how == "cancel":
            await asyncio.to_thread(binding.cancel)
        elif how == "task":
            task.cancel()
        else:
            await stream.aclose()
        assert await asyncio.to_thread(left_at_once, server)
        if how == "task":
            with pytest.raises(asyncio.CancelledError):
                await task
        else:
            await task


async def test_leaving_an_async_pull(server: Server, make: Make) -> None:
    waiting(server, "/api/pull", "in the answer", PULLING)
    async with make(timeout=600) as binding:
        stream = await binding.apull("m", progress=lambda _: False)
        assert stream.cancelled
        assert await asyncio.to_thread(left_at_once, server)
        stream = binding.apull("m")
        async with stream:
            events = aiter(stream)
            assert await anext(events) == Progress("pulling manifest")
            await events.aclose()  # type: ignore[attr-defined]  # an async generator
        assert await asyncio.to_thread(left_at_once, server)
