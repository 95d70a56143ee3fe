"""Who gets a name, and what a refresh changes."""

from __future__ import annotations

import shutil
import sys

import pytest
from installed import FOLDER, Site


def test_an_installed_name_is_never_shadowed_by_a_folder(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """Both origins are told; also when the installed one is blocked or broken, the folder does not step in."""
    site.binding("openai", "lollms-mine", version="1.0")
    path = site.folder("openai", FOLDER.replace("Mine", "Folder").replace("class Mine", "class Folder"))
    manager = site.manager()
    installed, folder = manager.records()
    assert (installed.source, installed.state) == ("entry point", "found")
    assert (folder.source, folder.state) == ("directory", "shadowed")
    assert folder.error == f"folder {path} is hidden by distribution lollms-mine 1.0, which is installed"
    assert folder.error in caplog.text
    assert type(manager.open_binding("openai")).__name__ == "Mine"
    blocked = site.manager(deny="lollms-mine")
    assert blocked.get_available_bindings() == []
    assert blocked.create_binding("openai") is None


def test_a_name_that_two_distributions_claim(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """The first in alphabetical order has it, on every run; both are told."""
    site.binding("shared", "lollms-zeta", version="1.0")
    site.binding("shared", "lollms-Beta", version="2.0")
    manager = site.manager()
    winner, loser = manager.records()
    assert (winner.distribution, winner.state) == ("lollms-Beta", "found")
    assert (loser.distribution, loser.state) == ("lollms-zeta", "shadowed")
    assert loser.error == "distribution lollms-zeta 1.0 claims this name too; distribution lollms-Beta 2.0 has it"
    assert loser.error in caplog.text
    assert type(manager.open_binding("shared")).__module__ == "lollms_Beta_shared"
    assert manager.get_available_bindings() == ["shared"]


def test_a_usable_claimant_comes_before_a_blocked_or_incompatible_one(site: Site) -> None:
    site.binding("shared", "lollms-a")
    site.binding("shared", "lollms-b", requires=["lollms-core>=99"])
    site.binding("shared", "lollms-c")
    manager = site.manager(deny="lollms-a")
    assert [(record.distribution, record.state) for record in manager.records()] == [
        ("lollms-c", "found"),
        ("lollms-a", "blocked"),
        ("lollms-b", "incompatible"),
    ]
    assert type(manager.open_binding("shared")).__module__ == "lollms_c_shared"


def test_a_well_known_name_goes_to_its_distribution(site: Site) -> None:
    site.binding("ollama", "aaa-first")
    site.binding("ollama", "lollms-ollama")
    assert [record.distribution for record in site.manager().records()] == ["lollms-ollama", "aaa-first"]


# Looking anew -----------------------------------------------------------------------------------------------


def test_refresh_finds_what_came_and_forgets_what_went(site: Site) -> None:
    gone = site.binding("gone", "lollms-gone")
    site.binding("stays", "lollms-stays")
    folder = site.folder("local")
    manager = site.manager()
    stays = manager.open_binding("stays")
    for name in "gone", "local":
        assert manager.create_binding(name) is not None
    shutil.rmtree(gone)
    shutil.rmtree(folder)
    site.binding("came", "lollms-came")
    site.folder("new")
    assert manager.get_available_bindings() == ["gone", "local", "stays"]
    manager.refresh()
    assert manager.get_available_bindings() == ["came", "new", "stays"]
    assert manager.available_bindings == {"stays": type(stays)}
    assert manager.create_binding("came") is not None
    assert manager.create_binding("new") is not None
    assert manager.create_binding("gone") is None
    assert type(manager.open_binding("stays")) is type(stays)


def test_refresh_loads_a_folder_anew_only_if_it_has_changed(site: Site) -> None:
    site.folder("local", FOLDER + "from .words import WORD", words="WORD = 'old'")
    manager = site.manager()
    first = type(manager.open_binding("local"))
    manager.refresh()
    assert manager.available_bindings == {"local": first}
    assert [record.state for record in manager.records()] == ["loaded"]
    assert type(manager.open_binding("local")) is first
    site.folder("local", FOLDER + "from .words import WORD", words="WORD = 'longer'")
    manager.refresh()
    second = type(manager.open_binding("local"))
    assert second is not first
    assert sys.modules[second.__module__].WORD == "longer"


def test_refresh_obeys_the_new_lists_for_what_is_loaded(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.binding("alpha", "lollms-alpha")
    manager = site.manager()
    assert manager.create_binding("alpha") is not None
    monkeypatch.setenv("LOLLMS_PLUGINS", "")
    manager.refresh()
    assert manager.create_binding("alpha") is None
    assert manager.available_bindings == {}
