"""Every fault of the table, played to both HTTP bindings, sync and async; each stream also cut in pieces."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest

from lollms_core.testing import FAULTS, Dialect, Fault, play, play_cuts
from lollms_core.testing.faults import How
from lollms_core.testing.playing import Factory, Mode

FULL = bool(os.environ.get("LOLLMS_FAULTS"))
pytestmark = pytest.mark.faults
Note = Callable[[str, object], None]


@pytest.mark.parametrize("mode", ["sync", "async"])
@pytest.mark.parametrize(
    ("fault", "how"), [pytest.param(fault, how, id=f"{fault.name}-{how}") for fault in FAULTS for how in fault.hows]
)
def test_row(fault: Fault, how: How, mode: Mode, peer: tuple[Dialect, Factory], record_property: Note) -> None:
    report = play(fault, *peer, how, mode)
    if report is not None:
        record_property("requests", report.requests)
        record_property("row", (fault.name, peer[0].name, how, mode, report.outcome))


def _some(count: int) -> Iterator[int]:
    """A few places, the last bytes among them."""
    return iter(sorted({*range(0, count, max(1, count // 5)), *range(max(0, count - 4), count)}))


def _all(count: int) -> Iterator[int]:
    """Every place; of streams of many records each of the first and last 2,000, and every 97th."""
    return iter(
        place for place in range(count) if count < 5000 or place < 2000 or place > count - 2000 or not place % 97
    )


@pytest.mark.timeout(600)
@pytest.mark.parametrize("mode", ["sync", "async"])
@pytest.mark.parametrize("fault", [pytest.param(fault, id=fault.name) for fault in FAULTS if "stream" in fault.hows])
def test_cut(fault: Fault, mode: Mode, peer: tuple[Dialect, Factory], record_property: Note) -> None:
    report = play_cuts(fault, *peer, mode, _all if FULL else _some)
    if report is not None:
        record_property("requests", report.requests)
        record_property("cuts", report.cuts)
