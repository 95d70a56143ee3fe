"""Compatibility told from metadata; the usual cases run through a manager in test_manager_faults.py."""

from __future__ import annotations

import pytest

import lollms_core
from lollms_core.discovery.compatibility import api_problem, requirement_problem


@pytest.mark.parametrize("version", ["0.2.0.dev3", "0.2.0rc1", "0.9"])
def test_a_prerelease_of_core_counts(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lollms_core, "__version__", version)
    assert requirement_problem(["lollms-core>=0.1,<1"]) is None
    problem = requirement_problem(["lollms-core[cli] >=1; python_version > '3'"])
    assert problem == f"it requires lollms-core[cli] >=1, and this is lollms-core {version}"


@pytest.mark.parametrize("text", ["", "httpx", "!!!", "lollms-corey>=9", "lollms", "not-lollms-core>=9"])
def test_other_requirements_are_not_even_parsed(text: str) -> None:
    assert requirement_problem([text]) is None


def test_levels_of_the_folder_api() -> None:
    assert api_problem(1) is None
    assert api_problem(2) == "it is written for LOLLMS_API 2, and this lollms-core has 1"
    assert api_problem("1") is not None
    assert api_problem(None) is not None


@pytest.mark.parametrize(
    "bounds",
    [
        "",
        ">=0.1",
        ">=0.1,<1",
        "<1",
        ">= 0.1.0 , < 0.10",
        ">=0.1.0.0",
        "<0.1",
        ">=0.2",
        ">=0.1,<0.1.0",
        "==0.1.0",
        "~=0.1",
    ],
)
def test_the_shortcut_for_plain_numbers_agrees_with_packaging(bounds: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from packaging.specifiers import SpecifierSet

    for version in "0.1.0", "0.1", "0.2", "0.9.5", "1.0", "0.1.dev1", "0.2rc1", "1.0a1":
        monkeypatch.setattr(lollms_core, "__version__", version)
        fits = requirement_problem([f"lollms-core{bounds}"]) is None
        assert fits == SpecifierSet(bounds).contains(version, prereleases=True), (bounds, version)


def test_a_marker_that_cannot_be_evaluated_is_told() -> None:
    problem = requirement_problem(["lollms-core>=0; python_version in 5"])
    assert problem is not None
    assert "cannot be read" in problem
