"""The ways in which a caller ends a request, each played while the server is silent: before its answer, or in it.

After each, what had come by then is kept, the server sees its connection closed, nothing is left behind, and the
next request works.
"""

from __future__ import annotations

import asyncio
import ssl
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from lollms_core.binding import LollmsLLMBinding
from lollms_core.events import Completion, TextDelta
from lollms_core.testing.dialect import TEXT, Dialect
from lollms_core.testing.fault_server import HOLD, WAIT, FaultServer
from lollms_core.testing.playing import Factory, Mode, Report, places_of, tasks_left
from lollms_core.testing.resources import Held
from lollms_core.testing.secrets import MARKER, SecretWatch, packages_of

__all__ = ["ENDINGS", "Ending", "When", "play_ending"]

When: TypeAlias = Literal["before the answer", "in the middle of a stream"]

_BEGUN = ("Th\u00e9 ", "sky")
_MIDDLE: tuple[When, ...] = ("in the middle of a stream",)
_ANY: tuple[When, ...] = ("before the answer", *_MIDDLE)


class _Scene:
    """One request that is to be ended: when the moment has come, and when it was ended."""

    def __init__(self, server: FaultServer, dialect: Dialect, when: When) -> None:
        self.when = when
        self.begun = "" if when == "before the answer" else "".join(_BEGUN)
        self.ended = 0.0
        self._server, self._path = server, dialect.chat_path
        self._read = threading.Event()
        self._text = ""

    def take(self, event: object) -> bool:
        """Whether all has been read that comes; `event`: an event, or a callback's piece of text."""
        if isinstance(event, TextDelta):
            self._text += event.text
        elif isinstance(event, str):
            self._text += event
        if self._text != "".join(_BEGUN):
            return False
        self._read.set()
        return True

    def wait(self) -> None:
        """Wait, in another thread, until the server is silent and the caller has read what comes.

        Raises:
            TimeoutError: it does not come to that.
        """
        self._server.wait_asked(1, self._path)
        if self.when != "before the answer" and not self._read.wait(WAIT):
            raise TimeoutError(f"{WAIT:g} s without the beginning of the answer")

    def end(self, how: Callable[[], object] = lambda: None) -> None:
        """End it now; without `how` the caller does so by itself."""
        self.ended = time.monotonic()
        how()


class _Mine(Exception):
    """What a caller's callback raises."""


@dataclass(frozen=True, slots=True)
class Ending:
    """One way to end a request.

    Attributes:
        name: for reports.
        sync: asks, ends it, and gives the text that is left; None if only async code ends one so.
        asynch: the same with the async twin.
        whens: the moments at which it can be done.
    """

    name: str
    sync: Callable[[LollmsLLMBinding, _Scene], str] | None
    asynch: Callable[[LollmsLLMBinding, _Scene], Awaitable[str]] | None
    whens: tuple[When, ...] = _MIDDLE

    def has(self, mode: Mode) -> bool:
        """Whether it can be done in sync or async code."""
        return (self.sync if mode == "sync" else self.asynch) is not None


def play_ending(
    ending: Ending, dialect: Dialect, factory: Factory, when: When, mode: Mode, *, tls: ssl.SSLContext | None = None
) -> Report:
    """End one request so, over TLS if there is a `tls` for the server.

    Raises:
        AssertionError: something else is left of the text, something is held on to, the key that the binding was
            given shows, or the next request does not work.
        TimeoutError: the server does not see its connection closed.
    """
    who = f"{ending.name} {when} ({dialect.name}, {mode})"
    with FaultServer(tls=tls) as server:
        places_of(server, dialect)
        head = () if when == "before the answer" else dialect.stream(*dialect.pieces(*_BEGUN), ended=False).packets
        server.on(dialect.chat_path, (*head, HOLD), lambda asked: (dialect.answer(asked.body),))
        scene = _Scene(server, dialect, when)
        before = Held.now()
        address = f"{server.url}{dialect.address}"
        # Without a retry the one request is the one that is ended.
        binding = factory(host_address=address, service_key=MARKER, model_name=dialect.model, retries=0)
        run = _sync if mode == "sync" else _async
        with SecretWatch(*packages_of(binding)) as watch:
            text, left_at, following, tasks = run(ending, binding, scene, server)
        assert text == scene.begun, f"{who}: the text is {text!r}, not {scene.begun!r}"
        assert following == TEXT, f"{who}: the next request gave {following!r}"
        shown = watch.found(binding)
        assert not shown, f"{who}: the key shows: {shown[:3]}"
        asked = len(server.asked_at(dialect.chat_path))
        assert asked == 2, f"{who}: asked {asked} times, not twice"
        server.wait_closed()
        left = before.more()
        assert left + tasks == "", f"{who}: left behind: {left} {tasks}"
    return Report(asked, "ended", closed_after=max(0.0, left_at - scene.ended))


_Played: TypeAlias = tuple[str, float, str, str]


def _sync(ending: Ending, binding: LollmsLLMBinding, scene: _Scene, server: FaultServer) -> _Played:
    assert ending.sync is not None
    try:
        text = ending.sync(binding, scene)
        return text, server.wait_left(), binding.chat("Why?").text, ""
    finally:
        binding.close()


def _async(ending: Ending, binding: LollmsLLMBinding, scene: _Scene, server: FaultServer) -> _Played:
    async def main() -> _Played:
        assert ending.asynch is not None
        before = Held.now()
        try:
            text = await ending.asynch(binding, scene)
            left_at = await asyncio.to_thread(server.wait_left)
            following = (await binding.achat("Why?")).text
        finally:
            await binding.aclose()
        return text, left_at, following, await tasks_left(before)

    return asyncio.run(main())


# The ways ------------------------------------------------------------------------------------------------


