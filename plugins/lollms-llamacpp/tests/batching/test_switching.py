"""The interpreter's switch interval is short while an engine computes, and the application's otherwise."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from gates import Gate

from lollms_llamacpp import LlamaCppBinding
from lollms_llamacpp.batching.switching import SwitchInterval

NEVER = {258: -1e9, 256: -1e9}  # the tokens that would end a tiny model's answer


@pytest.fixture(autouse=True)
def interval() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(0.005)
    yield
    sys.setswitchinterval(before)


def test_the_shortest_counts_until_the_last_one_ends() -> None:
    one, other = SwitchInterval(0.002), SwitchInterval(0.001)
    one.shorten()
    assert sys.getswitchinterval() == 0.002
    other.shorten()
    other.shorten()
    assert sys.getswitchinterval() == 0.001
    other.restore()
    assert sys.getswitchinterval() == 0.002
    one.restore()
    one.restore()
    assert sys.getswitchinterval() == 0.005


def test_it_is_never_made_longer() -> None:
    sys.setswitchinterval(0.001)
    long = SwitchInterval(0.002)
    long.shorten()
    assert sys.getswitchinterval() == 0.001
    long.restore()
    assert sys.getswitchinterval() == 0.001


def test_it_is_the_same_afterwards_to_the_microsecond() -> None:
    sys.setswitchinterval(0.0001)
    before = sys.getswitchinterval()
    for _ in range(3):
        short = SwitchInterval(0.00005)
        short.shorten()
        assert sys.getswitchinterval() < before
        short.restore()
    assert sys.getswitchinterval() == before


def test_what_the_application_sets_meanwhile_stays() -> None:
    own = SwitchInterval(0.002)
    own.shorten()
    sys.setswitchinterval(0.003)
    own.restore()
    assert sys.getswitchinterval() == 0.003


@pytest.mark.parametrize(("option", "expected"), [({}, 0.0002), ({"switch_interval": 0.005}, 0.005)])
def test_while_an_answer_is_made(
    tiny_folder: Path, hold_after: Callable[[int], Gate], option: dict[str, float], expected: float
) -> None:
    """Not a moment longer than the engine has something to do."""
    gate = hold_after(2)
    with LlamaCppBinding(models_path=tiny_folder, model_name="chatty", **option) as binding:  # type: ignore[arg-type]
        assert sys.getswitchinterval() == 0.005
        # Greedy: tokens drawn at random may be bytes that give no text before the gate, and no first event.
        with binding.stream("Hello", n_predict=9, logit_bias=NEVER, temperature=0) as stream:
            events = iter(stream)
            next(events)
            assert gate.reached.wait(60)
            assert sys.getswitchinterval() == pytest.approx(expected)
            gate.opened.set()
            list(events)
    assert sys.getswitchinterval() == 0.005
