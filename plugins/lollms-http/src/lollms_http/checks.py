"""Checks of options: each is called with an option's name and value, and raises if that cannot be honoured."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

__all__ = ["Check", "flag", "number", "text", "whole"]

Check: TypeAlias = Callable[[str, object], None]
"""``check(name, value)`` raises a TypeError or ValueError that names the option."""


def flag(name: str, value: object) -> None:
    """True or False."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, not {value!r}")


def text(name: str, value: object) -> None:
    """A str."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a str, not {type(value).__name__}")


def whole(low: int, high: int = 2**31 - 1) -> Check:
    """A whole number from `low` to `high`."""

    def check(name: str, value: object) -> None:
        if type(value) is not int:
            raise TypeError(f"{name} must be a whole number, not {value!r}")
        if not low <= value <= high:
            raise ValueError(f"{name} must be between {low} and {high}, not {value}")

    return check


def number(low: float = -math.inf, *, above: bool = False) -> Check:
    """A finite number of at least `low`, or greater than it (`above`)."""

    def check(name: str, value: object) -> None:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise TypeError(f"{name} must be a number, not {value!r}")
        if not math.isfinite(value) or value < low or (above and value == low):
            raise ValueError(
                f"{name} must be a finite number {'above' if above else 'of at least'} {low:g}, not {value}"
            )

    return check
