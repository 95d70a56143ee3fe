"""What is remembered, and who may use it again; on a memory that only keeps lists."""

from __future__ import annotations

from typing import Any

import pytest

from lollms_llamacpp.batching.answer import Answer
from lollms_llamacpp.batching.archive import Archive
from lollms_llamacpp.batching.sequences import Sequences, Slot
from lollms_llamacpp.prefix import common_length


class Lists:
    """A memory whose sequences are lists of positions."""

    def __init__(self, *, whole: bool = False, window: int = 0) -> None:
        self.held: dict[int, list[int]] = {}
        self.whole = whole
        self.window = window
        self.room = True
        self.bytes_a_token = 1
        self.saved = 0

    def compute(self, slot: Slot, count: int) -> None:
        """What the stepper does with an answer's next tokens."""
        answer = slot.answer
        assert answer is not None
        positions = self.held.setdefault(slot.number, [])
        assert positions == list(range(answer.computed)) or self.window
        positions.extend(range(answer.computed, answer.computed + count))
        if self.window:
            del positions[: -self.window]
        answer.computed += count

    def forget(self, sequence: int | None = None) -> None:
        if sequence is None:
            self.held.clear()
        else:
            self.held.pop(sequence, None)

    def cut(self, sequence: int, position: int) -> bool:
        held = self.held.get(sequence, [])
        if self.whole and position <= max(held, default=-1):
            return False
        self.held[sequence] = [one for one in held if one < position]
        return True

    def copy(self, source: int, target: int, position: int | None = None) -> None:
        held = self.held.get(source, [])
        assert not self.whole or position in (None, len(held))
        self.held.setdefault(target, []).extend(one for one in held if position is None or one < position)

    def first_position(self, sequence: int) -> int:
        return min(self.held.get(sequence, []), default=-1)

    def size(self, sequence: int) -> int:
        return len(self.held.get(sequence, [])) * self.bytes_a_token

    def save(self, sequence: int) -> Any:
        self.saved += 1
        return list(self.held.get(sequence, []))

    def restore(self, sequence: int, data: Any) -> bool:
        assert sequence not in self.held
        if self.room:
            self.held[sequence] = list(data)
        return self.room


class Bare(Answer):
    """An answer without a model: its tokens alone."""

    def __init__(self, tokens: list[int], *, cache_prompt: bool = True) -> None:
        self.tokens = list(tokens)
        self.images = ()
        self.computed = self.n_cached = 0
        self.cache_prompt = cache_prompt
        self.exact = not cache_prompt
        self.finished = self.stopped = False
        self.error = None


def serve(sequences: Sequences, memory: Lists, answer: Answer, more: int = 0) -> Slot:
    """Give it a slot, read its prompt, add `more` tokens, and end it."""
    slot = sequences.give(answer)
    memory.compute(slot, len(answer.tokens) - answer.computed)
    for number in range(more):
        answer.tokens.append(1000 + number)
        memory.compute(slot, 1)
    sequences.leave(slot)
    return slot


PROMPT = list(range(100))


@pytest.fixture
def memory() -> Lists:
    return Lists()


@pytest.fixture
def sequences(memory: Lists) -> Sequences:
    return Sequences(memory, 3, holder=3)


def test_next_turn(sequences: Sequences, memory: Lists) -> None:
    """What continues an earlier conversation continues its sequence, and computes only what is new."""
    first = Bare(PROMPT)
    slot = serve(sequences, memory, first, more=5)
    assert first.n_cached == 0
    second = Bare([*first.tokens, 7, 8])
    assert sequences.give(second) is slot
    assert (second.n_cached, second.computed) == (105, 105)


def test_same_prompt(sequences: Sequences, memory: Lists) -> None:
    """The last token is always computed, since the next one is chosen by what comes out of it."""
    serve(sequences, memory, Bare(PROMPT))
    again = Bare(PROMPT)
    slot = sequences.give(again)
    assert again.n_cached == 99
    assert memory.held[slot.number] == list(range(99))


def test_a_branch_is_copied(sequences: Sequences, memory: Lists) -> None:
    """Another conversation with the same beginning gets a sequence of its own; the first one is not lost."""
    first = Bare([*PROMPT, *[5] * 50])
    serve(sequences, memory, first)
    other = Bare([*PROMPT, 9, 9])
    sequences.give(other)
    assert other.n_cached == 100
    back = Bare([*first.tokens, 3])
    sequences.give(back)
    assert back.n_cached == 150


