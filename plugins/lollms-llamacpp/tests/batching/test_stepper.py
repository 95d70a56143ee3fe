"""Whose tokens a step computes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from lollms_llamacpp.batching.sequences import Slot
from lollms_llamacpp.batching.stepper import Stepper


@dataclass(eq=False)
class Answer:
    """Tokens and images to read; then it generates for ever."""

    to_read: int = 0
    images: int = 0
    exact: bool = False
    over: bool = False
    tokens: list[int] = field(default_factory=lambda: [7])
    computed: int = 0
    limits: Any = field(default_factory=lambda: SimpleNamespace(threads=(1, 1)))

    def __post_init__(self) -> None:
        self.tokens = [7] * (self.to_read + 1)

    @property
    def generates(self) -> bool:
        return len(self.tokens) - self.computed == 1

    def next_image(self) -> Any:
        return SimpleNamespace(begin=0, end=0, compute=self._read_image) if self.images else None

    def _read_image(self, *_: object) -> int:
        self.images -= 1
        return 0

    def next_tokens(self, most: int) -> list[int]:
        return self.tokens[self.computed : self.computed + most]

    def position(self, index: int) -> int:
        return index

    def take_next(self, *_: object) -> None:
        self.tokens.append(7)


class Batch:
    capacity = 2048

    def __init__(self) -> None:
        self.sequences: list[int] = []

    def __len__(self) -> int:
        return len(self.sequences)

    def clear(self) -> None:
        self.sequences = []

    def add(self, tokens: list[int], _position: int, sequence: int, **_: object) -> int:
        self.sequences += [sequence] * len(tokens)
        return len(self) - 1


class Context:
    def __init__(self) -> None:
        self.batch = Batch()

    def set_threads(self, *_: int) -> None: ...

    def forget(self, _sequence: int) -> None: ...

    def decode(self) -> int:
        return 0


FILLER = 1000


def stepping(*answers: Answer) -> Callable[[], list[int]]:
    """Computes a step at each call; tells whose tokens were in it, an image counting as one."""
    slots: list[Any] = [Slot(number, answer=answer) for number, answer in enumerate(answers)]  # type: ignore[arg-type]
    context: Any = Context()
    sequences: Any = SimpleNamespace(active=slots)
    stepper = Stepper(context, sequences, filler=FILLER)

    def step() -> list[int]:
        context.batch.clear()
        plan = stepper.plan()
        assert stepper.compute(plan)
        return context.batch.sequences or [slot.number for slot in plan]

    return step


def test_images_take_turns_with_the_others() -> None:
    step = stepping(Answer(images=3), Answer(), Answer())
    assert [step() for _ in range(7)] == [[0], [1, 2], [0], [1, 2], [0], [0, 1, 2], [0, 1, 2]]


def test_images_of_several_take_turns() -> None:
    step = stepping(Answer(images=3), Answer(images=3))
    first, second, third, fourth = (step() for _ in range(4))
    assert first == third
    assert second == fourth
    assert first != second


def test_more_exact_answers_than_fit_in_a_step() -> None:
    answers = [Answer(exact=True) for _ in range(100)]
    step = stepping(*answers)
    for _ in range(100):
        assert len(step()) == 63
    assert {answer.computed for answer in answers} == {63}


def test_a_prompt_is_read_beside_them() -> None:
    answers = [*(Answer(exact=True) for _ in range(100)), Answer(to_read=200)]
    step = stepping(*answers)
    for number in range(20):
        sequences = step()
        assert len(sequences) == 63
        assert sequences.count(100) == 8
        assert answers[100].computed == 8 * (number + 1)
    advanced = {answer.computed for answer in answers[:100]}
    assert max(advanced) - min(advanced) <= 1


def test_a_single_exact_token_is_not_alone() -> None:
    assert stepping(Answer(exact=True))() == [0, FILLER]
    assert stepping(Answer())() == [0]
