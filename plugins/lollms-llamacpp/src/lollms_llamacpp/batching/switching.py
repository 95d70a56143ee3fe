"""How long other threads of the process may keep the interpreter's lock while an engine wants it back."""

from __future__ import annotations

import sys
import threading
from typing import Final

__all__ = ["SwitchInterval"]


class _Process:
    """The interpreter's switch interval, which is one for all threads of a process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._wanted: dict[int, float] = {}
        self._before = 0.0
        self._made: float | None = None

    def want(self, who: int, seconds: float | None) -> None:
        """Have it at most so long; None wants nothing any more."""
        with self._lock:
            if seconds is None:
                self._wanted.pop(who, None)
            else:
                self._wanted[who] = seconds
            now = sys.getswitchinterval()
            if now != self._made:  # nobody of us has made it so: it is the application's
                self._before = now
            target = min([self._before, *self._wanted.values()])
            if target != now:
                # It is kept as whole microseconds, rounded down: what was read would be written back one less.
                sys.setswitchinterval(target + 1e-9)
            self._made = sys.getswitchinterval() if self._wanted else None


_process: Final = _Process()


class SwitchInterval:
    """Shortens the interpreter's switch interval while an engine computes.

    An engine gives up the interpreter's lock in each step and wants it back afterwards. A thread that computes in
    Python hands it over only when it is asked and the interval has passed, 5 ms by default
    (:func:`sys.setswitchinterval`), which is as long as a step of a small model. What the application sets meanwhile
    counts from then on.

    Args:
        seconds: the most that it shall be; it is never made longer.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._short = False

    def shorten(self) -> None:
        """Have it short; it may be so already."""
        if not self._short:
            self._short = True
            _process.want(id(self), self._seconds)

    def restore(self) -> None:
        """Have it as it was, unless another engine computes."""
        if self._short:
            self._short = False
            _process.want(id(self), None)
