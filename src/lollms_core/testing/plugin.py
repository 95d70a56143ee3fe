"""The pytest plugin, never loaded by itself: ``pytest_plugins = ["lollms_core.testing.plugin"]`` in conftest.py.

Its fixtures make scripted bindings and a fault server. It ends each run that used the conformance kit by saying which
of its checks were replaced, and why.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lollms_core.testing.conformance.suite import BindingConformance, replaced
from lollms_core.testing.fault_server import FaultServer
from lollms_core.testing.scripts import Scripts

__all__ = ["fault_server", "scripted"]

# Fixtures -------------------------------------------------------------------------------------------------------

_SCRIPTS = pytest.StashKey[Scripts]()


@pytest.fixture
def scripted(request: pytest.FixtureRequest) -> Iterator[Scripts]:
    """Makes scripted bindings and managers: ``scripted(["Hello"])``, ``scripted.manager({"ollama": ["Hello"]})``."""
    scripts = Scripts()
    request.node.stash[_SCRIPTS] = scripts
    yield scripts
    scripts.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Look at the scripts as part of the test, so that it fails itself, and only if it would have passed."""
    yield
    scripts = item.stash.get(_SCRIPTS, None)
    if scripts is not None:
        scripts.check()


@pytest.fixture
def fault_server() -> Iterator[FaultServer]:
    """A server on the loopback interface that sends the bytes it is told to."""
    with FaultServer() as server:
        yield server


# The conformance kit's summary ----------------------------------------------------------------------------------

_REPLACED = pytest.StashKey[dict[str, str]]()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Note which tests stand in the place of checks."""
    found = config.stash.setdefault(_REPLACED, {})
    for item in items:
        cls = getattr(item, "cls", None)
        if isinstance(cls, type) and issubclass(cls, BindingConformance):
            reason = replaced(getattr(item, "function", None))
            if reason is not None:
                found[f"{cls.__qualname__}.{getattr(item, 'originalname', item.name)}"] = reason


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Tell them."""
    found = config.stash.get(_REPLACED, {})
    if found:
        terminalreporter.section("conformance: checks that were replaced")
        for name, reason in sorted(found.items()):
            terminalreporter.line(f"{name}: {reason}")
