"""What the context has no room for any more, in ordinary memory: putting it back is quicker than reading it again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Archive", "Stored"]


@dataclass(slots=True, eq=False)
class Stored:
    """A sequence that was saved.

    Attributes:
        tokens: those that it remembers.
        data: what the context gave; its length is in bytes.
        first: the first position that is remembered (see ``Memory.first_position``).
    """

    tokens: list[int]
    data: Any
    first: int


class Archive:
    """Saved sequences, as many as there is room for; those used longest ago go first.

    Args:
        room: bytes.
    """

    def __init__(self, room: int) -> None:
        self.room = room
        self._stored: list[Stored] = []  # the one used last at the end

    @property
    def size(self) -> int:
        """Bytes of what is stored."""
        return sum(len(one.data) for one in self._stored)

    def holds(self, tokens: Sequence[int]) -> bool:
        """Whether all that these tokens say is stored already; if so, it counts as used."""
        for one in self._stored:
            if one.tokens[: len(tokens)] == tokens:
                self.touch(one)
                return True
        return False

    def put(self, stored: Stored) -> None:
        """Store it, in the place of those that it continues; not if it is too big."""
        tokens = stored.tokens
        if len(stored.data) > self.room:
            return
        self._stored = [one for one in self._stored if one.tokens != tokens[: len(one.tokens)]]
        self._stored.append(stored)
        while self.size > self.room:
            del self._stored[0]

    def best(self, usable: Callable[[Sequence[int], int], int]) -> tuple[int, Stored | None]:
        """The one that most can be used of, and how many of its tokens.

        Args:
            usable: tells that of a sequence's tokens and its first position.
        """
        best: Stored | None = None
        most = 0
        for one in self._stored:
            count = usable(one.tokens, one.first)
            if count > most:
                most, best = count, one
        return most, best

    def touch(self, stored: Stored) -> None:
        """It is in use: others go first."""
        self._stored.remove(stored)
        self._stored.append(stored)
