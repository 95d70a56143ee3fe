"""Rows about time: peers that fall silent, and peers that never come to an end."""

from __future__ import annotations

from collections.abc import Sequence

from lollms_core.errors import BackendTimeout, Overloaded
from lollms_core.testing.dialect import Dialect
from lollms_core.testing.fault_server import HOLD, Pause, Step
from lollms_core.testing.faults.fault import Expected, Fault, Play
from lollms_core.testing.wire import Part, response

__all__ = ["TIMES"]

_START = ("Th\u00e9 ", "sky")
_SHORT = 0.2  # seconds


def _silent(name: str, *before: str, within: str, **fields: float) -> Fault:
    """Silence after the records `before`; `within` says what of the head comes."""

    def play(dialect: Dialect) -> Play:
        # Without a part it would be a good stream.
        head = dialect.stream(*(dialect.pieces(*before) or [Part(b"")]), ended=False).packets[: 1 + len(before)]
        steps: list[Step] = {"nothing": [], "half a head": [head[0][:20]], "all": head}[within]  # type: ignore[assignment]
        return Play(
            [(*steps, HOLD)],
            Expected((BackendTimeout,), "".join(before), r"0\.2 s"),
            options={"retries": 2},
            fields=fields,
        )

    return Fault(name, play, ("stream",) if before else ("stream", "whole"))


def _drip(dialect: Dialect) -> Play:
    """Something comes all the time, but the end never does."""
    head, first, *others = dialect.stream(*dialect.pieces(*_START), ended=False).packets
    empty = dialect.stream(*dialect.pieces(""), ended=False).packets[1]
    drip: list[Step] = [head, first, *others]
    for _ in range(200):
        drip += [Pause(0.02), empty]
    expected = Expected((BackendTimeout,), "".join(_START), r"deadline")
    return Play([(*drip, HOLD)], expected, options={"retries": 2}, fields={"timeout": 5.0, "deadline": 0.3})


def _waits(dialect: Dialect) -> Play:
    """Another try would come too late: the caller hears at once, and why."""
    refusal = response(dialect.refusal("not now"), "503 Service Unavailable", Retry_After="5")
    return Play([(refusal,)], Expected((Overloaded,), "", "not now"), options={"retries": 2}, fields={"deadline": 2.0})


TIMES: Sequence[Fault] = (
    _silent("silence before the answer", within="nothing", timeout=_SHORT),
    _silent("silence in the middle of the head", within="half a head", timeout=_SHORT),
    _silent("silence after the head", within="all", timeout=_SHORT),
    _silent("silence in the middle of a stream", *_START, within="all", timeout=_SHORT),
    _silent("deadline before the answer", within="nothing", deadline=_SHORT),
    _silent("deadline in the middle of a stream", *_START, within="all", deadline=_SHORT),
    Fault("drip slower than the deadline", _drip, ("stream",)),
    Fault("wait before a retry longer than the deadline", _waits),
)
