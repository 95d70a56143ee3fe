"""A user at a terminal: a program in a pseudo-terminal, what is typed, and the screen that comes of it."""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Self

import pexpect
import pyte

__all__ = ["CTRL_C", "CTRL_D", "ENTER", "TAB", "UP", "UserTerminal"]

ENTER: Final = "\r"
TAB: Final = "\t"
UP: Final = "\x1b[A"
CTRL_C: Final = "\x03"
CTRL_D: Final = "\x04"

_PROMPTS: Final = b"\x1b[?2004h"  # bracketed paste is switched on for each line that is read


class _Screen(pyte.HistoryScreen):
    """A screen whose answers, as to where the cursor is, reach the program."""

    answer: Any = None

    def write_process_input(self, data: str) -> None:
        self.answer(data)


class UserTerminal:
    """Runs `command`; a context manager, which ends the program.

    Args:
        command: the program and its arguments.
        environment: its whole environment.
        size: columns and rows.
        seconds: how long anything may take at most.
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        size: tuple[int, int] = (80, 24),
        seconds: float = 60,
    ) -> None:
        self._seconds = seconds
        self._screen = _Screen(*size, history=5000)
        self._stream = pyte.ByteStream(self._screen)
        self._echoed = True
        self.raw = b""
        """All that the program has written."""
        # A program started by one that ignores Ctrl-C ignores it too.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            self._child: Any = pexpect.spawn(
                command[0], list(command[1:]), env=dict(environment), dimensions=size[::-1], timeout=seconds, echo=True
            )
        finally:
            signal.signal(signal.SIGINT, before)
        self._child.delaybeforesend = None
        self._screen.answer = self._child.send

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._child.close(force=True)

    def type(self, text: str) -> None:
        """Press the keys of `text`."""
        self._child.send(text)

    def enter(self, line: str) -> str:
        """Type a line, end it, and wait for the next prompt of prompt_toolkit; all that stands on the screen."""
        before = self.raw.count(_PROMPTS)
        self.type(line + ENTER)
        return self.prompted(before)

    def prompted(self, before: int = 0) -> str:
        """Wait for one prompt more than `before`; all that stands on the screen."""
        while self.raw.count(_PROMPTS) <= before:
            self._read("there was no new prompt")
        return self.see_last(">")

    @property
    def prompts(self) -> int:
        """How many prompts there have been."""
        return self.raw.count(_PROMPTS)

    def resize(self, columns: int, rows: int) -> None:
        """Drag the window to another size; the program is told."""
        self._screen.resize(rows, columns)
        self._child.setwinsize(rows, columns)

    def see(self, text: str, *, times: int = 1) -> str:
        """Wait until `text` stands on the screen, or has scrolled off it, that many times; all that stands there."""
        while self.text.count(text) < times:
            self._read(f"{text!r} did not appear")
        return self.text

    def see_last(self, line: str) -> str:
        """Wait until `line` is the last line with anything in it; all that stands there."""
        while self.text.rpartition("\n")[2] != line:
            self._read(f"{line!r} did not become the last line")
        return self.text

    def see_raw(self, wanted: bytes) -> None:
        """Wait until the program has written `wanted`, screen or not."""
        while wanted not in self.raw:
            self._read(f"{wanted!r} was not written")

    def left(self) -> int:
        """Wait for the program's end; its exit status."""
        while True:
            try:
                self._take(self._child.read_nonblocking(65536, self._seconds))
            except pexpect.EOF:
                break
        self._echoed = self._child.getecho()
        self._child.close()
        status = self._child.exitstatus
        assert isinstance(status, int), f"it ended by the signal {self._child.signalstatus}:\n{self.text}"
        return status

    @property
    def text(self) -> str:
        """What stands on the screen, after what has scrolled off it; lines without their trailing blanks."""
        columns = self._screen.columns
        gone = ["".join(line[column].data for column in range(columns)) for line in self._screen.history.top]
        return "\n".join(line.rstrip() for line in [*gone, *self._screen.display]).rstrip("\n")

    def echoes(self) -> bool:
        """Whether the terminal shows what is typed by itself; after :meth:`left`, whether it did at the end."""
        return bool(self._child.getecho() if self._child.isalive() else self._echoed)

    def _read(self, problem: str) -> None:
        try:
            self._take(self._child.read_nonblocking(65536, self._seconds))
        except (pexpect.EOF, pexpect.TIMEOUT) as error:
            raise AssertionError(f"{problem} ({type(error).__name__}); the screen:\n{self.text}") from None

    def _take(self, data: bytes) -> None:
        self.raw += data
        self._stream.feed(data)
