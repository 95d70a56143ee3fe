"""A child process, as its parent sees it: calls to it, each with its answers, over one connection.

One thread reads, whatever the number of calls, and one writes, so that nobody who asks or cancels waits for a child
that does not listen.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import select
import socket
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, Final, Protocol

from lollms_core import BackendUnavailable, CapabilityNotSupported, Event, LollmsError, ProtocolError
from lollms_core.forks import forget_in_child
from lollms_llamacpp.isolated.deaths import crash
from lollms_llamacpp.isolated.frames import Unpacker, packed
from lollms_llamacpp.isolated.launch import environment, python_command
from lollms_llamacpp.isolated.wire import error_in, event_in

__all__ = ["ENDED", "Answer", "Call", "Child", "Ended", "Failure", "News"]

PATIENCE: Final = 3.0
"""Seconds that a child has to end by itself."""

_log = logging.getLogger("lollms_llamacpp.isolated")

_PIECE: Final = 1 << 16  # bytes read at once
_LINES: Final = 5  # of what it has printed, for the error
_LINE: Final = 300  # characters of one
# The child logs what somebody here wants to hear of; see Child._tell_level.
_LOGGERS: Final = tuple(
    logging.getLogger(name) for name in (None, "lollms_core", "lollms_llamacpp", "lollms_llamacpp.llama_cpp")
)


@dataclass(frozen=True, slots=True)
class Answer:
    """The last news of a call."""

    value: Any
    data: bytes


@dataclass(frozen=True, slots=True)
class Failure:
    """A call's error, made anew for each who raises it."""

    error: Callable[[], Exception]


class Ended:
    """The child was ended by us."""


ENDED: Final = Ended()

News = list[Event] | Answer | Failure | Ended
"""What comes for a call: events, then one of the others."""


class Taker(Protocol):
    """Who waits for a call's news."""

    def put(self, news: News) -> object:
        """Take some; called by the thread that reads."""
        ...


class Call:
    """One call, for the thread that has made it."""

    def __init__(self) -> None:
        self._news: SimpleQueue[News | None] = SimpleQueue()
        self.put = self._news.put

    def wake(self) -> None:
        """Have :meth:`next` return None."""
        self._news.put(None)

    def next(self, seconds: float | None = None) -> News | None:
        """The next news, or None after :meth:`wake`.

        Raises:
            queue.Empty: there is none within `seconds`.
        """
        while seconds is None:
            # In pieces, since a signal that comes just before an endless wait would not end it.
            with contextlib.suppress(Empty):
                return self._news.get(timeout=0.5)
        return self._news.get(timeout=seconds)