def _kept(completion: Completion) -> str:
    assert completion.finish_reason == "cancelled", f"finish_reason {completion.finish_reason!r}"
    return completion.text


def _false(binding: LollmsLLMBinding, scene: _Scene) -> str:
    def callback(piece: str, _kind: object) -> bool | None:
        if not scene.take(piece):
            return None
        scene.end()
        return False

    return str(binding.generate_text("Why?", streaming_callback=callback))


async def _afalse(binding: LollmsLLMBinding, scene: _Scene) -> str:
    async def callback(piece: str, _kind: object) -> bool | None:
        if not scene.take(piece):
            return None
        scene.end()
        return False

    return str(await binding.agenerate_text("Why?", streaming_callback=callback))


def _raising(scene: _Scene) -> Callable[[str, object], None]:
    def callback(piece: str, _kind: object) -> None:
        if scene.take(piece):
            scene.end()
            raise _Mine

    return callback


def _raises(binding: LollmsLLMBinding, scene: _Scene) -> str:
    try:
        binding.generate_text("Why?", streaming_callback=_raising(scene))
    except _Mine:
        return scene.begun
    raise AssertionError("what the callback raised did not come out")


async def _araises(binding: LollmsLLMBinding, scene: _Scene) -> str:
    try:
        await binding.agenerate_text("Why?", streaming_callback=_raising(scene))
    except _Mine:
        return scene.begun
    raise AssertionError("what the callback raised did not come out")


def _break(binding: LollmsLLMBinding, scene: _Scene) -> str:
    stream = binding.stream("Why?")
    for event in stream:
        if scene.take(event):
            scene.end()
            break
    return _kept(stream.completion)


async def _abreak(binding: LollmsLLMBinding, scene: _Scene) -> str:
    stream = binding.astream("Why?")
    async for event in stream:
        if scene.take(event):
            scene.end()
            break
    # An async iterator that is left is closed by the loop, in its next rounds.
    async with asyncio.timeout(WAIT):
        while stream.completion.timings.total is None:  # noqa: ASYNC110 - nobody would set an event
            await asyncio.sleep(0)
    return _kept(stream.completion)


def _with(binding: LollmsLLMBinding, scene: _Scene) -> str:
    with binding.stream("Why?") as stream:
        events = iter(stream)  # held, so that it is not the loop's end that closes it
        while not scene.take(next(events)):
            continue
        scene.end()
    return _kept(stream.completion)


async def _awith(binding: LollmsLLMBinding, scene: _Scene) -> str:
    async with binding.astream("Why?") as stream:
        events = aiter(stream)
        while not scene.take(await anext(events)):
            continue
        scene.end()
    return _kept(stream.completion)


def _from_another_thread(method: Literal["cancel", "close"]) -> Callable[[LollmsLLMBinding, _Scene], str]:
    def ending(binding: LollmsLLMBinding, scene: _Scene) -> str:
        stream = binding.stream("Why?")
        raised: list[BaseException] = []

        def other() -> None:
            try:
                scene.wait()
                scene.end(getattr(stream, method))
            except BaseException as exc:  # noqa: BLE001 - told by the thread that waits for this one
                raised.append(exc)
                stream.cancel()

        thread = threading.Thread(target=other, name=f"ends the request by {method}")
        thread.start()
        try:
            for event in stream:
                scene.take(event)
        finally:
            thread.join(WAIT)
        if raised:
            raise raised[0]
        return _kept(stream.completion)

    return ending


@asynccontextmanager
async def _meanwhile(work: Callable[[], Awaitable[object]]) -> AsyncIterator[None]:
    """Another task that does `work`."""
    task = asyncio.ensure_future(work())
    try:
        yield
    finally:
        await task


async def _acancel(binding: LollmsLLMBinding, scene: _Scene) -> str:
    stream = binding.astream("Why?")

    def other() -> None:
        scene.wait()
        scene.end(stream.cancel)

    async with _meanwhile(lambda: asyncio.to_thread(other)):
        async for event in stream:
            scene.take(event)
    return _kept(stream.completion)


async def _aaclose(binding: LollmsLLMBinding, scene: _Scene) -> str:
    stream = binding.astream("Why?")

    async def other() -> None:
        await asyncio.to_thread(scene.wait)
        scene.end()
        await stream.aclose()

    async with _meanwhile(other):
        async for event in stream:
            scene.take(event)
    return _kept(stream.completion)


async def _cancelled(scene: _Scene, work: Awaitable[Any]) -> None:
    task = asyncio.ensure_future(work)
    await asyncio.to_thread(scene.wait)
    scene.end(task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        return
    raise AssertionError("the cancelled task went on")


async def _cancelled_reader(binding: LollmsLLMBinding, scene: _Scene) -> str:
    stream = binding.astream("Why?")

    async def read() -> None:
        async for event in stream:
            scene.take(event)

    await _cancelled(scene, read())
    return _kept(stream.completion)


async def _cancelled_call(binding: LollmsLLMBinding, scene: _Scene) -> str:
    await _cancelled(scene, binding.achat("Why?", stream=False))
    return ""


ENDINGS: Sequence[Ending] = (
    Ending("callback returns False", _false, _afalse),
    Ending("callback raises", _raises, _araises),
    Ending("break", _break, _abreak),
    Ending("end of the with block", _with, _awith),
    Ending("cancel() from another thread", _from_another_thread("cancel"), _acancel, _ANY),
    Ending("close() from another thread, aclose() from another task", _from_another_thread("close"), _aaclose, _ANY),
    Ending("cancelled task that reads a stream", None, _cancelled_reader, _ANY),
    Ending("cancelled task that waits for a whole answer", None, _cancelled_call, ("before the answer",)),
)
"""Every way."""