def test_from_one_that_runs(sequences: Sequences, memory: Lists) -> None:
    """What another answer has computed already is used while it still runs; the cells are counted once."""
    first = Bare(PROMPT)
    memory.compute(sequences.give(first), 100)
    second = Bare([*PROMPT[:90], 9, 9])
    sequences.give(second)
    assert second.n_cached == 90
    assert sequences.cells == 100 + 2


def test_forerunner(sequences: Sequences, memory: Lists) -> None:
    """An answer waits for another that is just reading the same, as long as that has more to come."""
    first = Bare(PROMPT)
    slot = sequences.give(first)
    memory.compute(slot, 20)
    second = Bare([*PROMPT[:90], 9, 9])
    assert sequences.forerunner(second) == (first, 90)
    memory.compute(slot, 79)
    assert sequences.forerunner(second) is None
    assert sequences.forerunner(Bare([*PROMPT[:90], 9, 9], cache_prompt=False)) is None
    assert sequences.forerunner(Bare([1, 2, 3])) is None


def test_oldest_goes_first(sequences: Sequences, memory: Lists) -> None:
    """Without anything in common, the slot that was used longest ago is taken."""
    slots = [serve(sequences, memory, Bare([number] * 10)) for number in (1, 2, 3)]
    assert len({slot.number for slot in slots}) == 3
    serve(sequences, memory, Bare([*[1] * 10, 1]))
    taken = sequences.give(Bare([4] * 10))
    assert taken is slots[1]
    kept = Bare([*[1] * 10, 5])
    sequences.give(kept)
    assert kept.n_cached == 10


def test_room(sequences: Sequences, memory: Lists) -> None:
    """Room is made by forgetting what is nobody's, the oldest first, and then there is none."""
    for number in (1, 2):
        serve(sequences, memory, Bare([number] * 10))
    sequences.give(Bare([3] * 10))
    assert sequences.make_room()
    newer = Bare([*[2] * 10, 1])
    sequences.give(newer)
    assert newer.n_cached == 10
    assert not sequences.make_room()


def test_put_aside(sequences: Sequences, memory: Lists) -> None:
    """An answer that made room comes back with all that was remembered of it."""
    answer = Bare(PROMPT)
    slot = sequences.give(answer)
    memory.compute(slot, 100)
    data = sequences.put_aside(slot)
    assert memory.held.get(slot.number) is None
    assert sequences.active == []
    memory.room = False
    assert not sequences.give_back(answer, data)
    memory.room = True
    assert sequences.give_back(answer, data)
    assert (sequences.cells, answer.computed) == (100, 100)


def test_whole_sequences() -> None:
    """Of a recurrent memory only all of a sequence can be used, and only by one."""
    memory = Lists(whole=True)
    sequences = Sequences(memory, 2, whole=True)
    first = Bare(PROMPT)
    serve(sequences, memory, first, more=2)
    for tokens, cached in (([*PROMPT, 9], 0), ([*first.tokens, 9], 102)):
        answer = Bare(tokens)
        slot = sequences.give(answer)
        assert answer.n_cached == cached
        memory.compute(slot, len(tokens) - cached)
        assert sequences.forerunner(Bare(tokens)) is None
        again = Bare([*tokens, 1])
        other = sequences.give(again)
        assert again.n_cached == 0
        sequences.leave(other)
        sequences.leave(slot)
        memory.forget()
        sequences = Sequences(memory, 2, whole=True)
        serve(sequences, memory, Bare(PROMPT), more=2)


def test_what_cannot_be_cut_is_forgotten() -> None:
    """Where a step left something that cannot be taken back, the answer starts over."""
    memory = Lists(whole=True)
    sequences = Sequences(memory, 1, whole=True)
    answer = Bare(PROMPT)
    slot = sequences.give(answer)
    memory.compute(slot, 50)
    answer.computed = 40
    sequences.cut_back(slot)
    assert (answer.computed, memory.held.get(slot.number)) == (0, None)


def test_sliding_window() -> None:
    """What has slid out of the window is not used again, unless all that it can see is there."""
    memory = Lists(window=20)
    sequences = Sequences(memory, 2, holder=2, window=20)
    first = Bare(PROMPT)
    serve(sequences, memory, first)
    early = Bare([*PROMPT[:50], 9])
    sequences.give(early)
    assert early.n_cached == 0
    on = Bare([*PROMPT, 9])
    sequences.give(on)
    assert on.n_cached == 100


