"""The thread that owns a context, and who may have its time."""

from __future__ import annotations

import logging
import math
import os
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lollms_core import BackendError, Overloaded
from lollms_llamacpp.batching.answer import Answer
from lollms_llamacpp.batching.archive import Archive
from lollms_llamacpp.batching.sequences import Sequences, Slot
from lollms_llamacpp.batching.stepper import Stepper
from lollms_llamacpp.batching.switching import SwitchInterval
from lollms_llamacpp.context import Context
from lollms_llamacpp.native import ClosedError, Model
from lollms_llamacpp.options import LoadOptions

__all__ = ["Scheduler", "n_sequences"]

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Waiting:
    """An answer in the queue.

    Attributes:
        answer: that answer.
        aside: what its sequence remembers, if it was put aside to make room.
        forerunner: an answer that reads the same beginning, and how many tokens of it are awaited.
    """

    answer: Answer
    aside: Any = None
    forerunner: tuple[Answer, int] | None = None

    @property
    def awaits(self) -> bool:
        if self.forerunner is None:
            return False
        other, count = self.forerunner
        return not other.over and other.computed < count


def n_sequences(model: Model, n_parallel: int) -> int:
    """How many sequences a context must have for so many answers at once.

    Two are for what keeps answers exact; a model whose sequences cannot be cut or copied has no use for them.
    """
    return n_parallel if model.whole_sequences else n_parallel + 2


