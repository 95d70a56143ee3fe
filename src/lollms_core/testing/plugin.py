"""The pytest plugin, never loaded by itself: ``pytest_plugins = ["lollms_core.testing.plugin"]`` in conftest.py.

It ends each run that used the conformance kit by saying which of its checks were replaced, and why.
"""

from __future__ import annotations

import pytest

from lollms_core.testing.conformance.suite import BindingConformance, replaced

__all__: list[str] = []

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
