"""The face of the package: what it names, and what importing it costs."""

from __future__ import annotations

import subprocess
import sys

import pytest

import lollms_core


def run(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code], check=True, capture_output=True, text=True, timeout=60
    ).stdout


def test_every_public_name_resolves() -> None:
    for name in lollms_core.__all__:
        assert getattr(lollms_core, name) is not None
    assert set(lollms_core.__all__) <= set(dir(lollms_core))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = lollms_core.nonsense


def test_the_lazy_names_are_those_that_type_checkers_see() -> None:
    source = lollms_core.__file__
    assert source is not None
    with open(source, encoding="utf-8") as file:  # noqa: PTH123
        seen = {line.split(" as ")[1].strip() for line in file if line.startswith("    from ") and " as " in line}
    assert seen == set(lollms_core.__all__) - {"__version__"}


def test_importing_it_imports_nothing_else() -> None:
    code = "import sys; before = set(sys.modules); import lollms_core; print(len(set(sys.modules) - before))"
    assert int(run(code)) <= 2


def test_the_contract_comes_without_http_or_hooks() -> None:
    code = "import sys, lollms_core; lollms_core.EventBinding, lollms_core.LollmsLLMBinding; print(*sys.modules)"
    modules = set(run(code).split())
    assert modules.isdisjoint({"httpx", "requests", "urllib.request", "http.client", "pluggy", "asyncio"})
