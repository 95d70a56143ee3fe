"""The retry budget: what is asked again, when, and how often."""

from __future__ import annotations

import logging

import pytest

from lollms_core.retry import RetryBudget, RetryPolicy, parse_retry_after


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def budget(clock: Clock | None = None, jitter: float = 1.0, **policy: float) -> RetryBudget:
    return RetryBudget(RetryPolicy(**policy), "host", clock=clock or Clock(), jitter=lambda: jitter)  # type: ignore[arg-type]


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 529, 599])
def test_passing_faults_are_asked_again(status: int) -> None:
    assert budget().after_status(status, {}) == 0.5


@pytest.mark.parametrize("status", [200, 301, 400, 401, 403, 404, 413, 422, 501, 600])
def test_lasting_ones_are_not(status: int) -> None:
    assert budget().after_status(status, {}) is None


def test_waits_grow_and_end() -> None:
    tries = budget(attempts=8)
    assert [tries.after_failure("refused") for _ in range(8)] == [0.5, 1, 2, 4, 8, 8, 8, None]
    assert budget(jitter=0.0).after_failure("refused") == 0.25
    assert budget(attempts=1).after_failure("refused") is None


def test_the_budget_is_one_for_all() -> None:
    clock = Clock()
    tries = budget(clock, budget=10.0, attempts=100)
    assert tries.after_failure("refused") == 0.5
    clock.now += 9.4
    assert tries.after_failure("refused") is None
    clock.now -= 5
    assert tries.after_status(429, {"retry-after": "7"}) is None
    assert tries.after_status(429, {"retry-after": "5"}) == 5


def test_no_wait_goes_beyond_the_deadline() -> None:
    clock = Clock()
    tries = budget(clock, until=clock.now + 3.0, attempts=100)
    assert tries.after_failure("refused") == 0.5
    assert tries.after_status(503, {"retry-after": "3"}) is None
    assert tries.after_status(503, {"retry-after": "2.9"}) == 2.9
    clock.now += 2.9
    assert tries.after_failure("refused") is None


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("0", 0.0),
        (" 3.5 ", 3.5),
        ("-10", None),
        ("inf", None),
        ("nan", None),
        ("soon", None),
        ("", None),
        ("Thu, 01 Jan 1970 00:01:30 GMT", 30.0),
        ("Thu, 01 Jan 1970 00:00:30 GMT", 0.0),
        ("Thu, 99 Jan 1970 00:00:30 GMT", None),
    ],
)
def test_retry_after(value: str | None, seconds: float | None) -> None:
    assert parse_retry_after(value, now=60) == seconds


def test_retry_after_is_obeyed_up_to_the_cap() -> None:
    assert budget(budget=200.0).after_status(503, {"retry-after": "120"}) == 120
    assert budget(budget=200.0).after_status(503, {"retry-after": "121"}) is None
    assert budget().after_status(429, {"retry-after": "nan"}) == 0.5
    assert budget().after_status(429, {"retry-after": "0"}) == 0


def test_each_try_is_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "lollms_core.retry"):
        budget().after_status(503, {})
    assert caplog.messages == ["host: status 503; try 2 of 3 in 0.5 s"]


def test_bad_policies() -> None:
    for policy in ({"attempts": 0}, {"budget": -1}, {"first_wait": float("nan")}, {"longest_wait": float("inf")}):
        with pytest.raises(ValueError, match=next(iter(policy))):
            RetryPolicy(**policy)
