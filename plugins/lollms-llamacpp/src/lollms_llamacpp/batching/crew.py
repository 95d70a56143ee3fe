"""How many CPU threads compute: one fewer than allowed, where a neighbour wants a CPU of theirs."""

from __future__ import annotations

from typing import Final

__all__ = ["Crew"]

_WINDOW: Final = 4
"""Steps whose mean duration counts as a measurement."""

_TRIAL: Final = 3
"""Steps of a trial; the first does not count, since threads are started or sent away in it."""

_SOON: Final = 16
_LATER: Final = 256
"""Steps until the next trial: after a change, and, more and more, where trials were in vain."""

_SLOWER: Final = 1.5
_BETTER: Final = 0.9
_DRIFT: Final = 1.01
"""What counts as a slowdown, what as an improvement, and how much slower steps get by themselves in a window, as the
text gets longer.
"""


class Crew:
    """Learns from the duration of steps how many threads are best.

    llama.cpp's threads wait for each other after every operation. So where one of them shares its CPU with another
    busy thread, all of them wait for that: on two CPUs with one such neighbour, two threads compute half of what a
    single one does. The allowed number is the right one as long as steps last as usual. When they become slow, and once
    in the beginning, a few are tried with one thread fewer; when that has helped, now and then with one more.

    Only steps that generate are measured, and only those with as many tokens are compared.
    """

    def __init__(self) -> None:
        self._begin(0)

    def _begin(self, most: int) -> None:
        self._most = self._count = most
        self._size = 0
        self._begin_window()
        self._usual = 0.0  # seconds of a step when all is well; 0 as long as that is not known
        self._latest = 0.0  # of the last window
        self._since_trial = 0
        self._patience = _SOON
        self._first = True
        self._direction = -1
        self._trial: list[float] | None = None

    def count(self, most: int, n_tokens: int) -> int:
        """The number of threads for the next step.

        Args:
            most: threads allowed.
            n_tokens: tokens that the step generates after; 0 for one that cannot be compared, as it reads prompts.
        """
        if most != self._most:
            self._begin(most)
        if n_tokens != self._size and n_tokens:
            self._size, self._trial = n_tokens, None
            self._usual = self._latest = 0.0
            self._begin_window()
        if self._trial is None or not n_tokens:
            return self._count
        return self._count + self._direction

    def took(self, n_tokens: int, seconds: float) -> None:
        """A step of the kind that :meth:`count` was asked about lasted so long."""
        if not n_tokens or self._most == 1:
            return
        if self._trial is not None:
            self._trial.append(seconds)
            if len(self._trial) == _TRIAL:
                self._judge(sum(self._trial[1:]) / (_TRIAL - 1))
            return
        self._since_trial += 1
        self._in_window += 1
        self._sum += seconds
        if self._in_window == _WINDOW:
            self._latest = self._sum / _WINDOW
            self._begin_window()
            slow = bool(self._usual) and self._latest > _SLOWER * self._usual
            self._usual = min(self._latest, (self._usual or self._latest) * _DRIFT)
            if self._since_trial >= self._patience and (slow or self._first or self._count < self._most):
                if slow:
                    self._usual, self._direction = self._latest, -1
                self._begin_trial()

    def _begin_window(self) -> None:
        self._in_window, self._sum = 0, 0.0

    def _begin_trial(self) -> None:
        wanted = self._count + self._direction
        if not 1 <= wanted <= self._most:
            self._direction = -self._direction
        self._trial = []

    def _judge(self, seconds: float) -> None:
        self._first = False
        if seconds < _BETTER * self._latest:
            self._count += self._direction
            self._usual = 0.0
            self._patience = _SOON
        else:
            self._direction = -self._direction if self._count < self._most else -1
            self._patience = min(2 * self._patience, _LATER)
        self._since_trial = 0
        self._trial = None
        self._begin_window()
