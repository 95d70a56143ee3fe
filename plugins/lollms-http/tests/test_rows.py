"""Every fault of core's table, and every way to end a request, with a binding over NDJSON and one over SSE."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import get_args

import pytest
from http_examples import AcmeBinding, AcmeDialect, CompletionsBinding

from lollms_core.testing import ENDINGS, FAULTS, Dialect, Ending, Fault, OpenAIDialect, play, play_cuts, play_ending
from lollms_core.testing.endings import When
from lollms_core.testing.faults import How
from lollms_core.testing.playing import Factory, Mode

FULL = bool(os.environ.get("LOLLMS_FAULTS"))
pytestmark = pytest.mark.faults
MODES: tuple[Mode, ...] = get_args(Mode)


@pytest.fixture(params=["ndjson", "sse"])
def peer(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> tuple[Dialect, Factory]:
    monkeypatch.setenv("NO_PROXY", "*")
    return (AcmeDialect(), AcmeBinding) if request.param == "ndjson" else (OpenAIDialect(), CompletionsBinding)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("fault", "how"), [pytest.param(fault, how, id=f"{fault.name}-{how}") for fault in FAULTS for how in fault.hows]
)
def test_row(fault: Fault, how: How, mode: Mode, peer: tuple[Dialect, Factory]) -> None:
    play(fault, *peer, how, mode)


def _places(count: int) -> Iterator[int]:
    """Where a stream is cut: some places, the last bytes among them."""
    return iter(sorted({*range(0, count, max(1, count // (60 if FULL else 5))), *range(max(0, count - 4), count)}))


@pytest.mark.timeout(600)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("fault", [pytest.param(fault, id=fault.name) for fault in FAULTS if "stream" in fault.hows])
def test_cut(fault: Fault, mode: Mode, peer: tuple[Dialect, Factory]) -> None:
    play_cuts(fault, *peer, mode, _places)


@pytest.mark.parametrize(
    ("ending", "when", "mode"),
    [
        pytest.param(ending, when, mode, id=f"{ending.name}-{when}-{mode}")
        for ending in ENDINGS
        for when in ending.whens
        for mode in MODES
        if ending.has(mode)
    ],
)
def test_ending(ending: Ending, when: When, mode: Mode, peer: tuple[Dialect, Factory]) -> None:
    play_ending(ending, *peer, when, mode)