class Child:
    """A process of ours.

    Args:
        name: what it is the process of, for messages.
        module: the module whose ``main`` it runs, with the number of the connection's descriptor as its argument.

    Raises:
        BackendUnavailable: the system cannot start a process.
        CapabilityNotSupported: on this system, or in this program, no child can be started.
    """

    def __init__(self, name: str, module: str) -> None:
        if os.name != "posix":
            raise CapabilityNotSupported("isolate=True is for Linux, macOS and their like; leave it out on this system")
        self._name = name
        self._numbers = itertools.count(1)
        self._calls: dict[int, Taker] = {}
        self._outbox: SimpleQueue[bytes | None] = SimpleQueue()
        self._said: deque[str] = deque(maxlen=_LINES)
        self._level: int | None = None
        self._ending = self._over = False
        self._last: News = ENDED
        self.loaded = False
        """Whether its model is; set by whoever has asked for that."""
        self.gone = threading.Event()
        """Set when it is dead, and all that was held for it is given back."""
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                self._process = subprocess.Popen(
                    python_command(module, [str(theirs.fileno())]),
                    env=environment(),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    pass_fds=[theirs.fileno()],
                )
        except OSError as error:
            ours.close()
            raise BackendUnavailable(f"no process can be started for the model {name!r}: {error}") from error
        except BaseException:
            ours.close()
            raise
        assert self._process.stdout is not None
        self._connection, self._printed = ours, self._process.stdout
        os.set_blocking(self._printed.fileno(), False)
        forget_in_child(self)
        self._reader = threading.Thread(target=self._read, name="lollms-isolated-reader", daemon=True)
        self._writer = threading.Thread(target=self._write, name="lollms-isolated-writer", daemon=True)
        self._reader.start()
        self._writer.start()

    @property
    def pid(self) -> int | None:
        """The process, None if it is over."""
        return None if self._over else self._process.pid

    @property
    def ended(self) -> bool:
        """Whether it was told to end."""
        return self._ending

    @property
    def over(self) -> bool:
        """Whether it takes no more calls, since it is dead or was told to end."""
        return self._over or self._ending

    # Calling ------------------------------------------------------------------------------------------------

    def call(self, what: str, value: Any, data: bytes = b"", *, taker: Taker) -> int:
        """Have the child do something; the call's number.

        Args:
            what: the name of what is to be done.
            value: what it needs, as JSON has it.
            data: bytes beside it.
            taker: gets what comes of it, the child's death too.

        Raises:
            TypeError, ValueError, RecursionError, OverflowError: they cannot be sent.
        """
        number = next(self._numbers)
        message = packed([[what, number, value]], data)
        self._tell_level()
        self._calls[number] = taker
        # After that: who ends the child looks at the calls when it has said so.
        if self.over and self._calls.pop(number, None) is not None:
            taker.put(self._last)
        else:
            self._outbox.put(message)
        return number

    def drop(self, number: int) -> None:
        """Nobody waits for this call any more: if it is not over, the child is told to end it."""
        if self._calls.pop(number, None) is not None:
            self.cancel(number)

    def cancel(self, number: int) -> None:
        """Tell the child to end a call; never waits."""
        self._outbox.put(packed([["cancel", number, None]]))

    def end(self, patience: float = PATIENCE) -> None:
        """End it; returns when it is dead, or after so many seconds. It is killed if it does not end by itself."""
        self._ending = True
        self._fail_calls()
        self._outbox.put(None)
        with contextlib.suppress(OSError):  # the child was faster
            # It reads the end of the connection, as our reader does.
            self._connection.shutdown(socket.SHUT_RDWR)
        # A garbage collector's call may come in any thread.
        if threading.current_thread() is not self._reader:
            self.gone.wait(min(patience, 2 * PATIENCE))

    def forget_connections(self) -> None:
        """In the child of a fork: the process is our parent's; see :mod:`lollms_core.forks`."""
        self._over = True
        self._process.returncode = 0  # else it would be waited for here
        self._connection.close()
        self._printed.close()
        self._calls = {}
        self._outbox = SimpleQueue()
        self.gone = threading.Event()
        self.gone.set()

    def _tell_level(self) -> None:
        level = min(logger.getEffectiveLevel() for logger in _LOGGERS)
        if level != self._level:
            self._level = level
            self._outbox.put(packed([["level", 0, level]]))

    # The threads --------------------------------------------------------------------------------------------

    def _write(self) -> None:
        # Without an end where the child dies: what waits here is read from memory and goes with us.
        with contextlib.suppress(OSError):
            while (message := self._outbox.get()) is not None:
                self._connection.sendall(message)

    def _read(self) -> None:
        fault: ProtocolError | None = None
        try:
            self._read_all()
        except ProtocolError as error:
            fault = error
            self._process.kill()
        finally:
            self._bury(fault)

    def _read_all(self) -> None:
        """Read until the connection's end."""
        poll = select.poll()
        connection, printed = self._connection, self._printed
        poll.register(connection, select.POLLIN)
        poll.register(printed, select.POLLIN)
        unpacker = Unpacker()
        while True:
            for descriptor, _ in poll.poll():
                if descriptor == printed.fileno():
                    if not self._hear():
                        poll.unregister(printed)
                    continue
                try:
                    data = connection.recv(_PIECE)
                except OSError:  # it died with something unread
                    return
                if not data:
                    return
                for items, beside in unpacker.feed(data):
                    self._take(items, beside)

    def _take(self, items: Sequence[Any], data: bytes) -> None:
        """Hand on what a message says.

        Raises:
            ProtocolError: it is not what our child says.
        """
        events: dict[int, list[Event]] = {}
        try:
            for what, number, *values in items:
                if what == "event":
                    events.setdefault(number, []).append(event_in(values[0]))
                    continue
                if number in events:
                    self._give(number, events.pop(number))
                if what == "answer":
                    self._give_last(number, Answer(values[0], data))
                elif what == "part":
                    self._give(number, Answer(values[0], data))
                elif what == "error":
                    error_in(values[0])
                    self._give_last(number, Failure(lambda value=values[0]: error_in(value)))  # type: ignore[misc]
                elif what == "log":
                    _record(*values)
                else:
                    raise ValueError(f"{what!r} is nothing that it may say")
        except (AttributeError, IndexError, KeyError, LollmsError, TypeError, ValueError) as error:
            raise ProtocolError(f"a message says what no message says: {type(error).__name__}: {error}") from error
        for number, these in events.items():
            self._give(number, these)

    def _give(self, number: int, news: News) -> None:
        taker = self._calls.get(number)
        if taker is not None:
            taker.put(news)

    def _give_last(self, number: int, news: News) -> None:
        taker = self._calls.pop(number, None)
        if taker is not None:
            taker.put(news)

    def _hear(self) -> bool:
        """Log what it has printed; whether more may come."""
        try:
            data = os.read(self._printed.fileno(), _PIECE)
        except BlockingIOError:
            return True
        for line in data.decode("utf-8", "replace").splitlines():
            if line.strip():
                self._said.append(line[:_LINE])
                _log.debug("%s: %s", self._name, line)
        return bool(data)

    def _bury(self, fault: ProtocolError | None) -> None:
        """The connection is at its end: see that the process is, tell who waits, and give back what it held."""
        try:
            code = self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        # Its last words; others may hold the pipe open, if it has started any.
        self._hear()
        if not self._ending:
            self._last = Failure(lambda: self._death(fault, code))
            _log.debug("%s", self._death(fault, code))
        self._over = True
        self._fail_calls()
        self._outbox.put(None)
        self._writer.join()
        self._connection.close()
        self._printed.close()
        self.gone.set()

    def _death(self, fault: ProtocolError | None, code: int) -> LollmsError:
        if fault is None:
            return crash(self._name, code, list(self._said), loading=not self.loaded)
        return ProtocolError(f"the process of the model {self._name!r} was ended: {fault}")

    def _fail_calls(self) -> None:
        while self._calls:
            with contextlib.suppress(KeyError):  # the last one has just been dropped
                self._calls.popitem()[1].put(self._last)


def _record(name: str, level: int, text: str) -> None:
    """Log what the child has logged."""
    logger = logging.getLogger(name)
    if logger.isEnabledFor(level):
        logger.log(level, "%s", text)
