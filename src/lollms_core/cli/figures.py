"""Figures as people read them."""

from __future__ import annotations

__all__ = ["bytes_of", "count_of", "time_of"]


def bytes_of(size: object) -> str:
    """A number of bytes in units of powers of 1000; "" for what is no number."""
    if not _is_number(size):
        return ""
    amount = float(size)  # type: ignore[arg-type]
    for unit in ("B", "kB"):
        if amount < 999.5:
            return f"{amount:.0f} {unit}"
        amount /= 1000
    for unit in ("MB", "GB"):
        if amount < 999.95:
            return f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"


def count_of(number: object) -> str:
    """A model's number of parameters, ``134.5M`` or ``8.0B``, as models are named; "" for what is no number."""
    if not _is_number(number):
        return ""
    amount = float(number)  # type: ignore[arg-type]
    for unit in ("", "K", "M"):
        if amount < 999.95:
            return f"{amount:.1f}{unit}" if unit else f"{amount:.0f}"
        amount /= 1000
    return f"{amount:.1f}B"


def time_of(seconds: float) -> str:
    """A length of time, to the second."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < float("inf")
