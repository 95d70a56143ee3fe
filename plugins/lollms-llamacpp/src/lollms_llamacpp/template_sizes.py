"""How much a step of a template would build, told before it is built."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NoReturn

from jinja2.exceptions import SecurityError

__all__ = [
    "MAX_CHARS",
    "MAX_ITEMS",
    "check_format",
    "check_percent",
    "check_product",
    "check_replace",
    "refuse",
    "sized",
]

MAX_CHARS: Final = 8_000_000
"""Longest string that a template may build, in characters; far more than any context holds."""

MAX_ITEMS: Final = 1_000_000
"""Longest list, and most items of lists in lists that one step may look at."""

_MAX_BITS: Final = 4096
_MAX_FIELDS: Final = 10_000
_PERCENT: Final = re.compile(r"%(?:\([^)]*\))?([^a-zA-Z%]*)")
_FIELD: Final = re.compile(r"\{[^{}]*?(?::([^{}]*))?\}")
_LONG_NUMBER: Final = re.compile(r"\d{5}|\*")
_NUMBER: Final = re.compile(r"\d+")


def refuse() -> NoReturn:
    """Raises:
    SecurityError: always; the text names the limit.
    """
    raise SecurityError(f"it builds a text of more than {MAX_CHARS:,} characters, or a list as long")


def sized(value: Any) -> int:
    """How many characters `value` takes as text, roughly and at least, and what is in it however deep.

    A list that holds one list twice counts that twice, as its text does.

    Raises:
        SecurityError: it is more than a template may build.
    """
    if isinstance(value, str):
        if len(value) > MAX_CHARS:
            refuse()
        return len(value)
    if not isinstance(value, (list, tuple, dict, set, frozenset)):
        return 1
    size = items = 0
    waiting: list[Any] = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, str):
            size += len(one)
        elif isinstance(one, (list, tuple, dict, set, frozenset)):
            items += len(one) + 1
            if items > MAX_ITEMS:
                refuse()
            if isinstance(one, dict):
                waiting.extend(one)
                waiting.extend(one.values())
            else:
                waiting.extend(one)
        if size + items > MAX_CHARS:
            refuse()
    return size + items


def check_product(left: Any, right: Any) -> None:
    """Raise if ``left * right`` is too long a sequence or too large a number."""
    for repeated, times in ((left, right), (right, left)):
        if isinstance(times, int) and isinstance(repeated, (str, list, tuple)):
            most = MAX_CHARS if isinstance(repeated, str) else MAX_ITEMS
            if len(repeated) * times > most:
                refuse()
    if not (small(left) and small(right)):
        raise SecurityError("it computes products that are too large")


def small(value: Any, bits: int = _MAX_BITS) -> bool:
    """Whether `value` is no number of more than `bits` bits."""
    return not isinstance(value, int) or value.bit_length() <= bits


def check_replace(text: Any, old: Any = "", new: Any = "", *_: Any, **__: Any) -> None:
    """Raise if the text with all `old` made `new` is too long."""
    if isinstance(text, str) and isinstance(old, str) and isinstance(new, str):
        times = text.count(old)
        if len(text) + times * (len(new) - len(old)) > MAX_CHARS:
            refuse()


def check_percent(text: str, values: Any) -> None:
    """Raise if ``text % values`` is too long."""
    specs = _PERCENT.findall(text)
    named = isinstance(values, Mapping)
    parts = list(values.values()) if named else list(values) if isinstance(values, tuple) else [values]
    _check_fields(text, specs, parts, repeated=named)


def check_format(text: str, args: Sequence[Any], named: Mapping[str, Any]) -> None:
    """Raise if ``text.format(*args, **named)`` is too long."""
    if "{" in text.replace("{{", "") and re.search(r"\{[^{}]*:[^{}]*\{", text):
        refuse()  # a width that an argument gives
    _check_fields(text, _FIELD.findall(text), [*args, *named.values()], repeated=True)


def _check_fields(text: str, specs: Sequence[str], values: Iterable[Any], *, repeated: bool) -> None:
    if len(specs) > _MAX_FIELDS or any(_LONG_NUMBER.search(spec) for spec in specs):
        refuse()
    widths = sum(int(number) for spec in specs for number in _NUMBER.findall(spec))
    sizes = [sized(value) for value in values]
    filled = len(specs) * max(sizes, default=0) if repeated else sum(sizes)
    if len(text) + widths + filled > MAX_CHARS:
        refuse()
