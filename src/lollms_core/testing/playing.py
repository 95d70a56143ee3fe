"""Plays a row of the table to a binding, and says where the binding does something else than it should."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from lollms_core.binding import LollmsLLMBinding
from lollms_core.errors import BackendUnavailable, LollmsError, ProtocolError, StreamInterrupted
from lollms_core.events import Completion
from lollms_core.testing.dialect import TEXT, Dialect
from lollms_core.testing.fault_server import CLOSE, Asked, FaultServer, Step
from lollms_core.testing.faults import Expected, Fault, How, Play
from lollms_core.testing.resources import Held
from lollms_core.testing.secrets import MARKER, SecretWatch, packages_of
from lollms_core.testing.wire import Wire, response

__all__ = ["Factory", "Mode", "Report", "places_of", "play", "play_cuts", "tasks_left"]

Factory: TypeAlias = Callable[..., LollmsLLMBinding]
"""``factory(host_address=..., service_key=..., model_name=..., **options)`` gives a binding to that server."""

Mode: TypeAlias = Literal["sync", "async"]

_NAME = "peer.invalid"


@dataclass(frozen=True, slots=True)
class Report:
    """What one play came to.

    Attributes:
        requests: generations that the server was asked for.
        outcome: the name of the error's type, or "answer".
        cuts: at how many places the response was cut.
        closed_after: seconds after which the server saw that the caller had ended the request, where one did.
    """

    requests: int
    outcome: str
    cuts: int = 0
    closed_after: float | None = None


@dataclass(frozen=True, slots=True)
class _Got:
    """What the caller got."""

    text: str
    error: LollmsError | None = None

    @property
    def outcome(self) -> str:
        return "answer" if self.error is None else type(self.error).__name__


def play(
    fault: Fault, dialect: Dialect, factory: Factory, how: How, mode: Mode, *, tls: ssl.SSLContext | None = None
) -> Report | None:
    """Play `fault` once, over TLS if there is a `tls` for the server; None if the dialect cannot.

    Raises:
        AssertionError: the binding does something else than the row says, shows the key that it was given, holds
            on to something, or does not work afterwards.
    """
    play = fault.play(dialect)
    if play is None or how not in fault.hows:
        return None
    with FaultServer(listening=not play.network, tls=tls) as server, _name_of(server, play) as host:
        _prepare(server, dialect, play)
        before = Held.now()
        address = server.url.replace("127.0.0.1", host) + dialect.address
        binding = factory(host_address=address, service_key=MARKER, model_name=dialect.model, **play.options)
        who = f"{fault.name} ({dialect.name}, {how}, {mode})"
        run = _sync if mode == "sync" else _async
        with SecretWatch(*packages_of(binding)) as watch:
            first, second, tasks = run(binding, play, how, server)
        asked = len(server.asked_at(dialect.chat_path))
        _judge(who, play.expected, first, asked - 1 - (play.warm is not None), watch.retries)
        assert second == _Got(TEXT), f"{who}: the next request gave {second}"
        expected = play.expected.connections
        assert expected in (None, server.connections), f"{who}: {server.connections} connections, not {expected}"
        shown = watch.found(first.error, binding, binding.get_model_info() if not play.network else None)
        assert not shown, f"{who}: the key shows: {shown[:3]}"
        server.wait_closed()
        left = before.more()
        assert left + tasks == "", f"{who}: left behind: {left} {tasks}"
    return Report(asked, first.outcome)


def play_cuts(
    fault: Fault, dialect: Dialect, factory: Factory, mode: Mode, cuts: Callable[[int], Iterator[int]]
) -> Report | None:
    """Play the stream of `fault` cut after so many bytes, for each of ``cuts(its bytes)``; None if it has none.

    Raises:
        AssertionError: as for :func:`play`.
    """
    play = fault.play(dialect)
    wire = play.wire if play is not None else None
    if play is None or wire is None:
        return None
    data = wire.data
    places = list(cuts(len(data)))
    with FaultServer() as server:
        places_of(server, dialect)
        before = Held.now()
        address = f"{server.url}{dialect.address}"
        binding = factory(host_address=address, service_key=MARKER, model_name=dialect.model, retries=0)
        who = f"{fault.name} ({dialect.name}, {mode})"
        run = _cuts_sync if mode == "sync" else _cuts_async
        tasks = run(binding, server, dialect, [(wire, play.expected, place) for place in places], who)
        asked = len(server.asked_at(dialect.chat_path))
        server.wait_closed()
        left = before.more()
        assert left + tasks == "", f"{who}: left behind after cuts: {left} {tasks}"
    return Report(asked, "cuts", len(places))


# What the server is told ---------------------------------------------------------------------------------


def places_of(server: FaultServer, dialect: Dialect) -> None:
    """What the server answers at all paths but that of generations."""
    for path, body in dialect.places.items():
        server.on(path, (response(body),))


def _prepare(server: FaultServer, dialect: Dialect, play: Play) -> None:
    places_of(server, dialect)

    def good(asked: Asked) -> tuple[Step, ...]:
        return (dialect.answer(asked.body),)

    def warming(asked: Asked) -> tuple[Step, ...]:
        return (dialect.answer(asked.body), *(play.warm or ()))

    first = [] if play.warm is None else [warming]
    server.on(dialect.chat_path, *first, *play.answers, good)


@contextlib.contextmanager
def _name_of(server: FaultServer, play: Play) -> Iterator[str]:
    """The server's name; one that nobody knows until :func:`_mend` is called, where the row is about that."""
    if play.network != "unknown name":
        yield "127.0.0.1"
        return
    real = socket.getaddrinfo

    def lookup(host: Any, *args: Any, **keywords: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        if name != _NAME:
            return real(host, *args, **keywords)
        if not server.listening:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return real("127.0.0.1", *args, **keywords)

    socket.getaddrinfo = lookup
    try:
        yield _NAME
    finally:
        socket.getaddrinfo = real


def _mend(server: FaultServer) -> None:
    if not server.listening:
        server.listen()


# Asking --------------------------------------------------------------------------------------------------


def _sync(binding: LollmsLLMBinding, play: Play, how: How, server: FaultServer) -> tuple[_Got, _Got, str]:
    try:
        if play.warm is not None:
            _ask(binding, how)
        first = _ask(binding, how, **play.fields)
        _mend(server)
        return first, _ask(binding, how), ""
    finally:
        binding.close()


def _async(binding: LollmsLLMBinding, play: Play, how: How, server: FaultServer) -> tuple[_Got, _Got, str]:
    async def main() -> tuple[_Got, _Got, str]:
        before = Held.now()
        try:
            if play.warm is not None:
                await _aask(binding, how)
            first = await _aask(binding, how, **play.fields)
            _mend(server)
            second = await _aask(binding, how)
        finally:
            await binding.aclose()
        return first, second, await tasks_left(before)

    return asyncio.run(main())


async def tasks_left(before: Held) -> str:
    """The tasks that are still there, in words, "" if there are none beyond those of `before`."""
    left: list[asyncio.Task[Any]] = []
    for _ in range(100):
        left = [task for task in asyncio.all_tasks() - before.tasks if not task.done()]
        if not left:
            return ""
        await asyncio.sleep(0)
    return ", ".join(task.get_name() for task in left)


def _ask(binding: LollmsLLMBinding, how: How, **fields: Any) -> _Got:
    try:
        if how == "whole":
            return _Got(binding.chat("Why?", stream=False, **fields).text)
        with binding.stream("Why?", **fields) as stream:
            for _ in stream:
                continue
        return _read(stream.completion)
    except LollmsError as error:
        return _Got(error.partial, error)


async def _aask(binding: LollmsLLMBinding, how: How, **fields: Any) -> _Got:
    try:
        if how == "whole":
            return _Got((await binding.achat("Why?", stream=False, **fields)).text)
        async with binding.astream("Why?", **fields) as stream:
            async for _ in stream:
                continue
        return _read(stream.completion)
    except LollmsError as error:
        return _Got(error.partial, error)


def _read(completion: Completion) -> _Got:
    assert completion.finish_reason == "stop", f"finish_reason {completion.finish_reason!r}"
    return _Got(completion.text)


# Judging -------------------------------------------------------------------------------------------------


def _judge(who: str, expected: Expected, got: _Got, asked: int, retries: int) -> None:
    wanted = " or ".join(kind.__name__ for kind in expected.error) or "an answer"
    if expected.error:
        assert type(got.error) in expected.error, f"{who}: {wanted} was expected, not {got}"
        words = str(got.error)
        assert re.search(expected.words, words, re.IGNORECASE), f"{who}: {words!r} does not say {expected.words!r}"
        assert len(words) < 1500, f"{who}: an error of {len(words)} characters"
        assert "\n" not in words, f"{who}: an error of several lines: {words!r}"
    else:
        assert got.error is None, f"{who}: an answer was expected, not {got}"
    if expected.text is None:
        assert TEXT.startswith(got.text), f"{who}: {got.text!r} is no beginning of the answer"
    else:
        assert got.text == expected.text, f"{who}: the text is {got.text!r}, not {expected.text!r}"
    assert expected.asked in (None, asked), f"{who}: asked {asked} times, not {expected.asked}"
    assert expected.retries in (None, retries), f"{who}: {retries} retries were told, not {expected.retries}"


_Cut: TypeAlias = tuple[Wire, Expected, int]


def _cuts_sync(binding: LollmsLLMBinding, server: FaultServer, dialect: Dialect, cuts: list[_Cut], who: str) -> str:
    try:
        for wire, expected, place in cuts:
            _cut_next(server, dialect, wire, place)
            _judge_cut(f"{who}, cut at {place}", wire, expected, place, _ask(binding, "stream"))
        _cut_next(server, dialect, dialect.stream(), None)
        assert _ask(binding, "stream").text == TEXT, f"{who}: the request after the cuts"
    finally:
        binding.close()
    return ""


def _cuts_async(binding: LollmsLLMBinding, server: FaultServer, dialect: Dialect, cuts: list[_Cut], who: str) -> str:
    async def main() -> str:
        before = Held.now()
        try:
            for wire, expected, place in cuts:
                _cut_next(server, dialect, wire, place)
                _judge_cut(f"{who}, cut at {place}", wire, expected, place, await _aask(binding, "stream"))
            _cut_next(server, dialect, dialect.stream(), None)
            assert (await _aask(binding, "stream")).text == TEXT, f"{who}: the request after the cuts"
        finally:
            await binding.aclose()
        return await tasks_left(before)

    return asyncio.run(main())


def _cut_next(server: FaultServer, dialect: Dialect, wire: Wire, place: int | None) -> None:
    server.on(dialect.chat_path, (wire.data[:place], *(() if place is None else (CLOSE,))))


def _judge_cut(who: str, wire: Wire, expected: Expected, place: int, got: _Got) -> None:
    """What may come of a stream that breaks off: never more, less or other than what had come by then."""
    outlook = wire.after(place)
    if not outlook.begun:
        assert type(got.error) in {BackendUnavailable, ProtocolError, StreamInterrupted}, f"{who}: {got}"
        assert got.text == "", f"{who}: {got}"
    elif outlook.faulty:
        # Half of what is wrong may look like what is only cut off, or already like what it is.
        assert type(got.error) in {StreamInterrupted, *expected.error}, f"{who}: {got}"
        assert got.text == expected.text, f"{who}: {got}"
    elif outlook.ended:
        assert got.error is None, f"{who}: {got}"
        assert got.text == outlook.text, f"{who}: {got}"
    else:
        assert type(got.error) is StreamInterrupted, f"{who}: {got}"
        assert got.text == outlook.text, f"{who}: {got.text!r} of {outlook.text!r}"
