"""The arithmetic of a result: medians, spreads, ratios, verdicts."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from typing import Any

from bench.cases import Case, Column, Target

__all__ = ["Result", "Spread", "Verdict"]


@dataclass(frozen=True, slots=True)
class Spread:
    """A figure that was measured several times."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: list[float]) -> Spread:
        """That of these values, at least one."""
        return cls(statistics.median(values), min(values), max(values))


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of a target.

    Attributes:
        target: that target.
        measured: of a ratio, the medians' and the least and the greatest of the rounds'.
        reached: whether the medians keep to it.
        reason: why not, if something that was measured says it.
    """

    target: Target
    measured: Spread
    reached: bool
    reason: str = ""


@dataclass(slots=True)
class Result:
    """What was measured in a case.

    Attributes:
        case: that case.
        rounds: of each contestant the answers, one a round.
        versions: of each contestant the distributions that it runs on.
    """

    case: Case
    rounds: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    versions: dict[str, dict[str, str]] = field(default_factory=dict)

    def column(self, key: str = "") -> Column:
        """The column with this key, or the first."""
        return next(column for column in self.case.columns if key in ("", column.key))

    def values(self, who: str, key: str = "") -> list[float]:
        """A contestant's figures in the column's unit, one a round; [] if it does not have them."""
        column = self.column(key)
        answers = self.rounds.get(who, [])
        return [float(answer[column.key]) * column.factor for answer in answers if answer.get(column.key) is not None]

    def spread(self, who: str, key: str = "") -> Spread | None:
        """Of :meth:`values`; None if there are none."""
        values = self.values(who, key)
        return Spread.of(values) if values else None

    def ratio(self, who: str, against: str, key: str = "") -> Spread:
        """How two contestants compare."""
        ours, theirs = self.values(who, key), self.values(against, key)
        each = [one / other for one, other in zip(ours, theirs, strict=True)]
        return Spread(Spread.of(ours).median / Spread.of(theirs).median, min(each), max(each))

    def verdicts(self) -> list[Verdict]:
        """Of all the case's targets."""
        return [self._verdict(target) for target in self.case.targets if self.rounds]

    def _verdict(self, target: Target) -> Verdict:
        if target.against is None:
            measured = Spread.of(self.values(target.who, target.column))
        else:
            measured = self.ratio(target.who, target.against, target.column)
        least = target.relation == ">="
        reached = measured.median >= target.figure if least else measured.median <= target.figure
        reason = "" if reached or self.case.reason is None else self.case.reason(self, target)
        return Verdict(target, measured, reached, reason)
