"""Every check of the kit finds the binding that breaks its promise."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from mutants import MUTANTS, close_what_is_left

from lollms_core.testing.conformance import CHECKS, Settings, Subject, run_check

SETTINGS = Settings(pull="parrot", timeout=10)
CASES = [
    pytest.param(name, made, id=f"{name}-{made.__name__}") for name, mutants in MUTANTS.items() for made in mutants
]


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    close_what_is_left()


def test_every_check_has_a_mutant() -> None:
    """Those that take a server have theirs with the plugins."""
    assert set(MUTANTS) == {check.name for check in CHECKS.values() if not check.wire}


@pytest.mark.parametrize(("name", "made"), CASES)
def test_found(name: str, made: Any) -> None:
    """By an assertion or an error whose words say what is wrong."""
    outcome = run_check(CHECKS[name], Subject(made, SETTINGS))
    assert outcome.verdict == "failed", f"{made.__name__} passed: {made.__doc__}"
    assert outcome.reason
    assert "\n" not in outcome.reason
