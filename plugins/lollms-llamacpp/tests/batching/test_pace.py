"""How much of a prompt a step takes."""

from __future__ import annotations

from lollms_llamacpp.batching.pace import Pace


def test_learns() -> None:
    """A first guess; then as many tokens as were computed in the time that a step may last."""
    pace = Pace()
    assert pace.tokens(generating=False) == pace.tokens(generating=True) > 0
    pace.took(1000, 0.5)
    assert pace.tokens(generating=False) == 500
    assert pace.tokens(generating=True) == 200


def test_slower_counts_at_once() -> None:
    """After a slow step the next one is shorter at once; after a quick one, longer by and by."""
    pace = Pace()
    pace.took(1000, 0.1)
    pace.took(1000, 0.5)
    assert pace.tokens(generating=False) == 500
    pace.took(1000, 0.1)
    slowly = pace.tokens(generating=False)
    assert 500 < slowly < 2500
    for _ in range(50):
        pace.took(1000, 0.1)
    assert pace.tokens(generating=False) in {2499, 2500}


def test_bounds() -> None:
    """Single tokens say nothing about prompts, and however slow the machine is, prompts go on."""
    pace = Pace()
    pace.took(1, 10.0)
    assert pace.tokens(generating=False) == 128
    pace.took(1000, 1000.0)
    assert pace.tokens(generating=True) == 16
    assert pace.tokens(generating=False) == 64
