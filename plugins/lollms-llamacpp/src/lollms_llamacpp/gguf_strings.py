"""Stepping over the strings of a vocabulary without making an object of each.

A GGUF file has no table of where its strings begin: each begins where the one before ends, and a header has some
300,000 of them (tokens and merges). A loop over them takes Python thirty milliseconds and more, numpy three.
"""

from __future__ import annotations

import struct
import sys
from typing import Final

__all__ = ["SeenStrings", "step_over"]

_FEW: Final = 2_000  # so many are not worth numpy, nor its import where a file has no more
_MOST_SEEN: Final = 8
_MAX_SEEN: Final = 16 << 20
_PREFIX: Final = struct.Struct("<Q")


class SeenStrings:
    """The bytes of arrays that were stepped over lately: where the same follow in another file, so does their end.

    Models are made of few vocabularies, and of a model one has several quantisations: comparing takes a tenth of the
    time that looking for each string does. For as long as a list is made; it holds some megabytes.
    """

    def __init__(self) -> None:
        self._seen: dict[int, bytes] = {}

    def of(self, count: int, begin: bytes) -> bytes | None:
        """An array of `count` strings that begins in the same way as `begin`; None if there was none."""
        seen = self._seen.get(count)
        return seen if seen is not None and seen.startswith(begin) else None

    def keep(self, count: int, data: bytes) -> None:
        """Remember an array of `count` strings, in the place of another with as many."""
        self._seen.pop(count, None)
        if len(self._seen) >= _MOST_SEEN:
            self._seen.pop(next(iter(self._seen)))
        if len(data) <= _MAX_SEEN:
            self._seen[count] = data


def step_over(chunk: bytes, at: int, most: int, *, many: bool = True) -> tuple[int, int]:
    """Step over length-prefixed strings in `chunk`, from the offset `at` on, where at least one prefix is whole.

    Args:
        chunk: what has been read of the file.
        at: where the first string begins in it.
        most: how many strings there are.
        many: whether numpy is worth its import, as it is for the headers of many files. That takes longer than a loop
            over one of them.

    Returns:
        How many were passed, at least 1 and at most `most`, and the offset after them. That lies beyond the chunk if
        the last string does; it is the caller's to look whether the file has it.
    """
    passed, rest = 0, most
    if most > _FEW and (many or "numpy" in sys.modules):
        passed, at = _step_over_short(chunk, at, most)
        rest = _FEW  # what comes after the short ones is one that is not; then the short ones have another try
    last = len(chunk) - 8
    unpack = _PREFIX.unpack_from
    for number in range(passed, min(most, passed + rest)):
        if at > last:
            return number, at
        at += 8 + unpack(chunk, at)[0]
        passed = number + 1
    return passed, at


def _step_over_short(chunk: bytes, at: int, most: int) -> tuple[int, int]:
    """The same for as many strings as have 1 to 255 bytes and do not begin with a zero byte; none is fine too.

    The prefix of such a string is its length and seven zero bytes, among which there is exactly one whole aligned word.
    So each zero word is a candidate, whose prefix begins at the last byte before it that is not zero. The candidates
    prove themselves: as far as each lies where the length that stands at the one before says, they are the strings.
    """
    import numpy as np

    base = at // 4 * 4
    words = np.frombuffer(chunk, "<u4", (len(chunk) - base) // 4, base)
    starts = (words[1:-1] == 0).nonzero()[0]  # the words before the zero ones
    before, after = words.take(starts), words[2:].take(starts)
    place = (before > 0xFF).view(np.int8) + (before > 0xFFFF).view(np.int8) + (before > 0xFFFFFF).view(np.int8)
    # Of the prefix, as many bytes as were passed over in the word before lie in the word after.
    short = (after & np.array([0, 0xFF, 0xFFFF, 0xFFFFFF], np.uint32).take(place)) == 0
    starts *= 4
    starts += place
    starts += base
    first = int(starts.searchsorted(at))
    starts, short = starts[first:], short[first:]
    if not len(starts) or starts[0] != at or not short[0]:
        return 0, at
    ends = starts + 8
    ends += np.frombuffer(chunk, np.uint8).take(starts)
    fits = starts[1:] == ends[:-1]
    fits &= short[1:]
    passed = min(len(starts) if fits.all() else int(fits.argmin()) + 1, most)
    return passed, int(ends[passed - 1])
