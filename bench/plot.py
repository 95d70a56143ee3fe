"""A case as a picture: a bar for each contestant, in colour if it is ours, and a line from its least round to its most.

Ours is what runs on the core.
"""

from __future__ import annotations

import math
from html import escape

from bench.figures import Result

__all__ = ["picture"]

_WIDTH, _ROW, _BAR, _HEAD, _FOOT = 760, 34, 22, 44, 34
_LEFT, _RIGHT = 250, 90
_CORE = "lollms-core"
_OURS, _OTHERS, _TEXT, _GRID = "#2563a8", "#9aa5b1", "#1f2933", "#d9dee3"


def picture(result: Result) -> str:
    """SVG, white behind it, to be read on any page."""
    column = result.column()
    spreads = {who: spread for who in result.rounds if (spread := result.spread(who)) is not None}
    step, most = _scale(max(spread.most for spread in spreads.values()))
    digits = max(0, -math.floor(math.log10(step)))
    height = _HEAD + _ROW * len(spreads) + _FOOT
    per_unit = (_WIDTH - _LEFT - _RIGHT) / most
    title = f"{result.case.title}: {column.title}"
    parts = [
        _element("title", title),
        _element("rect", width=_WIDTH, height=height, fill="#ffffff"),
        _element("text", title, x=16, y=27, font_size=16, font_weight="bold"),
    ]
    for number in range(round(most / step) + 1):
        x = _LEFT + number * step * per_unit
        parts.append(_element("line", x1=x, y1=_HEAD, x2=x, y2=height - _FOOT, stroke=_GRID))
        parts.append(
            _element("text", f"{number * step:,.{digits}f}", x=x, y=height - 12, text_anchor="middle", font_size=12)
        )
    for number, (who, spread) in enumerate(spreads.items()):
        top = _HEAD + _ROW * number + 6
        middle, end = top + _BAR / 2, spread.median * per_unit
        low, high = (_LEFT + value * per_unit for value in (spread.least, spread.most))
        colour = _OURS if _CORE in result.versions.get(who, {}) else _OTHERS
        line = f"M{low:.1f} {middle}H{high:.1f}" + "".join(f"M{x:.1f} {middle - 5}v10" for x in (low, high))
        value = f"{spread.median:,.{column.digits}f}"
        parts += [
            _element("text", who, x=_LEFT - 10, y=middle + 5, text_anchor="end"),
            _element("rect", x=_LEFT, y=top, width=max(end, 1), height=_BAR, fill=colour),
            _element("path", d=line, stroke=_TEXT, fill="none"),
            _element("text", value, x=max(_LEFT + end, high) + 8, y=middle + 5),
        ]
    font = {"font_family": "Helvetica, Arial, sans-serif", "font_size": 14, "fill": _TEXT, "role": "img"}
    size = {"viewBox": f"0 0 {_WIDTH} {height}", "width": _WIDTH, "height": height}
    body = "\n".join(["", *parts, ""])
    return _element("svg", body, markup=True, xmlns="http://www.w3.org/2000/svg", **size, **font) + "\n"


def _element(name: str, content: str = "", *, markup: bool = False, **attributes: object) -> str:
    """An element of SVG; of attributes, ``_`` stands for ``-``, and numbers are rounded."""
    values = {
        key.replace("_", "-"): f"{value:.1f}" if isinstance(value, float) else value
        for key, value in attributes.items()
    }
    start = " ".join([name, *(f'{key}="{escape(str(value))}"' for key, value in values.items())])
    return f"<{start}>{content if markup else escape(content)}</{name}>" if content else f"<{start}/>"


def _scale(most: float) -> tuple[float, float]:
    """A round step for at most eight lines, and a round end."""
    power = 10.0 ** math.floor(math.log10(most / 4)) if most > 0 else 1.0
    step = next(step for factor in (1, 2, 5, 10) if most / (step := factor * power) <= 8)
    return step, step * math.ceil(most / step)
