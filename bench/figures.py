"""The arithmetic of a result: medians, spreads, ratios, verdicts."""

from __future__ import annotations

import operator
import statistics
from collections.abc import Callable
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
        figure: what it asks for.
        measured: of a ratio or a difference, that within each round: their median, least and greatest.
        reached: whether the median keeps to it.
        reason: why not, if something that was measured says it.
    """

    target: Target
    figure: float
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
        """How many times as much a contestant has as another."""
        return self._compared(who, against, key, operator.truediv)

    def difference(self, who: str, against: str, key: str = "") -> Spread:
        """How much more a contestant has than another, in the column's unit."""
        return self._compared(who, against, key, operator.sub)

    def _compared(self, who: str, against: str, key: str, how: Callable[[float, float], float]) -> Spread:
        ours, theirs = self.values(who, key), self.values(against, key)
        # Round by round: those of one round met the machine in the same state, and the rounds may not have.
        return Spread.of([how(one, other) for one, other in zip(ours, theirs, strict=True)])

    def verdicts(self) -> list[Verdict]:
        """Of all the case's targets."""
        return [self._verdict(target) for target in self.case.targets if self.rounds]

    def _verdict(self, target: Target) -> Verdict:
        measured, figure = self._measured(target), target.figure
        wanted = figure(self) if callable(figure) else figure
        reached = measured.median >= wanted if target.relation == ">=" else measured.median <= wanted
        reason = "" if reached or self.case.reason is None else self.case.reason(self, target)
        return Verdict(target, wanted, measured, reached, reason)

    def _measured(self, target: Target) -> Spread:
        if target.against is None:
            return Spread.of(self.values(target.who, target.column))
        compare = self.difference if target.beyond else self.ratio
        return compare(target.who, target.against, target.column)
