"""A server on the loopback interface that sends exactly the bytes it is told to, and remembers what it was asked.

One thread with an event loop of its own, so a thousand connections cost no thousand threads. An answer is a
series of steps: bytes go out as they stand, :data:`HOLD`, :data:`CLOSE`, :data:`RESET`, :class:`Pause` and
:class:`Endless` are what peers do besides sending.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Self, TypeAlias

from lollms_core.control import Control

__all__ = ["CLOSE", "HOLD", "RESET", "Answer", "Asked", "Endless", "FaultServer", "Gate", "Pause", "Step"]

WAIT: Final = 10.0
"""Seconds that a test waits for what it expects; only a broken one waits that long."""


class _Word:
    """A step that has no values."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return self._name


HOLD: Final = _Word("HOLD")
"""Nothing more is sent; ends when the client leaves."""

CLOSE: Final = _Word("CLOSE")
"""The connection is closed in good order."""

RESET: Final = _Word("RESET")
"""The connection is reset (RST)."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Nothing is sent for so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Endless:
    """The same bytes again and again, until the client leaves or `most` bytes have been sent."""

    data: bytes
    most: int = 1 << 30


class Gate:
    """A place to wait at until a test opens it, from any thread: a step of this server, or one of a scripted answer."""

    def __init__(self) -> None:
        self._switch = Control()  # the same switch as a request's: set once, never unset

    @property
    def is_open(self) -> bool:
        """Whether it has been opened."""
        return self._switch.cancelled

    def open(self) -> None:
        """Let everything pass that waits here or comes later."""
        self._switch.cancel()

    def on_open(self, callback: Callable[[], object]) -> Callable[[], None]:
        """Have `callback` called when it is opened, at once if it is already; returns what takes it back."""
        return self._switch.on_cancel(callback)

    async def passed(self) -> None:
        """Wait for it, in the running loop."""
        event, loop = asyncio.Event(), asyncio.get_running_loop()

        def wake() -> None:
            with contextlib.suppress(RuntimeError):  # that loop has been closed
                loop.call_soon_threadsafe(event.set)

        forget = self.on_open(wake)
        try:
            await event.wait()
        finally:
            forget()


Step: TypeAlias = bytes | _Word | Pause | Endless | Gate


@dataclass(frozen=True, slots=True)
class Asked:
    """One request as the server got it; header names in lower case.

    Attributes:
        connection: the number of the connection that it came by, from 1.
        at: when it had come, in seconds of ``time.monotonic``.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    connection: int
    at: float

    @property
    def json(self) -> Any:
        """The body as JSON."""
        import json

        return json.loads(self.body)


Answer: TypeAlias = Iterable[Step] | Callable[[Asked], Iterable[Step]]


@dataclass(slots=True)
class _Place:
    """The answers at one path, in turn; the last one stays."""

    answers: list[Answer]
    count: int = 0

    def next(self, asked: Asked) -> Iterable[Step]:
        self.count += 1
        answer = self.answers[min(self.count, len(self.answers)) - 1]
        return answer(asked) if callable(answer) else answer


class _Left(Exception):
    """The client has closed the connection."""


class _NotHttpError(Exception):
    """The client speaks something else, such as TLS."""


@dataclass(slots=True)
class _Connection:
    number: int
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    over: bool = False  # nobody waits for what the peer says to the end

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def until_left(self) -> None:
        # What a client sends after its request is not expected and not looked at.
        while await self.reader.read(65536):
            continue
        raise _Left

    async def unless_left(self, waiting: Awaitable[object]) -> None:
        """Wait, but not longer than the client stays."""
        left = asyncio.ensure_future(self.until_left())
        other = asyncio.ensure_future(waiting)
        try:
            await asyncio.wait([left, other], return_when=asyncio.FIRST_COMPLETED)
            if left.done():
                left.result()
        finally:
            for task in (left, other):
                task.cancel()
            await asyncio.gather(left, other, return_exceptions=True)

    def reset(self) -> None:
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    def close(self) -> None:
        """Close it in good order; at once if it is over, because TLS would wait for the peer's farewell."""
        if self.over:
            self.writer.transport.abort()
        else:
            self.writer.close()


