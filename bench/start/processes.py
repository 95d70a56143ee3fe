"""Those that are processes from their start to their end."""

from __future__ import annotations

from typing import Any, Final

from bench.cases import Column, Contestant
from bench.environments import CHECKOUT, among_others
from bench.processes import ROOT

__all__ = ["BARE", "CROWDED", "TIME", "bare", "process", "program"]

CROWDED: Final = among_others(CHECKOUT)

BARE: Final = "bare interpreter"

TIME: Final = Column("seconds", "ms", 1, 1000)

_PROGRAMS: Final = ROOT / "bench" / "contestants"


def process(name: str, environment: str, *distributions: str, **setting: Any) -> Contestant:
    """One in an environment; the setting is that of `bench.contestants.starting`."""
    return Contestant(name, "starting", {}, {"distributions": distributions, **setting}, environment)


def bare(environment: str, **setting: Any) -> Contestant:
    """The interpreter of an environment, which does nothing."""
    return process(BARE, environment, arguments=["-c", "pass"], **setting)


def program(name: str, *arguments: str) -> list[str]:
    """The arguments of Python for a program of `bench.contestants`; of its folder nothing can be imported."""
    return ["-P", str(_PROGRAMS / f"{name}.py"), *arguments]
