"""One step: what is computed in it, and what comes of it."""

from __future__ import annotations

import time
from typing import Final

from lollms_core import BackendError
from lollms_llamacpp.batching.answer import Answer
from lollms_llamacpp.batching.crew import Crew
from lollms_llamacpp.batching.images import PlacedImage
from lollms_llamacpp.batching.pace import Pace
from lollms_llamacpp.batching.sequences import Sequences, Slot
from lollms_llamacpp.context import ABORTED, NO_ROOM, Context

__all__ = ["Stepper"]

_Part = tuple[Slot, Answer]

_LEAST_SHARE: Final = 8

_EXACT: Final = range(2, 64)
"""Tokens in a step that has an answer which must be the same alone and in company.

llama.cpp's attention on a CPU sums up in another order for a single token with a long past, and for 64 tokens and more
(ggml/src/ggml-cpu/ops.cpp, ggml_compute_forward_flash_attn_ext_f16); so do some matrix products for a single one.
"""


class Stepper:
    """Computes steps on a context; belongs to the thread that does.

    Args:
        context: where it computes.
        sequences: its slots.
        filler: the number of a sequence that is nobody's; None if there is none.
    """

    def __init__(self, context: Context, sequences: Sequences, *, filler: int | None = None) -> None:
        self._context = context
        self._sequences = sequences
        self._filler = filler
        self._pace = Pace()
        self._crews = Crew(), Crew()  # for single tokens, and for several
        self._suspects: list[Slot] = []
        self._image_now = False
        self._turn = 0

    def plan(self) -> list[Slot]:
        """Whose answers the next step is for.

        An image is a step of its own; after each, those without one have theirs. And when a step of several has
        failed, each is tried alone, so that the one that is to blame takes none of the others with it.
        """
        active = [slot for slot in self._sequences.active if slot.answer is not None and not slot.answer.over]
        self._suspects = [slot for slot in self._suspects if slot in active]
        if self._suspects:
            return [self._suspects[0]]
        images = [slot for slot in active if slot.answer is not None and slot.answer.next_image() is not None]
        others = [slot for slot in active if slot not in images]
        self._image_now = bool(images) and (not self._image_now or not others)
        if self._image_now:
            self._turn += 1
            return [images[self._turn % len(images)]]
        return others

    def compute(self, plan: list[Slot]) -> bool:
        """Compute a step and choose the next tokens; False if the context has no room for it, and nothing was done."""
        answers = [(slot, slot.answer) for slot in plan if slot.answer is not None]
        if not answers:
            return True
        limits = [max(answer.limits.threads[kind] for _, answer in answers) for kind in (0, 1)]
        image = answers[0][1].next_image()
        if image is not None:
            self._context.set_threads(*limits)
            return self._compute_image(*answers[0], image)
        return self._compute_tokens(answers, limits)

    def _compute_tokens(self, answers: list[_Part], limits: list[int]) -> bool:
        context, batch = self._context, self._context.batch
        batch.clear()
        parts: list[tuple[Slot, Answer, int, int]] = []
        ready = [pair for pair in answers if pair[1].generates]
        reading = [pair for pair in answers if not pair[1].generates]
        budget = self._pace.tokens(generating=bool(ready))
        exact = self._filler is not None and any(answer.exact for _, answer in answers)
        most = min(batch.capacity, _EXACT[-1]) if exact else batch.capacity
        for slot, answer in self._in_turn(ready, max(most - _LEAST_SHARE, most // 2) if reading else most):
            position = answer.position(answer.computed)
            parts.append((slot, answer, 1, batch.add(answer.tokens[-1:], position, slot.number, output=True)))
        # Those with little left come first, so that what they leave of their share goes to the others.
        reading.sort(key=lambda pair: len(pair[1].tokens) - pair[1].computed)
        for number, (slot, answer) in enumerate(reading):
            share = min(most - len(batch), max(_LEAST_SHARE, budget // (len(reading) - number)))
            tokens = answer.next_tokens(share)
            if not tokens:
                continue
            budget -= len(tokens)
            whole = answer.computed + len(tokens) == len(answer.tokens)
            index = batch.add(tokens, answer.position(answer.computed), slot.number, output=whole)
            parts.append((slot, answer, len(tokens), index if whole else -1))
        filled = exact and len(batch) < _EXACT[0] and batch.capacity >= _EXACT[0]
        if filled and self._filler is not None:
            batch.add([0], 0, self._filler, output=False)
        # Exact answers' threads stay as they are: nothing about them may depend on who else wants a CPU.
        crew = None if exact else self._crews[len(batch) > 1]
        alike = 0 if reading else len(batch)
        if crew is not None:
            limits[len(batch) > 1] = crew.count(limits[len(batch) > 1], alike)
        context.set_threads(*limits)
        begun = time.perf_counter()
        code = context.decode()
        if filled:
            context.forget(self._filler)
        if code == 0:
            seconds = time.perf_counter() - begun
            self._pace.took(len(batch), seconds)
            if crew is not None:
                crew.took(alike, seconds)
            for slot, answer, count, index in parts:
                answer.computed += count
                if index >= 0 and not answer.over:
                    self._take_next(slot, answer, index)
            self._suspects = self._suspects[1:]
            return True
        return self._failed(code, [(slot, answer) for slot, answer, _, _ in parts])

    def _in_turn(self, ready: list[_Part], most: int) -> list[_Part]:
        """Those of `ready` for which there is room; the others come first in the next steps."""
        if len(ready) <= most:
            return ready
        self._turn += most
        begin = self._turn % len(ready)
        return [*ready[begin:], *ready[:begin]][:most]

    def _compute_image(self, slot: Slot, answer: Answer, image: PlacedImage) -> bool:
        code = image.compute(self._context, slot.number, answer.position(image.begin))
        if code == 0:
            answer.computed = image.end
            self._suspects = self._suspects[1:]
            return True
        return self._failed(code, [(slot, answer)])

    def _take_next(self, slot: Slot, answer: Answer, index: int) -> None:
        before = answer.computed
        try:
            answer.take_next(self._context, index)
        except Exception as error:  # noqa: BLE001 - it belongs to the reader, who gets it
            answer.fail(error)
        if answer.computed < before:
            self._sequences.start_over(slot)

    def _failed(self, code: int, answers: list[tuple[Slot, Answer]]) -> bool:
        """A step went wrong: some of it may be computed and some not, so it is as if it had never been."""
        for slot, _ in answers:
            self._sequences.cut_back(slot)
        if code == NO_ROOM:
            return False
        if code == ABORTED:  # it ends the step of those whom nobody wants any more
            return True
        if len(answers) > 1:
            self._suspects = [slot for slot, _ in answers]
        else:
            self._suspects = self._suspects[1:]
            answers[0][1].fail(BackendError(f"llama.cpp cannot compute the next tokens (llama_decode returned {code})"))
        return True
