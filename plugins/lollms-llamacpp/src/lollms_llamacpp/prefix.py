"""The beginning that two lists of tokens have in common."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["common_length"]


def common_length(one: Sequence[int], two: Sequence[int]) -> int:
    """How many tokens two sequences have in common at their beginning."""
    low, high = 0, min(len(one), len(two))
    if one[:high] == two[:high]:
        return high
    while high - low > 1:
        middle = (low + high) // 2
        if one[low:middle] == two[low:middle]:
            low = middle
        else:
            high = middle
    return low
