"""How a case is measured: all its contestants in each round, in a changing order."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace

from bench.cases import Case, Contestant, Kit
from bench.contestants.serving import VERSIONS
from bench.figures import Result
from bench.processes import Process

__all__ = ["measure"]


def measure(case: Case, kit: Kit, tell: Callable[[str], None]) -> Result:
    """Measure a case.

    Args:
        case: that case; it must not be `missing`.
        kit: what there is to work with.
        tell: gets a line for each round.
    """
    if case.prepare is not None:
        case.prepare()
    result = Result(case, {contestant.name: [] for contestant in case.contestants})
    with ExitStack() as shared:
        given = {} if case.beside is None else shared.enter_context(case.beside())
        contestants = tuple(replace(one, setting={**one.setting, **given}) for one in case.contestants)
        processes = {} if case.fresh else _started(contestants, kit, shared)
        for number in range(-1 if processes else 0, case.rounds):
            for contestant in _turned(contestants, number):
                with ExitStack() as own:
                    process = processes.get(contestant.name) or own.enter_context(Process(contestant, kit))
                    answer = process.ask({**contestant.task, "round": number + 1})
                    if contestant.name not in result.versions:
                        result.versions[contestant.name] = process.ask(VERSIONS)
                if number >= 0:
                    result.rounds[contestant.name].append(answer)
            if number >= 0:
                last = ", ".join(f"{who} {result.values(who)[-1]:.4g}" for who in result.rounds)
                tell(f"{case.name} {number + 1}/{case.rounds}: {last}")
    return result


def _started(contestants: tuple[Contestant, ...], kit: Kit, stack: ExitStack) -> dict[str, Process]:
    return {contestant.name: stack.enter_context(Process(contestant, kit)) for contestant in contestants}


def _turned(contestants: tuple[Contestant, ...], number: int) -> tuple[Contestant, ...]:
    """In each round another one comes first, and every second one goes the other way round."""
    begin = number // 2 % len(contestants)
    turned = contestants[begin:] + contestants[:begin]
    return turned[::-1] if number % 2 else turned
