"""docs/benchmarks.md: what is to be reached and what came of it, then each case."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from bench.cases import Target
from bench.figures import Result, Spread, Verdict

__all__ = ["Report", "as_json", "page"]


@dataclass(frozen=True, slots=True)
class Report:
    """A whole run.

    Attributes:
        command: what was typed.
        date: when, ISO 8601.
        quick: whether it was a short one.
        machine: what it ran on.
        results: what was measured, in the page's order.
        pictures: of cases that have one, the file as the page names it.
    """

    command: str
    date: str
    quick: bool
    machine: dict[str, str]
    results: list[Result]
    pictures: dict[str, str]


def page(report: Report) -> str:
    """The page, Markdown."""
    reached = [verdict.reached for result in report.results for verdict in result.verdicts()]
    introduction = (
        f"Written by `{report.command}` on {report.date}: every figure comes from that run. All contestants of a case "
        "are measured in each round, in a changing order, each in a process of its own; a round before the first does "
        "not count. Figures are medians, and behind them the least and the greatest round. A ratio or a difference is "
        "the median of those within the rounds, and behind it the least and the greatest: in one round the machine is "
        "equally fast for all, which from one round to the next it is not."
    )
    parts = ["# Benchmarks", introduction]
    if report.quick:
        parts.append(
            "**This was a quick run (`--quick`), of few and short rounds: its figures are no more than a hint.**"
        )
    parts += [
        _table(("", ""), [*report.machine.items(), ("versions", _versions(report.results))]),
        "## What is to be reached",
        f"{sum(reached)} of {len(reached)} figures are reached.",
        _summary(report.results),
    ]
    for result in report.results:
        parts += _case(result, report.pictures.get(result.case.name))
    return "\n\n".join(parts) + "\n"


def _summary(results: list[Result]) -> str:
    rows = []
    for result in results:
        link = f"[{result.case.title}](#{_anchor(result.case.title)})"
        if result.case.missing:
            rows.append((link, "", "", "", f"⚪ not run: {result.case.missing}"))
        for verdict in result.verdicts():
            mark = "🟢 reached" if verdict.reached else "🔴 **missed**"
            reason = f": {verdict.reason}" if verdict.reason else ""
            rows.append(
                (
                    link,
                    _what(result, verdict.target),
                    _asked(result, verdict),
                    _got(result, verdict),
                    f"{mark}{reason}",
                )
            )
    return _table(("case", "figure", "to reach", "measured", ""), rows)


def _what(result: Result, target: Target) -> str:
    of = f", {result.column(target.column).title}" if target.column or not target.is_ratio else ""
    against = "" if target.against is None else f" {'beyond' if target.beyond else 'over'} {target.against}"
    return f"{target.who}{against}{of}"


def _asked(result: Result, verdict: Verdict) -> str:
    sign = {">=": "≥", "<=": "≤"}[verdict.target.relation]
    return f"{sign} {_figure(result, verdict.target, verdict.figure)}"


def _got(result: Result, verdict: Verdict) -> str:
    middle, least, most = (
        _figure(result, verdict.target, value)
        for value in (verdict.measured.median, verdict.measured.least, verdict.measured.most)
    )
    return f"**{middle}** ({least} to {most})"


def _figure(result: Result, target: Target, value: float) -> str:
    if target.is_ratio:
        return f"{value:.2f}×" if value >= 0.095 else f"{value:.3f}×"
    return f"{value:,.{result.column(target.column).digits}f}"


def _case(result: Result, picture: str | None) -> list[str]:
    case = result.case
    parts = [f"## {case.title}", case.about]
    if case.missing:
        return [*parts, f"Not run: {case.missing}."]
    rounds = max(map(len, result.rounds.values()), default=0)
    parts.append(f"{rounds} rounds.")
    rows = [
        [who, *(_cell(result.spread(who, column.key), column.digits) for column in case.columns)]
        for who in result.rounds
    ]
    parts.append(_table(("", *(column.title for column in case.columns)), rows))
    if picture is not None:
        parts.append(f"![{case.title}]({picture})")
    for table in case.tables(result) if case.tables is not None else ():
        parts += [f"### {table.title}", _table(table.head, table.rows)]
    return parts


def _cell(spread: Spread | None, digits: int) -> str:
    if spread is None:
        return "–"
    middle, least, most = (f"{value:,.{digits}f}" for value in (spread.median, spread.least, spread.most))
    return middle if least == most else f"{middle} ({least} to {most})"


def _versions(results: list[Result]) -> str:
    found = {
        f"{name} {version}"
        for result in results
        for versions in result.versions.values()
        for name, version in versions.items()
    }
    return ", ".join(sorted(found))


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _anchor(title: str) -> str:
    """A heading's name in links, as GitHub and MyST make it."""
    kept = "".join(letter for letter in title.lower() if letter.isalnum() or letter in " -_")
    return kept.replace(" ", "-")


def as_json(report: Report) -> dict[str, Any]:
    """All that the page shows and every round behind it."""
    return {
        "command": report.command,
        "date": report.date,
        "quick": report.quick,
        "machine": report.machine,
        "cases": [_case_as_json(result) for result in report.results],
    }


def _case_as_json(result: Result) -> dict[str, Any]:
    case = result.case
    return {
        "name": case.name,
        "title": case.title,
        "missing": case.missing,
        "columns": {column.key: {"title": column.title, "factor": column.factor} for column in case.columns},
        "contestants": {
            one.name: {
                "task": dict(one.task),
                "versions": result.versions.get(one.name, {}),
                "rounds": result.rounds.get(one.name, []),
            }
            for one in case.contestants
        },
        "targets": [
            {
                "who": verdict.target.who,
                "against": verdict.target.against,
                "column": result.column(verdict.target.column).key,
                "relation": verdict.target.relation,
                "beyond": verdict.target.beyond,
                "figure": verdict.figure,
                "measured": verdict.measured.median,
                "least": verdict.measured.least,
                "most": verdict.measured.most,
                "reached": verdict.reached,
                "reason": verdict.reason,
            }
            for verdict in result.verdicts()
        ],
    }