def test_no_cell_becomes_free_under_an_exact_answer(sequences: Sequences, memory: Lists) -> None:
    """What is forgotten while an answer must be exact is held till it ends; nothing of others is used for it."""
    serve(sequences, memory, Bare(PROMPT))
    exact = Bare(PROMPT, cache_prompt=False)
    slot = sequences.give(exact)
    assert exact.n_cached == 0
    memory.compute(slot, 100)
    for number in (1, 2, 3):
        serve(sequences, memory, Bare([number] * 10))
    serve(sequences, memory, Bare([*[3] * 5, 4]))
    # The prompt, the first ten, and the second ten's: two slots were left for five.
    assert len(memory.held[3]) >= 100 + 10
    assert sequences.cells == len(exact.tokens) + len(memory.held[3])
    sequences.leave(slot)
    assert 3 not in memory.held
    assert sequences.cells == 0


def test_held_cells_are_room_at_last(sequences: Sequences, memory: Lists) -> None:
    """Rather than to fail, what is held is let go, and exact answers are computed anew."""
    serve(sequences, memory, Bare(PROMPT))
    answers = [Bare([9] * 5, cache_prompt=False) for _ in range(3)]
    for answer in answers:
        memory.compute(sequences.give(answer), 4)
    assert memory.held[3] == list(range(100))
    assert sequences.make_room()
    assert memory.held == {}
    assert [answer.computed for answer in answers] == [0, 0, 0]
    assert not sequences.make_room()


def test_exact_answers_make_room(sequences: Sequences, memory: Lists) -> None:
    """One that steps aside is computed anew, and so are the others, whose cells would get out of order."""
    exact, other = Bare(PROMPT, cache_prompt=False), Bare([1, 2, 3], cache_prompt=False)
    usual = Bare([5] * 9)
    slots = [sequences.give(answer) for answer in (exact, other, usual)]
    for slot in slots:
        memory.compute(slot, 3)
    assert sequences.put_aside(slots[0]) is None
    assert (exact.computed, other.computed, usual.computed) == (0, 0, 3)
    assert list(memory.held) == [slots[2].number]


# What is put away -------------------------------------------------------------------------------------


@pytest.fixture
def archive() -> Archive:
    return Archive(1000)


@pytest.fixture
def thrifty(memory: Lists, archive: Archive) -> Sequences:
    """Sequences with an archive for a thousand tokens."""
    return Sequences(memory, 2, holder=2, archive=archive)


def test_what_nobody_uses_leaves_the_context(thrifty: Sequences, memory: Lists) -> None:
    """When something else begins, what is not wanted for it is put away, and put back when it is."""
    first = Bare(PROMPT)
    serve(thrifty, memory, first, more=5)
    other = thrifty.give(Bare([500] * 50))
    assert list(memory.held) == []
    memory.compute(other, 50)
    again = Bare([*first.tokens, 7])
    slot = thrifty.give(again)
    assert (again.n_cached, slot is other) == (105, False)
    assert memory.held[slot.number] == list(range(105))


def test_more_conversations_than_slots(thrifty: Sequences, memory: Lists) -> None:
    """Each of them goes on where it was, whoever came between."""
    talks = [Bare([number] * 60) for number in range(10)]
    for talk in talks:
        serve(thrifty, memory, talk, more=2)
    for talk in talks:
        turn = Bare([*talk.tokens, 7])
        serve(thrifty, memory, turn)
        assert turn.n_cached == 62


def test_the_beginning_of_what_was_put_away(thrifty: Sequences, memory: Lists, archive: Archive) -> None:
    """A system prompt is used from there by another conversation; the first one stays."""
    first = Bare([*PROMPT, *[5] * 50])
    serve(thrifty, memory, first)
    serve(thrifty, memory, Bare([500] * 50))
    other = Bare([*PROMPT, 9])
    slot = serve(thrifty, memory, other)
    assert other.n_cached == 100
    assert memory.held[slot.number] == list(range(101))
    back = Bare([*first.tokens, 3])
    thrifty.give(back)
    assert back.n_cached == 150


