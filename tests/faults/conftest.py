"""The bindings that the faults are played to; and docs/reliability.md, written from what a whole run saw."""

from __future__ import annotations

import os
import platform
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from lollms_core.testing import Dialect, OllamaDialect, OpenAIDialect
from lollms_core.testing.playing import Factory
from lollms_ollama import OllamaBinding
from lollms_openai import OpenAIBinding

_PAGE = "LOLLMS_RELIABILITY"


@pytest.fixture(params=["ollama", "openai"])
def peer(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Dialect, Factory]:
    """A dialect, and what makes bindings that speak it."""
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_CUSTOM_HEADERS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "*")
    if request.param == "openai":
        return OpenAIDialect(), OpenAIBinding

    def ollama(**keywords: Any) -> OllamaBinding:
        return OllamaBinding(cache_folder=tmp_path, **keywords)

    return OllamaDialect(), ollama


@pytest.fixture
def kind(peer: tuple[Dialect, Factory]) -> type:
    """The class of those bindings."""
    return OllamaBinding if peer[0].name == "Ollama" else OpenAIBinding


class _Tally:
    """What the tests of one run reported with ``record_property``."""

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self.requests = 0
        self.properties: list[str] = []  # what hypothesis tells of each property test
        self.cuts = self.sweeps = 0
        self.rows: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
        self.plays = 0
        self.closed_after: list[float] = []  # seconds
        self.others: dict[str, int] = defaultdict(int)

    def add(self, report: pytest.TestReport) -> None:
        if report.when == "teardown":
            self.properties += [told for told in [getattr(report, "_hypothesis_stats", None)] if told is not None]
        if report.when != "call":
            self.outcomes["failed"] += report.failed
            return
        self.outcomes[report.outcome if not hasattr(report, "wasxfail") else "known"] += 1
        for name, value in report.user_properties:
            if name == "requests" and isinstance(value, int):
                self.requests += value
            elif name == "cuts" and isinstance(value, int):
                self.cuts += value
                self.sweeps += 1
            elif name == "row" and isinstance(value, tuple):
                fault, dialect, *_, outcome = value
                self.rows[fault][dialect].add(outcome)
                self.plays += 1
            elif name == "closed after" and isinstance(value, float):
                self.closed_after.append(value)
            elif name.startswith("reliability: ") and isinstance(value, int):
                self.others[name.removeprefix("reliability: ")] += value

    def page(self) -> str:
        dialects = sorted({dialect for row in self.rows.values() for dialect in row})
        held = [outcomes for row in self.rows.values() for outcomes in row.values()]
        open_rows = sum("does not hold" in outcomes for outcomes in held)
        examples = sum(map(_examples, self.properties))
        lines = [
            "# Reliability",
            "",
            "Written by `nox -s faults`. A server on the loopback interface plays each fault with exact bytes, to",
            "each HTTP binding, sync and async; the streams are also cut off at every byte. Each play checks the",
            "answer or the error, the text that is kept, how often the server is asked, that the key shows nowhere,",
            "that the next request on the same binding works, and that no thread, task, socket or file is left.",
            "What else a stranger may bring (model files, templates, schemas, plugins, hooks) is played beside it.",
            "",
            "| | |",
            "|---|---|",
            f"| faults | {len(self.rows)} |",
            f"| plays (fault × binding × kind of request × sync and async) | {self.plays} |",
            f"| of faults and bindings, what does not hold yet | {open_rows} |",
            f"| cuts | {self.cuts:,} |",
            f"| generations asked of the server | {self.requests:,} |",
            f"| comparisons of threads, tasks, sockets and files, before and after | {self.plays + self.sweeps:,} |",
            "| leaks found by them | 0 |",  # each is a failure, and a run that fails writes no page
            *(
                f"| slowest close that the server saw after the caller had left | {slowest:.3f} s |"
                for slowest in sorted(self.closed_after)[-1:]
            ),
            *(f"| {name} | {count:,} |" for name, count in sorted(self.others.items())),
            f"| examples that property tests found to hold, those schemas among them | {examples:,} |",
            f"| tests passed; known not to hold | {self.outcomes['passed']}; {self.outcomes['known']} |",
            f"| on | {platform.system()}, {platform.python_implementation()} {platform.python_version()} |",
            "",
            "## What each fault comes to",
            "",
            f"| fault | {' | '.join(dialects)} |",
            f"|---|{'---|' * len(dialects)}",
            *(
                f"| {fault} | {' | '.join(_words(row.get(dialect, ())) for dialect in dialects)} |"
                for fault, row in self.rows.items()
            ),
        ]
        return "\n".join(lines) + "\n"


def _examples(told: str) -> int:
    """How many examples of a property test passed.

    Raises:
        ValueError: hypothesis tells it in other words than it did.
    """
    found = re.findall(r"(\d+) passing", told)
    if not found:
        raise ValueError(f"no number of examples in {told!r}")
    return sum(map(int, found))


def _words(outcomes: Iterable[str]) -> str:
    return ", ".join(f"**{one}**" if one == "does not hold" else one for one in sorted(outcomes)) or "–"


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_TALLY] = _Tally()


_TALLY = pytest.StashKey[_Tally]()


class _Listener:
    def __init__(self, tally: _Tally) -> None:
        self._tally = tally

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._tally.add(report)


def pytest_sessionstart(session: pytest.Session) -> None:
    session.config.pluginmanager.register(_Listener(session.config.stash[_TALLY]), "reliability")


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    page, tally = os.environ.get(_PAGE), session.config.stash[_TALLY]
    if page and exitstatus == pytest.ExitCode.OK and sys.exc_info()[0] is None:
        Path(page).write_text(tally.page(), "utf-8")