class Scheduler:
    """Computes answers on one context, many at once.

    A thread of its own owns the context. Answers join from any thread at the next step, in the order of their coming,
    as long as there are slots and room in the cache; they leave when they are done. The thread keeps neither the
    engine nor the binding alive.

    Args:
        name: the model's, for messages and for the thread.
        model: its weights.
        context: where it computes, with room for :func:`n_sequences` sequences.
        options: how many answers are computed at once, and what else is said of that.
        on_closed: called once, from that thread, when nothing will be computed any more and the context is freed.
    """

    def __init__(
        self,
        name: str,
        model: Model,
        context: Context,
        options: LoadOptions,
        on_closed: Callable[[], object],
    ) -> None:
        self._name = name
        self._context = context
        whole = model.whole_sequences
        n_parallel = options.n_parallel
        self._sequences = Sequences(
            context,
            n_parallel,
            holder=None if whole else n_parallel,
            whole=whole,
            window=model.window,
            archive=Archive(options.cache_ram * 2**20),
        )
        self._stepper = Stepper(context, self._sequences, filler=None if whole else n_parallel + 1)
        self._most_waiting = options.max_queue
        self._interval = SwitchInterval(options.switch_interval)
        self._on_closed = on_closed
        # A reentrant lock inside: a generator that the garbage collector ends calls `leave` in whatever thread
        # it happens to run, even in the midst of our own bookkeeping.
        self._changed = threading.Condition()
        self._queue: deque[_Waiting] = deque()
        self._computing: list[Answer] = []
        self._retired = self._closed = False
        self.failed = False
        """Whether it has closed because of an error of ours or of llama.cpp's that was none of a single answer."""
        self._process = os.getpid()
        self._thread = threading.Thread(target=self._run, name=f"lollms-llamacpp {name}", daemon=True)
        self._thread.start()

    # From any thread ------------------------------------------------------------------------------------

    @property
    def closed(self) -> bool:
        """Whether no answer is taken any more."""
        return self._closed

    @property
    def n_requests(self) -> int:
        """Answers that are being computed or wait."""
        with self._changed:
            answers = [*(waiting.answer for waiting in self._queue), *self._answers()]
        return sum(not answer.over for answer in answers)

    def submit(self, answer: Answer) -> None:
        """Have `answer` computed.

        Raises:
            ClosedError: no answer is taken any more.
            Overloaded: too many wait already.
            BackendError: this process is a fork of the one that has loaded the model.
        """
        if os.getpid() != self._process:
            answer.free()
            raise BackendError(
                f"the model {self._name!r} was loaded before this process was forked, and its threads stayed behind: "
                "load it after the fork"
            )
        with self._changed:
            waiting = len(self._queue)
            if self._closed or waiting >= self._most_waiting + self._n_free():
                answer.free()
                if self._closed:
                    raise ClosedError
                raise Overloaded(
                    f"{waiting} requests wait for the model {self._name!r} already: try again later, or raise max_queue"
                )
            self._queue.append(_Waiting(answer))
            self._changed.notify_all()

    def leave(self, answer: Answer) -> None:
        """End `answer`, wherever it stands; from any thread, and more than once."""
        if answer.over or os.getpid() != self._process:
            return
        with self._changed:
            answer.stop()
            for waiting in self._queue:
                if waiting.answer is answer:
                    self._queue.remove(waiting)
                    answer.free()
                    break
            self._stop_step_for_nobody()
            self._close_if_idle()
            self._changed.notify_all()

    def retire(self, *, wait: bool = True) -> None:
        """Close when the last answer has ended.

        Args:
            wait: whether to return only when the context is freed, if no answer is being made.
        """
        if os.getpid() != self._process:
            return
        with self._changed:
            self._retired = True
            self._close_if_idle()
            self._changed.notify_all()
            wait = wait and self._closed
        if wait and threading.current_thread() is not self._thread:
            self._thread.join()

    def close(self, patience: float = math.inf) -> None:
        """End all answers and close; returns when the context is freed, or after `patience` seconds."""
        if os.getpid() != self._process:
            return
        with self._changed:
            self._closed = True
            for answer in [*(waiting.answer for waiting in self._queue), *self._answers()]:
                self.leave(answer)
            self._changed.notify_all()
        if threading.current_thread() is not self._thread:
            self._thread.join(None if patience == math.inf else patience)

    # The thread -----------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while self._wait_for_work():
                self._step()
        except Exception as error:  # noqa: BLE001 - readers must not wait for ever; each of them gets it
            _log.exception("the engine of the model %r has failed", self._name)
            self._give_up(error)
        finally:
            self._interval.restore()
            self._context.close()
            self._on_closed()

    def _wait_for_work(self) -> bool:
        """Return when there is something to compute; False if there never will be."""
        with self._changed:
            while True:
                for slot in self._sequences.active:
                    if slot.answer is not None and slot.answer.over:
                        self._end(slot)
                self._admit()
                if self._sequences.active:
                    self._interval.shorten()
                    return True
                self._interval.restore()
                self._close_if_idle()
                if self._closed:
                    return False
                self._changed.wait()

    def _step(self) -> None:
        """Compute one step for whoever has a slot."""
        plan = self._stepper.plan()
        with self._changed:
            self._computing = [slot.answer for slot in plan if slot.answer is not None]
            self._context.flag.clear()
            self._stop_step_for_nobody()
        try:
            enough = self._stepper.compute(plan)
        finally:
            with self._changed:
                self._computing = []
        for slot in plan:
            if slot.answer is not None and not slot.answer.stopped:
                slot.answer.deliver()
        if not enough:
            self._make_room()

    def _admit(self) -> None:
        """Give slots to those that wait, in their order; those put aside have to come back first."""
        for waiting in list(self._queue):
            if not self._sequences.free:
                return
            if waiting.awaits:
                continue
            answer = waiting.answer
            if not self._has_room_for(answer):
                return
            if waiting.aside is not None:
                while not self._sequences.give_back(answer, waiting.aside):
                    if not self._sequences.make_room():
                        return
            else:
                waiting.forerunner = self._sequences.forerunner(answer)
                if waiting.forerunner is not None:
                    continue
                self._sequences.give(answer)
            self._queue.remove(waiting)

    def _has_room_for(self, answer: Answer) -> bool:
        sequences = self._sequences
        needed = len(answer.tokens) + 1
        if sequences.active and sequences.held and sequences.cells + needed > self._context.n_ctx:
            sequences.make_room()
        return not sequences.active or sequences.cells + needed <= self._context.n_ctx

    def _make_room(self) -> None:
        """The cells are used up: forget what nobody uses, else put the answer aside that came last."""
        if self._sequences.make_room():
            return
        active = sorted(self._sequences.active, key=lambda slot: slot.used)
        last = active[-1].answer
        assert last is not None
        if len(active) == 1:
            last.fail(BackendError(f"the context of the model {self._name!r} is full"))
            return
        aside = self._sequences.put_aside(active[-1])
        with self._changed:
            if last.over:
                last.free()
            else:
                self._queue.appendleft(_Waiting(last, aside))

    def _end(self, slot: Slot) -> None:
        answer = slot.answer
        assert answer is not None
        self._sequences.leave(slot)
        answer.free()

    def _give_up(self, error: Exception) -> None:
        with self._changed:
            self._closed = self.failed = True
            for answer in [*(waiting.answer for waiting in self._queue), *self._answers()]:
                answer.fail(BackendError(f"the engine of the model {self._name!r} has failed: {error}"))
                answer.free()
            self._queue.clear()

    def _answers(self) -> list[Answer]:
        return [slot.answer for slot in self._sequences.active if slot.answer is not None]

    def _n_free(self) -> int:
        return sum(slot.answer is None for slot in self._sequences.slots)

    def _close_if_idle(self) -> None:
        if self._retired and not self.n_requests:
            self._closed = True

    def _stop_step_for_nobody(self) -> None:
        """End the step that runs if none of its answers is wanted any more."""
        if self._computing and all(answer.stopped for answer in self._computing):
            self._context.flag.set()
