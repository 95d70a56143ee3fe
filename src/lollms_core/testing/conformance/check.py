"""One check of the kit: a promise of the contract, and how it is put to the test."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from lollms_core.capabilities import Capability
from lollms_core.testing.conformance.subject import NotApplicable, Subject

__all__ = ["CHECKS", "Check", "Outcome", "check", "run_check"]

_Function: TypeAlias = Callable[[Subject], None]


@dataclass(frozen=True, slots=True)
class Check:
    """One check.

    Attributes:
        name: what it is called in reports; its test is ``test_<name>``.
        promise: what the contract promises, in one sentence.
        run: puts it to the test.
        needs: the capabilities that the binding's model must have for the check to say anything.
        group: the module that it stands in.
        wire: whether it takes a dialect: then it is played to HTTP backends alone.
    """

    name: str
    promise: str
    run: _Function
    needs: frozenset[Capability]
    group: str
    wire: bool = False


CHECKS: dict[str, Check] = {}
"""All checks by name, in the order in which they are run; filled as the modules of ``checks`` are imported."""


def check(*needs: Capability, wire: bool = False) -> Callable[[_Function], _Function]:
    """Make a check of a function: its name and the first paragraph of its docstring are the check's."""

    def decorate(function: _Function) -> _Function:
        name = function.__name__
        promise = " ".join((function.__doc__ or "").partition("\n\n")[0].split())
        group = function.__module__.rpartition(".")[2]
        if name in CHECKS or not promise:
            raise TypeError(f"the check {name!r} stands twice, or has no docstring")
        CHECKS[name] = Check(name, promise, function, frozenset(needs), group, wire)
        return function

    return decorate


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one check.

    Attributes:
        check: the check.
        verdict: passed, failed, or none: it says nothing about this binding.
        reason: why it failed, or does not apply; "" where it passed.
        error: what it raised, where it failed.
    """

    check: Check
    verdict: Literal["passed", "failed", "none"]
    reason: str = ""
    error: BaseException | None = None


def run_check(check: Check, subject: Subject) -> Outcome:
    """Run one check; whatever it raises but Ctrl-C is its failure."""
    try:
        subject.run(check.run, check.needs)
    except NotApplicable as reason:
        return Outcome(check, "none", str(reason))
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - a binding may raise anything, and that is what is to be told
        return Outcome(check, "failed", _reason(error), error)
    return Outcome(check, "passed")


def _reason(error: BaseException) -> str:
    words: Any = " ".join(str(error).split())
    return words if isinstance(error, AssertionError) and words else f"{type(error).__name__}: {words}"
