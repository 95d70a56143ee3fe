"""What folders want installed is looked up, noted and told; nothing is installed."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest
from installed import Site
from legacy_folders import OLDER, older

from lollms_core.discovery.legacy.requirements import Requirements, installed_version, wanted_of
from lollms_core.errors import BindingLoadError

HERE = "packaging"
ASK = 'pm.ensure_packages(["packaging"])'


def asking(line: str) -> str:
    assert ASK in OLDER
    return older().replace(ASK, line)


@pytest.mark.parametrize("wanted", [HERE, "PackaGing", "packaging>=1", f"{HERE} >= 1, < 1000", "pytest[testing]"])
def test_what_is_there(wanted: str) -> None:
    found = Requirements()
    assert found.need(wanted)
    assert not found
    assert str(found) == ""


@pytest.mark.parametrize(
    ("wanted", "line"),
    [
        ("no-such", "missing requirements: no-such; install them with: pip install no-such"),
        ("no_such>=2,<3", "missing requirements: no_such; install them with: pip install 'no_such>=2,<3'"),
        ("packaging<1", "missing requirements: packaging; install them with: pip install 'packaging<1'"),
        (
            "https://example.org/no_such-1.0+c.whl",
            "missing requirements: no-such; install them with: pip install https://example.org/no_such-1.0+c.whl",
        ),
        (
            "git+https://example.org/me/no_such.git",
            "missing requirements: no-such; install them with: pip install git+https://example.org/me/no_such.git",
        ),
    ],
)
def test_what_is_not(wanted: str, line: str) -> None:
    found = Requirements()
    assert not found.need(wanted)
    assert str(found) == line


def test_each_distribution_once_and_no_password() -> None:
    found = Requirements()
    for wanted in ("no-such", "no-such>=2", "https://me:secret99@example.org/other-1.0.zip"):
        found.need(wanted)
    assert str(found) == (
        "missing requirements: no-such, other; "
        "install them with: pip install no-such 'https://me:***@example.org/other-1.0.zip'"
    )


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("a", ["a"]),
        (["a", "b>=1", " "], ["a", "b>=1"]),
        ({"a": None, "b": ">=1", "c": "latest"}, ["a", "b>=1", "c"]),
        ({"a": {"vcs": "git+https://x/a.git", "condition": ">=1"}}, ["a @ git+https://x/a.git"]),
        ([{"a": {"condition": ">=1"}}, ("b",)], ["a>=1", "b"]),
    ],
)
def test_the_forms_in_which_they_are_given(given: Any, wanted: list[str]) -> None:
    assert list(wanted_of(given)) == wanted


def test_nothing_is_ever_installed(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*args: Any, **keywords: Any) -> Any:
        raise AssertionError("a process was started")

    monkeypatch.setattr(subprocess, "Popen", never)
    calls = ("ensure_packages", "install", "install_if_missing", "install_multiple", "install_or_update")
    lines = "; ".join(f"assert pm.{call}('no-such-{call}', upgrade=True) is False" for call in calls)
    site.folder("old", asking(f"{lines}; assert pm.install('packaging') is True"))
    assert site.manager().open_binding("old").generate_text("hi") == "You said 1."


def test_what_is_installed_is_told_to_the_folder(site: Site) -> None:
    site.folder(
        "old",
        asking(
            "assert pm.is_installed('packaging') and pm.is_installed('packaging', '>=1')\n"
            "assert not pm.is_installed('packaging', '<1') and not pm.is_installed('no-such')\n"
            "assert pm.get_installed_version('no-such') is None\n"
            f"assert pm.get_installed_version('packaging') == {installed_version('packaging')!r}"
        ),
    )
    site.manager().open_binding("old")


def test_a_folder_that_cannot_be_imported_says_what_it_lacks(site: Site) -> None:
    """In the error, in the record and in what is logged; listing it before runs nothing."""
    path = site.folder("old", asking("pm.ensure_packages(['no-such', 'packaging', 'nor-this>=2'])\nimport no_such"))
    manager = site.manager()
    assert manager.records()[0].state == "found"
    line = (
        "missing requirements: no-such, nor-this; install them with: pip install no-such 'nor-this>=2'; "
        "ModuleNotFoundError: No module named 'no_such'"
    )
    with pytest.raises(BindingLoadError) as caught:
        manager.open_binding("old")
    assert str(caught.value) == f"the binding 'old' (folder {path}) could not be loaded: {line}"
    assert (manager.records()[0].state, manager.records()[0].error) == ("failed", line)
    assert "old" not in manager.available_bindings
    assert manager.create_binding("old") is None
    assert manager.errors["old"] == str(caught.value)


def test_what_lollms_client_brought_along_is_missed_without_being_asked_for(site: Site) -> None:
    site.folder("old", asking("raise ModuleNotFoundError(\"No module named 'sqlalchemy'\", name='sqlalchemy.orm')"))
    manager = site.manager()
    assert manager.create_binding("old") is None
    assert manager.records()[0].error == (
        "missing requirements: sqlalchemy; install them with: pip install sqlalchemy; "
        "ModuleNotFoundError: No module named 'sqlalchemy'"
    )


def test_a_folder_that_loaded_without_something_is_loaded_anew_once_it_is_there(site: Site) -> None:
    site.folder("old", asking("there = pm.ensure_packages('arrives-later')"))
    manager = site.manager()
    first = manager.binding_class("old")
    manager.refresh()
    assert manager.binding_class("old") is first
    site.distribution("arrives-later")
    manager.refresh()
    second = manager.binding_class("old")
    assert second is not first
    manager.refresh()
    assert manager.binding_class("old") is second
