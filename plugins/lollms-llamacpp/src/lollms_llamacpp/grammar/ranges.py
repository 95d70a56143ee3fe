"""Sets of characters as ranges of code points, first and last each."""

from __future__ import annotations

from typing import TypeAlias

__all__ = ["Ranges", "minus", "within"]

Ranges: TypeAlias = "tuple[tuple[int, int], ...]"


def minus(ranges: Ranges, others: Ranges) -> Ranges:
    """The characters of `ranges` that are none of `others`."""
    left = list(ranges)
    for low, high in others:
        kept: list[tuple[int, int]] = []
        for begin, end in left:
            if begin < low:
                kept.append((begin, min(end, low - 1)))
            if end > high:
                kept.append((max(begin, high + 1), end))
        left = [(begin, end) for begin, end in kept if begin <= end]
    return tuple(left)


def within(ranges: Ranges, others: Ranges) -> Ranges:
    """The characters that are in both."""
    found = {
        (max(low, begin), min(high, end))
        for low, high in ranges
        for begin, end in others
        if max(low, begin) <= min(high, end)
    }
    return tuple(sorted(found))
