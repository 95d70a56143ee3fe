"""Every way in which a caller ends a request, with both HTTP bindings, sync and async."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lollms_core.testing import ENDINGS, Dialect, Ending, play_ending
from lollms_core.testing.endings import When
from lollms_core.testing.playing import Factory, Mode

pytestmark = pytest.mark.faults
Note = Callable[[str, object], None]
MODES: tuple[Mode, ...] = ("sync", "async")
CASES = [
    pytest.param(ending, when, mode, id=f"{ending.name}-{when}-{mode}")
    for ending in ENDINGS
    for when in ending.whens
    for mode in MODES
    if ending.has(mode)
]


@pytest.mark.parametrize(("ending", "when", "mode"), CASES)
def test_ending(ending: Ending, when: When, mode: Mode, peer: tuple[Dialect, Factory], record_property: Note) -> None:
    report = play_ending(ending, *peer, when, mode)
    record_property("requests", report.requests)
    record_property("row", (f"{ending.name}, {when}", peer[0].name, mode, report.outcome))
    record_property("closed after", report.closed_after)
