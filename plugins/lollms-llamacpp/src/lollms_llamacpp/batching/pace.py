"""How many tokens of prompts a step computes: few enough that nobody waits long for the next one."""

from __future__ import annotations

from typing import Final

__all__ = ["Pace"]

_IN_COMPANY: Final = 0.1
_ALONE: Final = 0.25
"""Seconds that a step should last, while others generate and otherwise: a cancelled request leaves after a step."""

_FIRST: Final = 128
_LEAST_IN_COMPANY: Final = 16
_LEAST_ALONE: Final = 64
"""Tokens. Attention over several tokens is computed in tiles from 64 on, and slower below (ggml, flash attention on a
CPU): smaller steps of a long prompt would make a vicious circle of slower and still smaller ones.
"""

_TELLING: Final = 16  # a step with fewer tokens says little about many
_WEIGHT: Final = 0.3


class Pace:
    """Learns from each step how fast prompts are read."""

    def __init__(self) -> None:
        self._seconds = 0.0  # a token; 0 before the first step

    def tokens(self, *, generating: bool) -> int:
        """Tokens of prompts for the next step.

        Args:
            generating: whether answers that wait for their next token are in it too.
        """
        if not self._seconds:
            return _FIRST
        if generating:
            return max(_LEAST_IN_COMPANY, int(_IN_COMPANY / self._seconds))
        return max(_LEAST_ALONE, int(_ALONE / self._seconds))

    def took(self, n_tokens: int, seconds: float) -> None:
        """A step of `n_tokens` lasted so long."""
        if n_tokens < _TELLING:
            return
        now = seconds / n_tokens
        # A step that was slower counts at once: the next one must not be too long as well.
        slower = not self._seconds or now > self._seconds
        self._seconds = now if slower else self._seconds + _WEIGHT * (now - self._seconds)