@dataclass(slots=True)
class _State:
    """What the server's thread writes and tests read."""

    asked: list[Asked] = field(default_factory=list)
    connections: int = 0
    open: int = 0
    left: list[float] = field(default_factory=list)


class FaultServer:
    """A server for tests, as a context manager.

    Args:
        host: the address to listen at, IPv4 or IPv6.
        listening: whether it listens at once; else its port is taken, and refuses, until :meth:`listen`.
        greeting: what it sends on each new connection before it is asked anything.
        max_seen: how many requests are remembered; the newest.
        tls: the server's side of TLS, with its certificate; None for plain HTTP. A connection counts once the client
            has accepted the certificate.

    Attributes:
        port: its port.
        listening: whether it accepts connections.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        listening: bool = True,
        greeting: bytes = b"",
        max_seen: int = 100_000,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._host = f"[{host}]" if ":" in host else host
        self._tls = tls
        self._greeting = greeting
        self._max_seen = max_seen
        self._places: dict[str, _Place] = {}
        self._state = _State()
        self._changed = threading.Condition()
        self._tasks: set[asyncio.Task[None]] = set()
        self._socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind((host, 0))
        self.port: int = self._socket.getsockname()[1]
        self.listening = False
        self._server: asyncio.Server | None = None
        self._stopped = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name=f"fault-server-{self.port}")
        self._thread.start()
        if listening:
            self.listen()

    @property
    def url(self) -> str:
        """Where it is, without a path."""
        return f"{'http' if self._tls is None else 'https'}://{self._host}:{self.port}"

    # What it answers -------------------------------------------------------------------------------------

    def on(self, path: str, *answers: Answer) -> None:
        """Answer requests for `path` (as it stands in the request line) with each of `answers` in turn.

        The last one stays. A function gets the request and returns the steps. A path without answers gets a 404.
        """
        self._places[path] = _Place(list(answers))

    # What it was asked -----------------------------------------------------------------------------------

    @property
    def asked(self) -> list[Asked]:
        """The requests so far."""
        with self._changed:
            return list(self._state.asked)

    def asked_at(self, path: str) -> list[Asked]:
        """The requests for `path` so far."""
        return [asked for asked in self.asked if asked.path == path]

    @property
    def connections(self) -> int:
        """How many connections there have been."""
        with self._changed:
            return self._state.connections

    def forget(self) -> None:
        """Forget the requests and the connections so far."""
        with self._changed:
            self._state.asked.clear()
            self._state.left.clear()

    def wait_asked(self, count: int = 1, path: str | None = None, *, within: float = WAIT) -> list[Asked]:
        """The requests (with `path`: those for it), as soon as there are `count` of them; waits `within` seconds.

        Raises:
            TimeoutError: they do not come.
        """

        def found() -> list[Asked]:
            return [asked for asked in self._state.asked if path is None or asked.path == path]

        self._wait(lambda: len(found()) >= count, f"{count} requests", within)
        with self._changed:
            return found()

    def wait_left(self, count: int = 1) -> float:
        """When the client had closed `count` connections, in seconds of ``time.monotonic``.

        Raises:
            TimeoutError: it does not.
        """
        self._wait(lambda: len(self._state.left) >= count, f"{count} closed connections")
        with self._changed:
            return self._state.left[count - 1]

    def wait_closed(self) -> None:
        """Wait until no connection is open any more.

        Raises:
            TimeoutError: one stays open.
        """
        self._wait(lambda: not self._state.open, "the end of all connections")

    def _wait(self, there: Callable[[], bool], what: str, within: float = WAIT) -> None:
        with self._changed:
            if not self._changed.wait_for(there, within):
                raise TimeoutError(f"the fault server waited {within:g} s for {what}; it saw {self._state}")

    # Its life --------------------------------------------------------------------------------------------

    def listen(self) -> None:
        """Accept connections from now on."""
        start = asyncio.start_server(self._accepted, sock=self._socket, backlog=1024, ssl=self._tls)
        self._server = asyncio.run_coroutine_threadsafe(start, self._loop).result(WAIT)
        self.listening = True

    def stop(self) -> None:
        """End all connections and the thread."""
        if self._stopped:
            return
        self._stopped = True
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(WAIT)
        if self._thread.is_alive():
            raise TimeoutError("the fault server does not stop")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    # In its thread ---------------------------------------------------------------------------------------

    def _run(self) -> None:
        loop = self._loop
        asyncio.set_event_loop(loop)
        try:
            loop.run_forever()
        finally:
            loop.run_until_complete(self._end())
            loop.close()

    async def _end(self) -> None:
        """Accept nothing more, and end every connection, also one that the loop has only just accepted."""
        if self._server is not None:
            self._server.close()
        self._socket.close()
        ours = asyncio.current_task()
        while tasks := asyncio.all_tasks() - {ours}:
            await asyncio.sleep(0)  # each begins: one cancelled before that closes nothing
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)  # a closed connection's transport says so to the loop once more

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with self._changed:
            self._state.connections += 1
            self._state.open += 1
            connection = _Connection(self._state.connections, reader, writer)
        task = asyncio.get_running_loop().create_task(self._serve(connection))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, connection: _Connection) -> None:
        left = False
        try:
            connection.writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._greeting:
                await connection.send(self._greeting)
            while True:
                try:
                    asked = await _request(connection)
                except ValueError:
                    raise _NotHttpError from None
                with self._changed:
                    del self._state.asked[: max(0, len(self._state.asked) + 1 - self._max_seen)]
                    self._state.asked.append(asked)
                    self._changed.notify_all()
                place = self._places.get(asked.path)
                for step in place.next(asked) if place is not None else (_NOT_FOUND,):
                    if not await self._do(step, connection):
                        return
        except (_Left, OSError, asyncio.IncompleteReadError):
            left = connection.over = True
        except _NotHttpError:
            connection.over = True
        except asyncio.CancelledError:  # the server stops
            connection.over = True
            raise
        finally:
            with contextlib.suppress(OSError):
                connection.close()
            with self._changed:
                self._state.open -= 1
                if left:
                    self._state.left.append(time.monotonic())
                self._changed.notify_all()

    async def _do(self, step: Step, connection: _Connection) -> bool:
        """Whether the connection goes on after this step."""
        if isinstance(step, bytes):
            await connection.send(step)
        elif isinstance(step, Pause):
            await connection.unless_left(asyncio.sleep(step.seconds))
        elif isinstance(step, Gate):
            await connection.unless_left(step.passed())
        elif isinstance(step, Endless):
            sent = 0
            while sent < step.most:
                await connection.send(step.data)
                sent += len(step.data)
        elif step is HOLD:
            await connection.until_left()
        elif step is RESET:
            connection.reset()
            return False
        else:
            return False
        return True


async def _request(connection: _Connection) -> Asked:
    """The next request.

    Raises:
        _Left: the client has closed the connection.
        ValueError: it is none.
    """
    line = await connection.reader.readline()
    if not line:
        raise _Left
    method, path, _ = line.decode("latin-1").split(" ", 2)
    headers: dict[str, str] = {}
    while (line := (await connection.reader.readline()).strip()) != b"":
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.lower()] = value.strip()
    body = await connection.reader.readexactly(int(headers.get("content-length", 0)))
    return Asked(method, path, headers, body, connection.number, time.monotonic())


_NOT_FOUND: Final = (
    b'HTTP/1.1 404 Not Found\r\nContent-Type: application/json\r\nContent-Length: 23\r\n\r\n{"error": "not found"}\n'
)