def test_what_is_cut_off_is_kept(thrifty: Sequences, memory: Lists) -> None:
    """Where the one slot left is cut back to a beginning, the rest of it is not lost."""
    memory.bytes_a_token = 100_000  # so much that nothing is put away without need
    archive = Archive(100_000_000)
    sequences = Sequences(memory, 1, archive=archive)
    first = Bare([*PROMPT, *[5] * 50])
    serve(sequences, memory, first)
    assert memory.saved == 0
    serve(sequences, memory, Bare([*PROMPT, 9]))
    back = Bare([*first.tokens, 3])
    sequences.give(back)
    assert back.n_cached == 150


def test_a_big_cache_is_put_away_only_where_it_must(memory: Lists) -> None:
    """Copying costs more than it brings, as long as there are slots and cells."""
    memory.bytes_a_token = 100_000
    sequences = Sequences(memory, 2, archive=Archive(100_000_000))
    serve(sequences, memory, Bare(PROMPT))
    serve(sequences, memory, Bare([500] * 50))
    assert memory.saved == 0
    assert sequences.make_room()
    assert memory.saved == 1
    again = Bare([*PROMPT, 1])
    sequences.give(again)
    assert again.n_cached == 100


def test_nothing_is_put_away_under_an_exact_answer(thrifty: Sequences, memory: Lists) -> None:
    """No cell becomes free; what has been put away stays where it is."""
    serve(thrifty, memory, Bare(PROMPT))
    exact = Bare([9] * 40, cache_prompt=False)
    memory.compute(thrifty.give(exact), 40)
    serve(thrifty, memory, Bare([500] * 50))
    serve(thrifty, memory, Bare([600] * 50))
    assert len(memory.held[2]) == 50
    assert exact.computed == 40


def test_no_room_to_put_it_back(thrifty: Sequences, memory: Lists) -> None:
    """Then it is computed, and stays put away."""
    serve(thrifty, memory, Bare(PROMPT))
    serve(thrifty, memory, Bare([500] * 50))
    memory.room = False
    poor = Bare([*PROMPT, 1])
    serve(thrifty, memory, poor)
    assert poor.n_cached == 0
    memory.room = True
    serve(thrifty, memory, Bare([600] * 50))
    again = Bare([*PROMPT, 2])
    thrifty.give(again)
    assert again.n_cached == 100


def test_it_is_not_saved_twice(thrifty: Sequences, memory: Lists) -> None:
    """What comes back and is not gone on with is there already."""
    first, second = Bare([*PROMPT, *[5] * 50]), Bare([*PROMPT, *[6] * 50])
    for _ in range(3):
        for answer in (first, second):
            serve(thrifty, memory, Bare(answer.tokens))
    assert memory.saved <= 3


def test_the_oldest_leave_the_archive(memory: Lists) -> None:
    """There is room for three of them; what was used stays."""
    archive = Archive(155)
    sequences = Sequences(memory, 1, archive=archive)
    for number in (1, 2, 3, 4):
        serve(sequences, memory, Bare([number] * 50))
    assert archive.size == 150
    serve(sequences, memory, Bare([*[1] * 50, 7]))
    assert archive.size == 150
    sequences.give(Bare([5] * 50))
    cached = []
    for number in (1, 4, 3, 2):
        count, _ = archive.best(lambda tokens, _first, wanted=number: tokens.count(wanted))  # type: ignore[misc]
        cached.append(count)
    assert cached == [50, 50, 50, 0]


def test_a_whole_state_is_put_back_whole() -> None:
    """Of a recurrent model's states those are used that end where the new prompt goes on."""
    memory = Lists(whole=True)
    sequences = Sequences(memory, 1, whole=True, archive=Archive(1000))
    first = Bare(PROMPT)
    serve(sequences, memory, first, more=2)
    serve(sequences, memory, Bare([500] * 50))
    part = Bare([*PROMPT[:50], 9])
    serve(sequences, memory, part)
    assert part.n_cached == 0
    on = Bare([*first.tokens, 1])
    sequences.give(on)
    assert on.n_cached == 102


@pytest.mark.parametrize(
    ("one", "two", "length"),
    [([], [1], 0), ([1], [2], 0), ([1, 2], [1, 3], 1), ([1, 2, 3], [1, 2], 2), (PROMPT, PROMPT, 100)],
)
def test_common_length(one: list[int], two: list[int], length: int) -> None:
    """As if compared one by one."""
    assert common_length(one, two) == common_length(two, one) == length


def test_common_length_everywhere() -> None:
    """Wherever they begin to differ."""
    for length in range(70):
        assert common_length(PROMPT[:70], [*PROMPT[:length], -1, *PROMPT]) == length
