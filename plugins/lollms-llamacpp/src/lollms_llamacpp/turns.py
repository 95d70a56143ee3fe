"""Who computes next: one job after another, each in the thread of whoever waits for it.

A llama.cpp context does one thing at a time, so jobs stand in a queue, first come, first served, and only
the first one's steps are run. There is no thread of our own: a step is run by the thread that waits for that
job. A reader of a stream, though, may stay away between two pieces for as long as it likes, and may even be
the very thread that now waits for another job; so whoever waits may run the first job's steps in its
reader's absence, and the output waits for it. A plain lock held from the first token to the last would be a
deadlock there.

What a job may rely on: its methods other than ``stop`` are called by one thread at a time, ``step`` never
after ``free``, and ``free`` exactly once.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

__all__ = ["ClosedError", "Job", "Turns"]

# Waiting is cut in pieces so that Ctrl-C gets through where the system's locks don't let it (Windows).
_PIECE_OF_WAITING = 0.5


class ClosedError(Exception):
    """These turns are over; whoever holds their successor may try there."""


class Job(Protocol):
    """Something that is done in steps."""

    @property
    def over(self) -> bool:
        """Whether there is nothing more to do."""
        ...

    @property
    def has_output(self) -> bool:
        """Whether something waits for the reader."""
        ...

    def step(self) -> None:
        """Do the next piece of work; not called when ``over``."""
        ...

    def fail(self, error: Exception) -> None:
        """`step` raised `error`; from now on ``over``, and the reader gets it."""
        ...

    def stop(self) -> None:
        """From now on ``over``; a step that runs should end soon. Called from any thread, and again."""
        ...

    def free(self) -> None:
        """Give back what it holds."""
        ...


class Turns:
    """The queue of the jobs on one context.

    Args:
        on_closed: called once, when no job will run any more.
    """

    def __init__(self, on_closed: Callable[[], object]) -> None:
        # A reentrant lock inside: a generator that the garbage collector ends calls `leave` in whatever thread
        # it happens to run, even in the midst of our own bookkeeping.
        self._changed = threading.Condition()
        self._queue: deque[Job] = deque()
        self._running: Job | None = None
        self._runner = 0  # the thread that runs its step
        self._waiting: set[Job] = set()  # those whose readers wait inside `advance`
        self._on_closed = on_closed
        self._retired = self._closed = self._told = False

    @property
    def closed(self) -> bool:
        """Whether no job is taken any more."""
        return self._closed

    def join(self, job: Job) -> None:
        """Stand at the end of the queue.

        Raises:
            ClosedError: no job is taken any more.
        """
        with self._changed:
            if self._closed:
                raise ClosedError
            # Its reader is about to call `advance`; until then nobody should begin for it.
            self._waiting.add(job)
            self._queue.append(job)

    def advance(self, job: Job) -> None:
        """Return as soon as `job` has output or is over; until then do what is first in the queue."""
        with self._changed:
            self._waiting.add(job)
        try:
            while not (job.has_output or job.over):
                if self._take_turn(job):
                    self._run(job)
        finally:
            with self._changed:
                self._waiting.discard(job)
                # Ctrl-C may come between taking the turn and using it.
                if self._runner == threading.get_ident():
                    self._end_turn()
                # From now on another may have to do this job's steps.
                self._changed.notify_all()

    def leave(self, job: Job) -> None:
        """End `job`, wherever it stands; from any thread, and more than once."""
        job.stop()
        with self._changed:
            self._waiting.discard(job)
            self._forget(job)
            self._changed.notify_all()

    def retire(self) -> None:
        """Close when the last job has ended."""
        with self._changed:
            self._retired = True
            self._close_if_idle()

    def close(self, patience: float = math.inf) -> None:
        """End all jobs and close; returns when nothing runs any more, or after `patience` seconds."""
        until = time.monotonic() + patience
        with self._changed:
            self._closed = True
            for job in list(self._queue):
                self.leave(job)
            while self._running is not None and time.monotonic() < until:
                self._changed.wait(_PIECE_OF_WAITING)
            self._close_if_idle()

    def _take_turn(self, job: Job) -> bool:
        """Whether the caller, who waits for `job`, is now the one to run the first job's next step.

        If it isn't, it has waited for a change.
        """
        with self._changed:
            if job.has_output or job.over:
                return False
            first = self._queue[0] if self._queue else None
            if first is None or self._running is not None or (first is not job and first in self._waiting):
                self._changed.wait(_PIECE_OF_WAITING)
                return False
            self._running, self._runner = first, threading.get_ident()
            # Between looking and taking, the garbage collector may have ended it; see __init__.
            if first in self._queue and not first.over:
                return True
            self._end_turn()
            return False

    def _run(self, job: Job) -> None:
        """Run the step that the caller, who waits for `job`, has taken the turn for."""
        first = self._running
        assert first is not None
        try:
            first.step()
        except Exception as error:  # noqa: BLE001 - it belongs to the reader of `first`, who gets it
            first.fail(error)
        except BaseException:
            # Ctrl-C belongs to this thread, whosever step it hit.
            first.fail(InterruptedError("the step was interrupted"))
            raise
        finally:
            with self._changed:
                self._end_turn()

    def _end_turn(self) -> None:
        first, self._running, self._runner = self._running, None, 0
        if first is not None and first.over:
            self._forget(first)
        self._close_if_idle()
        self._changed.notify_all()

    def _forget(self, job: Job) -> None:
        """Take a job that is over out of the queue, unless a step of it runs: then the end of that does it."""
        if job is self._running or job not in self._queue:
            return
        self._queue.remove(job)
        job.free()
        self._close_if_idle()

    def _close_if_idle(self) -> None:
        if (self._retired or self._closed) and not self._queue and self._running is None and not self._told:
            self._closed = self._told = True
            self._on_closed()
