"""What the benchmark makes of what it has measured."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest

pytest.importorskip("bench", reason="the benchmark stays in the checkout")

from bench.cases import Case, Column, Contestant, Target
from bench.figures import Result
from bench.page import Report, as_json, page
from bench.plot import picture


def measured(*targets: Target, **rounds: Sequence[float]) -> Result:
    """A result with one figure a round, in ms."""
    contestants = tuple(Contestant(who, "module", {}) for who in rounds)
    case = Case("a-case", "A case", "About it.", contestants, (Column("seconds", "ms", 1, 1000),), targets)
    return Result(case, {who: [{"seconds": value} for value in values] for who, values in rounds.items()})


def test_a_ratio_is_that_within_the_rounds() -> None:
    """A machine that is slow in some rounds is so for both."""
    (verdict,) = measured(Target("ours", "<=", 0.5, "theirs"), ours=[1, 20, 9], theirs=[4, 50, 6]).verdicts()
    assert verdict.measured.median == pytest.approx(20 / 50)
    assert (verdict.measured.least, verdict.measured.most) == (1 / 4, 9 / 6)
    assert verdict.reached


@pytest.mark.parametrize(("most", "reached"), [(2000, False), (3000, True)])
def test_a_difference_is_in_the_columns_unit(most: float, reached: bool) -> None:
    target = Target("ours", "<=", most, "bare", beyond=True)
    (verdict,) = measured(target, ours=[4, 5, 6], bare=[2, 2, 1]).verdicts()
    assert (verdict.measured.median, verdict.measured.least, verdict.measured.most) == (3000, 2000, 5000)
    assert verdict.reached == reached


def test_a_figure_may_come_from_what_was_measured() -> None:
    """Within the spread of two that are the same, say."""
    target = Target("ours", "<=", lambda result: result.ratio("again", "once").most, "once")
    result = measured(target, ours=[3, 3], once=[2, 2], again=[2, 4])
    (verdict,) = result.verdicts()
    assert (verdict.figure, verdict.measured.median, verdict.reached) == (2, 1.5, True)


def test_the_page_tells_ratios_from_differences() -> None:
    targets = (
        Target("ours", "<=", 10, "bare", beyond=True),
        Target("ours", "<=", lambda _: 0.25, "bare"),
        Target("ours", "<=", 1),
    )
    result = measured(*targets, ours=[0.005], bare=[0.002])
    report = Report("nox -s bench", "2026-01-01", False, {}, [result], {})
    text = page(report)
    assert "| ours beyond bare, ms | ≤ 10.0 | **3.0** (3.0 to 3.0) | 🟢 reached |" in text
    assert "| ours over bare | ≤ 0.25× | **2.50×** (2.50× to 2.50×) | 🔴 **missed** |" in text
    assert "| ours, ms | ≤ 1.0 | **5.0** (5.0 to 5.0) | 🔴 **missed** |" in text
    found = as_json(report)["cases"][0]["targets"]
    assert [(target["beyond"], target["figure"]) for target in found] == [(True, 10), (False, 0.25), (False, 1)]


@pytest.mark.parametrize(
    ("seconds", "marks"),
    [(0.004, ["0", "1", "2", "3", "4"]), (0.0004, ["0.0", "0.1", "0.2", "0.3", "0.4"]), (4000, ["0", "1,000,000"])],
)
def test_a_picture_has_ours_in_colour_and_an_axis(seconds: float, marks: list[str]) -> None:
    result = measured(ours=[seconds], theirs=[seconds / 2])
    result.versions = {"ours": {"lollms-core": "0.1.0", "other": "1"}, "theirs": {"other": "1"}}
    svg = picture(result)
    _behind, ours, theirs = re.findall(r'<rect .*fill="(#\w+)"', svg)
    assert ours != theirs
    result.versions["theirs"] = result.versions["ours"]
    assert picture(result).count(ours) == 2
    assert re.findall(r'text-anchor="middle" font-size="12">([^<]+)<', svg)[: len(marks)] == marks
