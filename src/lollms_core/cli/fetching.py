"""How far a model's fetching is: measured, and shown as a bar on a terminal or as lines elsewhere."""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from lollms_core.cli.figures import bytes_of, time_of
from lollms_core.cli.terminal import one_line, say
from lollms_core.events import Progress

if TYPE_CHECKING:
    from rich.progress import TaskID

__all__ = ["Lines", "Meter", "shown"]

_WINDOW: Final = 10.0
"""Seconds that the rate is measured over."""

_EVERY: Final = 5.0
"""Seconds between two lines on the same file."""


class Meter:
    """The pace of one file.

    Args:
        clock: seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: deque[tuple[float, int]] = deque()
        self.total: int | None = None
        self.fetched = 0
        """Bytes that came since it was first told of; what an earlier try had fetched is not among them."""

    def take(self, completed: int, total: int | None) -> None:
        """Take the news."""
        now = self._clock()
        if self._seen:
            self.fetched += max(completed - self._seen[-1][1], 0)
        if self._seen and completed < self._seen[-1][1]:  # it was begun anew
            self._seen.clear()
        self._seen.append((now, completed))
        while len(self._seen) > 2 and self._seen[1][0] <= now - _WINDOW:
            self._seen.popleft()
        self.total = total

    @property
    def completed(self) -> int:
        """Bytes that are there."""
        return self._seen[-1][1] if self._seen else 0

    @property
    def rate(self) -> float | None:
        """Bytes per second in the last seconds; None as long as nobody knows."""
        if len(self._seen) < 2:
            return None
        (before, first), (now, last) = self._seen[0], self._seen[-1]
        return (last - first) / (now - before) if now > before and last > first else None

    @property
    def left(self) -> float | None:
        """Seconds that the rest takes at this rate."""
        rate = self.rate
        return None if rate is None or self.total is None else max(self.total - self.completed, 0) / rate

    @property
    def amount(self) -> str:
        """What is there, of what."""
        if not self.total:
            return bytes_of(self.completed)
        return f"{bytes_of(self.completed)} of {bytes_of(self.total)} ({self.completed * 100 // self.total}%)"

    def __str__(self) -> str:
        parts = [self.amount]
        if self.rate is not None:
            parts.append(f"{bytes_of(self.rate)}/s")
        if self.left:
            parts.append(f"{time_of(self.left)} left")
        return ", ".join(parts)


class _Shown:
    """What both ways of showing have: a meter for each file, and the total of what came."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._meters: dict[str, Meter] = {}
        self._digests: set[str] = set()
        self.latest: str | None = None
        """How far the file is that was told of last, in words."""

    @property
    def fetched(self) -> int:
        """Bytes that came; not those that were read again to be checked, where digests tell files from that."""
        files = [meter for key, meter in self._meters.items() if key in self._digests] or self._meters.values()
        return sum(meter.fetched for meter in files)

    def _meter(self, progress: Progress) -> tuple[str, Meter] | None:
        """The key and the meter of the file that `progress` tells of; None if it tells of none."""
        if progress.completed is None:
            return None
        key = progress.digest or progress.status
        if progress.digest:
            self._digests.add(key)
        meter = self._meters.setdefault(key, Meter(self._clock))
        meter.take(progress.completed, progress.total)
        self.latest = meter.amount
        return key, meter


class Lines(_Shown):
    """A line on stderr for each step, and one every few seconds for a file that takes longer."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(clock)
        self._last: tuple[object, ...] = ()
        self._when = 0.0

    def __call__(self, progress: Progress) -> None:
        """Take the news."""
        found = self._meter(progress)
        status = one_line(progress.status)
        if found is None:
            step: tuple[object, ...] = (status,)
            line = status
        else:
            key, meter = found
            step = (key, meter.total is not None and meter.completed >= meter.total)
            line = f"{status}: {meter}"
        now = self._clock()
        if step != self._last or (found is not None and now - self._when >= _EVERY):
            self._last, self._when = step, now
            say(line)


class _Bars(_Shown):
    """A bar for each file, below a line for each step that has no bytes."""

    def __init__(self, bars: Any) -> None:
        super().__init__()
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}
        self._step = ""

    def __call__(self, progress: Progress) -> None:
        """Take the news."""
        found = self._meter(progress)
        status = one_line(progress.status)
        if found is None:
            if status != self._step:
                say(status)
            self._step = status
            return
        key = found[0]
        if key not in self._tasks:
            # What is there at the beginning is not part of the rate.
            self._tasks[key] = self._bars.add_task(status, total=progress.total, completed=progress.completed)
        else:
            self._bars.update(self._tasks[key], description=status, total=progress.total, completed=progress.completed)


@contextmanager
def shown() -> Iterator[Lines | _Bars]:
    """Shows on stderr what it is called with: bars on a terminal, if rich is installed, else lines."""
    bars = _rich_bars()
    if bars is None:
        yield Lines()
        return
    with bars:
        yield _Bars(bars)


def _rich_bars() -> Any:
    if sys.stderr is None or not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        return None
    try:
        from rich import progress as rich_progress
        from rich.console import Console
        from rich.table import Column
    except ImportError:
        return None
    name = Column(no_wrap=True, overflow="ellipsis", ratio=2)
    figures = [Column(no_wrap=True) for _ in range(3)]
    return rich_progress.Progress(
        rich_progress.TextColumn("{task.description}", markup=False, table_column=name),
        rich_progress.BarColumn(bar_width=None, table_column=Column(ratio=1)),
        rich_progress.DownloadColumn(table_column=figures[0]),
        rich_progress.TransferSpeedColumn(table_column=figures[1]),
        rich_progress.TimeRemainingColumn(compact=True, table_column=figures[2]),
        console=Console(stderr=True),
        expand=True,
    )
