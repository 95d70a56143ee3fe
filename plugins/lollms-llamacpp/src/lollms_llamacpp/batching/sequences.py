"""What the context remembers: a sequence for each answer, kept when it ends for those whose prompt begins alike.

Where it is in the way, it goes to ordinary memory (:mod:`~lollms_llamacpp.batching.archive`).

An answer that shares nothing (``cache_prompt=False``) is to be the same alone and in company, to the last bit. What
attention sums up it sums up in the order of the cells, and llama.cpp gives a token the lowest cell that is free: so
no cell may become free while such an answer is being made, or its next token would stand before its earlier ones.
What is forgotten in that time is held by a sequence of nobody's; where cells must become free, the answer's tokens are
computed anew.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from lollms_llamacpp.batching.answer import Answer
from lollms_llamacpp.batching.archive import Archive, Stored
from lollms_llamacpp.prefix import common_length

__all__ = ["Memory", "Sequences", "Slot"]

_log = logging.getLogger(__name__)

_SHORT: Final = 32
"""So few tokens more or less are not worth a sequence of their own, nor waiting for."""

_CHEAP: Final = 64 * 1024
"""Bytes of a token in the cache. Where it takes no more, what nobody uses is put away at once.

Attention passes over every cell in use, whoever's it is. With a small model that takes longer than copying: with
SmolLM2-135M (23 kB a token) 2,200 idle tokens made each step 10 to 15 % longer, and were copied in 35 ms.
"""


class Memory(Protocol):
    """Those methods of a :class:`~lollms_llamacpp.context.Context` that are used here."""

    def forget(self, sequence: int | None = None) -> None: ...

    def cut(self, sequence: int, position: int) -> bool: ...

    def copy(self, source: int, target: int, position: int | None = None) -> None: ...

    def first_position(self, sequence: int) -> int: ...

    def size(self, sequence: int) -> int: ...

    def save(self, sequence: int) -> Any: ...

    def restore(self, sequence: int, data: Any) -> bool: ...


@dataclass(slots=True, eq=False)
class Slot:
    """A sequence of the context.

    Attributes:
        number: its id in llama.cpp.
        answer: whose it is now, None while nobody's.
        kept: the tokens that it remembers while nobody's.
        used: when it was last used, as a number that grows.
        shared: of the tokens remembered, those that another slot had computed.
    """

    number: int
    answer: Answer | None = None
    kept: list[int] = field(default_factory=list)
    used: int = 0
    shared: int = 0

    @property
    def known(self) -> int:
        """How many tokens it remembers."""
        return len(self.kept) if self.answer is None else self.answer.computed

    @property
    def tokens(self) -> Sequence[int]:
        """Tokens of which the first `known` are remembered."""
        return self.kept if self.answer is None else self.answer.tokens


class Sequences:
    """The slots of one context.

    Args:
        memory: the context.
        count: how many slots there are.
        holder: the number of a sequence that is no slot's, for what may not become free yet; None if there is none.
        whole: whether nothing can be forgotten or copied but all of a sequence, as in recurrent models.
        window: tokens that the model's attention looks back; 0 for all.
        archive: where that goes which the context has no room for.
    """

    def __init__(
        self,
        memory: Memory,
        count: int,
        *,
        holder: int | None = None,
        whole: bool = False,
        window: int = 0,
        archive: Archive | None = None,
    ) -> None:
        self.slots = [Slot(number) for number in range(count)]
        self._memory = memory
        self._holder = holder
        self._held = 0  # tokens
        self._whole = whole
        self._window = window
        self._archive = Archive(0) if archive is None else archive
        self._clock = 0

    @property
    def active(self) -> list[Slot]:
        """Those that answers have."""
        return [slot for slot in self.slots if slot.answer is not None]

    @property
    def free(self) -> bool:
        """Whether an answer can have one."""
        return any(slot.answer is None for slot in self.slots)

    @property
    def held(self) -> int:
        """Tokens that nobody needs any more and whose cells are not free yet."""
        return self._held

    @property
    def cells(self) -> int:
        """Tokens that the active ones hold and are known to need; what several share, once."""
        return self._held + sum(len(slot.tokens) - slot.shared for slot in self.active)

    def forerunner(self, answer: Answer) -> tuple[Answer, int] | None:
        """An answer that is just reading what `answer` begins with too, and how many tokens of that.

        Waiting for it is quicker than reading the same at the same time.
        """
        if not answer.cache_prompt or self._whole:
            return None
        there = max(self._stored(answer)[0], *(self._reusable(slot, answer) for slot in self.slots))
        best: tuple[Answer, int] | None = None
        for slot in self.active:
            other = slot.answer
            assert other is not None
            if other.computed < len(other.tokens) - 1:
                count = self._before_last(answer, common_length(other.tokens, answer.tokens))
                if count > max(there + _SHORT, other.computed) and (best is None or count > best[1]):
                    best = other, count
        return best

    def give(self, answer: Answer) -> Slot:
        """A slot for `answer`, with as much of its prompt in it as is remembered anywhere. One must be free."""
        target = min((slot for slot in self.slots if slot.answer is None), key=lambda slot: slot.used)
        count, shared = 0, 0
        best = target
        if answer.cache_prompt:
            count, best = max(
                ((self._reusable(slot, answer), slot) for slot in self.slots), key=lambda pair: (pair[0], pair[1].used)
            )
            there, stored = self._stored(answer)
            if stored is not None and there > count + _SHORT and self._fetch(target, stored):
                count, best = there, target
        if not count:
            self._forget(target)
        elif best.answer is None and (best is target or self._whole or best.known - count <= _SHORT):
            target = best
            count = self._cut(target, answer, count)
        else:
            self._forget(target)
            self._memory.copy(best.number, target.number, answer.position(count))
            shared = 0 if best.answer is None else count
        self._tidy(target)
        answer.computed = answer.n_cached = count
        self._occupy(target, answer, shared)
        return target

    def give_back(self, answer: Answer, data: Any) -> bool:
        """A slot for an answer that was put aside; False if there is no room for it."""
        slot = min((slot for slot in self.slots if slot.answer is None), key=lambda slot: slot.used)
        self._forget(slot)
        if not self._memory.restore(slot.number, data):
            return False
        self._occupy(slot, answer, 0)
        return True

    def put_aside(self, slot: Slot) -> Any:
        """Free the slot of an answer that shall go on later: what it remembers, None if it is computed anew."""
        answer = slot.answer
        assert answer is not None
        data = None if answer.exact else self._memory.save(slot.number)
        if data is None:
            answer.computed = 0
        self._memory.forget(slot.number)
        slot.answer, slot.shared = None, 0
        self._begin_again()
        return data

    def leave(self, slot: Slot) -> None:
        """The slot's answer has ended; what it has computed is kept for others."""
        answer = slot.answer
        assert answer is not None
        slot.kept = answer.tokens[: answer.computed]
        self._clock += 1
        slot.answer, slot.used, slot.shared = None, self._clock, 0
        self._release()

    def cut_back(self, slot: Slot) -> None:
        """Forget what is remembered beyond that which the slot's answer counts as computed, or all if need be."""
        answer = slot.answer
        assert answer is not None
        if not self._memory.cut(slot.number, answer.position(answer.computed)):
            self._memory.forget(slot.number)
            answer.computed = 0

    def start_over(self, slot: Slot) -> None:
        """Forget what the slot's answer does no longer count as computed, of tokens that others have followed since."""
        self._hold(slot)
        self.cut_back(slot)

    def make_room(self) -> bool:
        """Forget what no answer needs, that which was used longest ago; False if all that is remembered is in use."""
        idle = [slot for slot in self.slots if slot.answer is None and slot.kept]
        if not idle and not self._held:
            return False
        if self._any_exact:
            # All at once, as it sets exact answers back.
            for slot in idle:
                self._empty(slot)
            self._let_go()
            self._begin_again()
        else:
            self._empty(min(idle, key=lambda slot: slot.used))
        return True

    @property
    def _any_exact(self) -> bool:
        return any(slot.answer is not None and slot.answer.exact for slot in self.slots)

    def _begin_again(self) -> None:
        """Cells have become free: have exact answers computed anew, which makes no difference to what they become."""
        for slot in self.active:
            if slot.answer is not None and slot.answer.exact and slot.answer.computed:
                self._memory.forget(slot.number)
                slot.answer.computed = 0

    def _empty(self, slot: Slot) -> None:
        self._store(slot)
        self._memory.forget(slot.number)
        slot.kept = []

    # What is put away -----------------------------------------------------------------------------------

    def _store(self, slot: Slot) -> None:
        """Have the archive remember what an idle slot does."""
        memory, archive = self._memory, self._archive
        if not archive.room or len(slot.kept) <= _SHORT or archive.holds(slot.kept):
            return
        if memory.size(slot.number) > archive.room:
            return
        first = memory.first_position(slot.number) if self._window else 0
        try:
            archive.put(Stored(slot.kept, memory.save(slot.number), first))
        except MemoryError:
            _log.debug("there is no memory for %d tokens that are used no more", len(slot.kept))

    def _stored(self, answer: Answer) -> tuple[int, Stored | None]:
        """What the archive has of `answer`'s prompt."""
        if not answer.cache_prompt:
            return 0, None
        return self._archive.best(lambda tokens, first: self._usable(answer, tokens, len(tokens), first))

    def _fetch(self, slot: Slot, stored: Stored) -> bool:
        """Put what is stored into an idle slot; False if there is no room. It stays stored, too: it need not change."""
        self._archive.touch(stored)
        self._forget(slot)
        self._tidy(slot)
        if not self._memory.restore(slot.number, stored.data):
            return False
        slot.kept = stored.tokens
        return True

    def _tidy(self, wanted: Slot) -> None:
        """Put away what nobody uses, but for what is in a slot that is wanted, if that is quickly done."""
        if not self._archive.room or self._any_exact:
            return
        for slot in self.slots:
            if slot is not wanted and slot.kept and self._memory.size(slot.number) <= _CHEAP * len(slot.kept):
                self._empty(slot)

    def _forget(self, slot: Slot) -> None:
        """Empty an idle slot."""
        self._hold(slot)
        self._empty(slot)

    def _hold(self, slot: Slot) -> None:
        """Keep the cells of a slot from becoming free, if need be."""
        if self._holder is not None and slot.known and self._any_exact:
            self._memory.copy(slot.number, self._holder)
            self._held += slot.known

    def _release(self) -> None:
        if self._held and not self._any_exact:
            self._let_go()

    def _let_go(self) -> None:
        if self._holder is not None:
            self._memory.forget(self._holder)
        self._held = 0

    def _occupy(self, slot: Slot, answer: Answer, shared: int) -> None:
        self._clock += 1
        slot.answer, slot.kept, slot.used, slot.shared = answer, [], self._clock, shared

    def _cut(self, slot: Slot, answer: Answer, count: int) -> int:
        """Leave only the first `count` tokens in an idle slot; how many are left."""
        if count == slot.known:
            return count
        if slot.known - count > _SHORT:
            self._store(slot)
        self._hold(slot)
        if self._memory.cut(slot.number, answer.position(count)):
            return count
        self._memory.forget(slot.number)
        return 0

    def _reusable(self, slot: Slot, answer: Answer) -> int:
        """How many tokens of `answer`'s prompt can be taken over from `slot`."""
        if not slot.known or (self._whole and slot.answer is not None):
            return 0
        first = self._memory.first_position(slot.number) if self._window else 0
        return self._usable(answer, slot.tokens, slot.known, first)

    def _usable(self, answer: Answer, tokens: Sequence[int], known: int, first: int) -> int:
        """How many tokens of `answer`'s prompt can be taken from the first `known` of a sequence.

        Args:
            answer: that answer.
            tokens: the sequence's.
            known: how many of them are remembered.
            first: the first position that is.
        """
        count = self._before_last(answer, min(known, common_length(tokens, answer.tokens)))
        if not count or (self._whole and count != known):
            return 0
        # The tokens that a sliding window sees from there must all be remembered.
        seen_from = max(0, answer.position(count) - self._window)
        return count if not self._window or first <= seen_from else 0

    @staticmethod
    def _before_last(answer: Answer, count: int) -> int:
        # The last token is computed in any case, since the next one is chosen by what comes out of it.
        return answer.before_image(min(count, len(answer.tokens) - 1))
