"""Every check of the kit that takes a server finds the binding that breaks its promise."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from lollms_core import Event, Finish, LollmsError, StreamInterrupted
from lollms_core.request import GenerationRequest
from lollms_core.testing import ENDINGS, FAULTS, OpenAIDialect
from lollms_core.testing.conformance import CHECKS, Subject, run_check
from lollms_core.testing.conformance.checks import wire
from lollms_openai import OpenAIBinding

MUTANTS: dict[str, type[OpenAIBinding]] = {}


def mutant(check: str) -> Callable[[type[OpenAIBinding]], type[OpenAIBinding]]:
    """Register a binding that `check` has to find."""

    def register(cls: type[OpenAIBinding]) -> type[OpenAIBinding]:
        MUTANTS[check] = cls
        return cls

    return register


@mutant("faults")
@mutant("cuts")
class CutsSilently(OpenAIBinding):
    """A stream that breaks off is an answer that is shorter."""

    def _events(self, request: GenerationRequest) -> Iterator[Event]:
        try:
            yield from super()._events(request)
        except StreamInterrupted:
            yield Finish("stop")


@mutant("ended_by_the_caller")
class SwallowsTheCallers(OpenAIBinding):
    """What a callback raises is an error of the server's."""

    def generate_text(self, *args: Any, **fields: Any) -> Any:
        try:
            return super().generate_text(*args, **fields)
        except Exception as error:  # noqa: BLE001 - that is the defect
            return {"status": False, "error": str(error), "error_type": "BackendError", "partial": ""}

    generate_text.__lollms_wrapped__ = True  # type: ignore[attr-defined]


@mutant("redirects")
class TakesRedirectsForAnswers(OpenAIBinding):
    """Whatever a server says is the answer."""

    def _events(self, request: GenerationRequest) -> Iterator[Event]:
        try:
            yield from super()._events(request)
        except LollmsError:
            yield Finish("stop")


@mutant("errors_of_the_server")
class LosesTheServersWords(OpenAIBinding):
    """Something went wrong."""

    def _translate(self, exc: Exception) -> Exception:
        return type(exc)("something went wrong") if isinstance(exc, LollmsError) else exc


@mutant("constructor_asks_nothing")
class AsksAtOnce(OpenAIBinding):
    """The constructor looks which models there are."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._names = self.listModels()


@mutant("key_is_sent_and_hidden")
class LogsTheKey(OpenAIBinding):
    """For debugging."""

    def __init__(self, *, service_key: str | None = None, **options: Any) -> None:
        logging.getLogger(__name__).debug("connecting with the key %s", service_key)
        super().__init__(service_key=service_key, **options)


@pytest.fixture(autouse=True)
def _few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the long checks those plays alone that show the defect; and no key of the environment."""
    rows = ("well-formed end of a stream without its last record",)
    shown = tuple(fault for fault in FAULTS if fault.name in rows)
    assert shown
    monkeypatch.setattr(wire, "FAULTS", shown)
    ways = tuple(one for one in ENDINGS if one.name == "callback raises")
    assert ways
    monkeypatch.setattr(wire, "ENDINGS", ways)
    monkeypatch.setenv("NO_PROXY", "*")
    for name in ("API_KEY", "BASE_URL", "ORG_ID", "PROJECT_ID", "CUSTOM_HEADERS"):
        monkeypatch.delenv(f"OPENAI_{name}", raising=False)


def test_every_check_has_a_mutant() -> None:
    """Those that take no server have theirs with core."""
    assert set(MUTANTS) == {check.name for check in CHECKS.values() if check.wire}


@pytest.mark.parametrize("name", MUTANTS)
def test_found(name: str) -> None:
    """By words that say what is wrong; the binding as it is shipped passes the same."""
    outcome = run_check(CHECKS[name], Subject(MUTANTS[name], dialect=OpenAIDialect()))
    assert outcome.verdict == "failed", MUTANTS[name].__doc__
    assert outcome.reason
    passed = run_check(CHECKS[name], Subject(OpenAIBinding, dialect=OpenAIDialect()))
    assert passed.verdict == "passed", passed.reason


def test_all_failing_plays_are_counted() -> None:
    """The report says how many there are."""
    outcome = run_check(CHECKS["faults"], Subject(CutsSilently, dialect=OpenAIDialect()))
    assert "of 2 plays fail, the first: well-formed end" in outcome.reason
