"""JSON that somebody else wrote: ``json.loads`` with bounded nesting.

``json.loads`` follows nesting by recursion. Its own RecursionError can be caught; but where the garbage collector runs
at that depth, whatever it finalizes fails there too, and what that would have closed stays open.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

__all__ = ["MAX_DEPTH", "loads"]

MAX_DEPTH: Final = 200
"""Levels of nesting; what backends send has less than twenty."""

# Outside of strings, what opens and what closes. A string without an end is taken whole: each quote in it would else
# begin another.
_BRACKETS: Final = re.compile(r'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)|([\[{])|([\]}])', re.DOTALL)

_decode: Final = json.JSONDecoder().raw_decode
_BLANKS: Final = " \t\n\r"


def loads(text: str | bytes, **options: Any) -> Any:
    """The value of `text`; `options` are those of ``json.loads``.

    Raises:
        ValueError: it is no JSON, no UTF-8, or nested deeper than :data:`MAX_DEPTH`.
    """
    if len(text) > MAX_DEPTH:
        if not isinstance(text, str):
            text = text.decode(json.detect_encoding(text))
        if text.count("[") + text.count("{") > MAX_DEPTH and _is_deep(text):
            raise ValueError(f"it is nested deeper than {MAX_DEPTH} levels")
    if options or not isinstance(text, str):
        return json.loads(text, **options)
    # What json.loads does for a str, without the half of its time that it spends around it.
    try:
        value, end = _decode(text)
    except json.JSONDecodeError:
        return json.loads(text)  # blanks before the value, or the error
    return value if end == len(text) or not text[end:].strip(_BLANKS) else json.loads(text)


def _is_deep(text: str) -> bool:
    depth = 0
    for match in _BRACKETS.finditer(text):
        opens, closes = match.groups()
        if opens:
            depth += 1
            if depth > MAX_DEPTH:
                return True
        elif closes:
            depth -= 1
    return False
