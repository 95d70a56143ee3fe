"""Turns: every job is done, in order, whoever waits; with jobs that only count."""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Callable, Iterator

import pytest

from lollms_llamacpp.turns import ClosedError, Turns


class Counting:
    """A job of `steps` steps, each with one output, that says who did it."""

    def __init__(self, steps: int, log: list[Counting] | None = None) -> None:
        self.left = steps
        self.output: deque[int] = deque()
        self.log = log if log is not None else []
        self.threads: list[int] = []
        self.error: Exception | None = None
        self.stopped = False
        self.freed = 0
        self.during: Callable[[], object] = lambda: None

    @property
    def over(self) -> bool:
        return self.stopped or self.error is not None or not self.left

    @property
    def has_output(self) -> bool:
        return bool(self.output)

    def step(self) -> None:
        assert not self.freed
        self.during()
        self.left -= 1
        self.log.append(self)
        self.threads.append(threading.get_ident())
        self.output.append(self.left)

    def fail(self, error: Exception) -> None:
        self.error = error

    def stop(self) -> None:
        self.stopped = True

    def free(self) -> None:
        self.freed += 1


def read(turns: Turns, job: Counting) -> Iterator[int]:
    turns.join(job)
    try:
        while True:
            turns.advance(job)
            while job.output:
                yield job.output.popleft()
            if job.over:
                return
    finally:
        turns.leave(job)


@pytest.fixture
def turns() -> Turns:
    return Turns(lambda: None)


def test_one_job(turns: Turns) -> None:
    """A job's output comes in order, and the job is freed once."""
    job = Counting(3)
    assert list(read(turns, job)) == [2, 1, 0]
    assert job.freed == 1


def test_nested(turns: Turns) -> None:
    """A thread in the midst of one job may do another: the first is finished for it on the way."""
    log: list[Counting] = []
    outer, inner = Counting(4, log), Counting(2, log)
    got = []
    for number in read(turns, outer):
        got.append(number)
        if number == 2:
            assert list(read(turns, inner)) == [1, 0]
    assert got == [3, 2, 1, 0]
    assert log == [outer] * 4 + [inner] * 2


def test_abandoned_job(turns: Turns) -> None:
    """A reader that never comes back keeps nobody waiting."""
    first = read(turns, Counting(3))
    next(first)
    assert list(read(turns, Counting(1))) == [0]
    assert list(first) == [1, 0]


def test_closed_reader(turns: Turns) -> None:
    """A reader that is closed ends its job, and the next one runs at once."""
    job = Counting(1000)
    reader = read(turns, job)
    next(reader)
    reader.close()  # type: ignore[attr-defined]
    assert (job.freed, len(job.threads)) == (1, 1)
    assert list(read(turns, Counting(1))) == [0]


def test_threads_take_turns(turns: Turns) -> None:
    """Many threads at once: every job is done whole, one at a time, first come, first served."""
    log: list[Counting] = []
    jobs = [Counting(20, log) for _ in range(8)]
    results: dict[int, list[int]] = {}

    def run(index: int) -> None:
        results[index] = list(read(turns, jobs[index]))

    threads = [threading.Thread(target=run, args=(index,)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(results[index] == list(range(19, -1, -1)) for index in range(8))
    # No job's steps are interrupted by another's.
    changes = sum(one is not two for one, two in itertools.pairwise(log))
    assert changes == 7
    assert all(job.freed == 1 for job in jobs)


def test_a_waiting_reader_does_its_own_steps(turns: Turns) -> None:
    """Nobody else begins the job of a reader that is there: a step may be long, and the other may be cancelled."""
    entered, go_on = threading.Event(), threading.Event()
    slow = Counting(1)

    def wait() -> None:
        entered.set()
        assert go_on.wait(30)

    slow.during = wait
    other = Counting(1)
    first = threading.Thread(target=lambda: list(read(turns, slow)))
    second = threading.Thread(target=lambda: list(read(turns, other)))
    first.start()
    assert entered.wait(30)
    second.start()
    # It waits in the queue; ending it must not have to wait for the step that runs.
    turns.leave(other)
    second.join(30)
    assert not second.is_alive()
    assert other.threads == []
    go_on.set()
    first.join(30)
    assert slow.threads == [first.ident]


def test_stopped_while_it_runs(turns: Turns) -> None:
    """A job that is ended during a step is freed after the step, not under it."""
    job = Counting(5)
    seen = []

    def leave() -> None:
        turns.leave(job)
        seen.append(job.freed)

    job.during = leave
    list(read(turns, job))
    assert seen == [0]
    assert job.freed == 1
    assert len(job.threads) == 1


def test_failing_step(turns: Turns) -> None:
    """What a step raises is its reader's; the next job runs."""
    job = Counting(5)
    job.during = list[None]().pop
    assert list(read(turns, job)) == []
    assert isinstance(job.error, IndexError)
    assert job.freed == 1
    assert list(read(turns, Counting(1))) == [0]


def test_interrupt_while_helping(turns: Turns) -> None:
    """Ctrl-C is for the thread it hits, also while it does another's step; the turn is not lost."""
    outer = Counting(3)
    reader = read(turns, outer)
    next(reader)

    def interrupt() -> None:
        raise KeyboardInterrupt

    outer.during = interrupt
    mine = Counting(1)
    with pytest.raises(KeyboardInterrupt):
        list(read(turns, mine))
    assert mine.freed == 1
    assert isinstance(outer.error, InterruptedError)
    assert list(reader) == []
    assert list(read(turns, Counting(1))) == [0]


def test_close() -> None:
    """Closing ends and frees all jobs, is told once, and no job is taken any more."""
    closed = []
    turns = Turns(lambda: closed.append(1))
    job = Counting(5)
    reader = read(turns, job)
    next(reader)
    turns.close()
    assert (closed, job.freed, turns.closed) == ([1], 1, True)
    assert list(reader) == []
    turns.close()
    with pytest.raises(ClosedError):
        turns.join(Counting(1))
    assert closed == [1]


def test_close_waits_for_the_step() -> None:
    """What a step uses is not taken away under it."""
    closed = threading.Event()
    turns = Turns(closed.set)
    entered, go_on = threading.Event(), threading.Event()
    job = Counting(5)

    def wait() -> None:
        entered.set()
        assert go_on.wait(30)
        assert not closed.is_set()

    job.during = wait
    worker = threading.Thread(target=lambda: list(read(turns, job)))
    worker.start()
    assert entered.wait(30)
    closer = threading.Thread(target=turns.close)
    closer.start()
    turns.close(patience=0)
    assert not closed.is_set()
    go_on.set()
    closer.join(30)
    worker.join(30)
    assert closed.is_set()
    assert job.error is None


def test_retire() -> None:
    """Retiring lets what runs come to its end, and closes then."""
    closed = []
    turns = Turns(lambda: closed.append(1))
    reader = read(turns, Counting(3))
    next(reader)
    turns.retire()
    assert list(read(turns, Counting(1))) == [0]
    assert closed == [1]
    assert list(reader) == [1, 0]
    idle = Turns(lambda: closed.append(2))
    idle.retire()
    assert closed == [1, 2]
