"""The server of the documentation's examples, and a summary of what was run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from doc_pages import ROOT
from doc_server import doc_server
from doc_shell import sessions_of

_REPORT = pytest.StashKey[list[str]]()


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The URL of a server that answers as Ollama and as OpenAI."""
    with doc_server() as running:
        yield running.url


@pytest.fixture(scope="session")
def sessions() -> list[str]:
    """The names of nox's sessions."""
    return sessions_of(ROOT / "noxfile.py")


@pytest.fixture
def tell(pytestconfig: pytest.Config) -> list[str]:
    """Lines for the end of the tests' report."""
    return pytestconfig.stash.setdefault(_REPORT, [])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if lines := config.stash.get(_REPORT, []):
        terminalreporter.section("documentation")
        for line in lines:
            terminalreporter.write_line(line)
