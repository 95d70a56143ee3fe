"""Looking at a bindings directory without running what lies there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from installed import FOLDER, Site

from lollms_core.discovery import directory as directory_module
from lollms_core.discovery.directory import Folder, fingerprint, scan_directory
from lollms_core.errors import BindingBlocked, BindingLoadError

posix = pytest.mark.skipif(os.name == "nt", reason="mode bits and links as POSIX has them")


def one(site: Site) -> Folder:
    (found,) = scan_directory(site.bindings)
    return found


def test_a_missing_directory_is_empty(tmp_path: Path) -> None:
    assert scan_directory(tmp_path / "missing") == []
    (tmp_path / "empty").mkdir()
    assert scan_directory(tmp_path / "empty") == []


def test_a_directory_that_cannot_be_read_is_empty_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    assert scan_directory(tmp_path / "file") == []
    assert "cannot be read" in caplog.text

    def scandir(path: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("lollms_core.discovery.directory.os.scandir", scandir)
    assert scan_directory(tmp_path) == []
    assert "Permission denied" in caplog.text


def test_what_is_no_binding_is_passed_over(site: Site) -> None:
    """Files, folders without __init__.py, and names that begin with a dot or an underscore."""
    site.folder("good")
    site.folder("_private")
    site.folder(".hidden")
    site.folder("__pycache__")
    (site.bindings / "single.py").write_text(FOLDER)
    (site.bindings / "data").mkdir()
    (site.bindings / "README.md").write_text("")
    assert [folder.name for folder in scan_directory(site.bindings)] == ["good"]


@pytest.mark.parametrize("name", ["my-custom", "a b", "1st", "class", "a.b", "ünder score"])
def test_a_name_must_be_a_plain_identifier(site: Site, name: str) -> None:
    site.folder(name)
    assert one(site).blocked == "its name is not a plain identifier"
    manager = site.manager()
    assert manager.get_available_bindings() == []
    with pytest.raises(BindingBlocked, match=r"\(folder .*\) is blocked: its name is not a plain identifier"):
        manager.open_binding(name)


@pytest.mark.parametrize(
    ("source", "attribute"),
    [
        ("BindingName = 'Mine'", "Mine"),
        ("BindingName: str = 'Mine'", "Mine"),
        ("X = BindingName = 'Mine'", "Mine"),
        ("BindingName = 'First'\nBindingName = 'Mine'", "Mine"),
        ("BindingName = 'Mi' + 'ne'", None),
        ("BindingName = 'Mine'\nBindingName = str('Other')", None),
        ("'''\nBindingName = 'Doc'\n'''\nfrom .names import BindingName", None),
        ("BindingName = 5", None),
        ("def broken(", None),
        ("\0", None),
    ],
)
def test_binding_name_is_read_where_it_stands_as_a_string(site: Site, source: str, attribute: str | None) -> None:
    site.folder("mine", source)
    assert one(site) == Folder("mine", site.bindings / "mine", attribute=attribute)


def test_a_binding_name_that_is_computed_works_when_loaded(site: Site) -> None:
    site.folder("mine", FOLDER.replace("'Mine'", "''.join(['Mi', 'ne'])"))
    manager = site.manager()
    assert manager.create_binding("mine") is not None


def test_the_source_may_have_another_encoding(site: Site) -> None:
    site.folder("mine")
    (site.bindings / "mine" / "__init__.py").write_bytes(b"# -*- coding: latin-1 -*-\n# caf\xe9\n" + FOLDER.encode())
    assert one(site).attribute == "Mine"
    assert site.manager().create_binding("mine") is not None


@pytest.mark.parametrize(
    ("line", "fine"),
    [
        ("LOLLMS_API = 1", True),
        ("LOLLMS_API: int = 1", True),
        ("LOLLMS_API = 2", False),
        ("LOLLMS_API = 'one'", False),
        ("LOLLMS_API = 1 + 1", False),
        ("LOLLMS_API = 2 - 1", True),
    ],
)
def test_the_api_level_is_checked_before_loading_or_else_after(site: Site, line: str, fine: bool) -> None:
    site.folder("mine", f"{FOLDER}{line}\n" + ("" if fine or "+" in line else "raise RuntimeError('run')"))
    manager = site.manager()
    if fine:
        assert manager.create_binding("mine") is not None
    else:
        with pytest.raises(
            BindingLoadError, match=r"it is written for LOLLMS_API (2|'one'), and this lollms-core has 1"
        ):
            manager.open_binding("mine")


@posix
@pytest.mark.parametrize("what", ["folder", "init", "folder inside"])
def test_a_link_out_of_the_directory_is_refused(site: Site, tmp_path: Path, what: str) -> None:
    """A link to a neighbour in the same directory is fine."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "__init__.py").write_text("raise RuntimeError('run')")
    site.folder("good")
    folder = site.bindings / "mine"
    if what == "folder":
        folder.symlink_to(outside)
    elif what == "init":
        folder.mkdir()
        (folder / "__init__.py").symlink_to(outside / "__init__.py")
    else:
        folder.symlink_to(site.bindings / "good")
    manager = site.manager()
    if what == "folder inside":
        assert manager.create_binding("mine") is not None
        return
    assert manager.get_available_bindings() == ["good"]
    with pytest.raises(BindingBlocked, match="is a link out of the bindings directory"):
        manager.open_binding("mine")
    assert manager.create_binding("good") is not None


@posix
@pytest.mark.parametrize("what", ["helper", "package", "namespace"])
def test_a_module_inside_that_links_out_is_refused_when_imported(site: Site, tmp_path: Path, what: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "helper.py").write_text("raise RuntimeError('run')")
    folder = site.folder("mine", "from .helper import x\n" if what == "helper" else "from .part.helper import x\n")
    if what == "helper":
        (folder / "helper.py").symlink_to(outside / "helper.py")
    else:
        (folder / "part").symlink_to(outside)
        if what == "package":
            (outside / "__init__.py").write_text("raise RuntimeError('run')")
    with pytest.raises(BindingLoadError, match=r"ImportError: refused: .* is a link out of the bindings directory"):
        site.manager().open_binding("mine")


@posix
def test_broken_links_and_circles_are_passed_over(site: Site) -> None:
    site.folder("good")
    (site.bindings / "broken").symlink_to(site.bindings / "nothing")
    (site.bindings / "circle").symlink_to(site.bindings / "circle")
    assert [folder.name for folder in scan_directory(site.bindings)] == ["good"]


@posix
@pytest.mark.parametrize("what", ["folder", "init", "directory", "sticky"])
def test_what_everybody_may_write_is_refused(site: Site, what: str) -> None:
    folder = site.folder("mine", "raise RuntimeError('run')")
    path, mode = {
        "folder": (folder, 0o777),
        "init": (folder / "__init__.py", 0o666),
        "directory": (site.bindings, 0o777),
        "sticky": (site.bindings, 0o1777),
    }[what]
    path.chmod(mode)
    with pytest.raises(BindingBlocked, match=f"everybody may write {path.name}"):
        site.manager().open_binding("mine")
    assert site.manager().get_available_bindings() == []


@posix
def test_a_module_inside_that_everybody_may_write_is_refused_when_imported(site: Site) -> None:
    folder = site.folder("mine", "from .helper import *", helper="raise RuntimeError('run')")
    (folder / "helper.py").chmod(0o666)
    with pytest.raises(BindingLoadError, match=r"refused: everybody may write helper\.py"):
        site.manager().open_binding("mine")


def test_a_folder_that_cannot_be_looked_at_costs_the_others_nothing(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.folder("good")
    site.folder("sealed")
    original = directory_module._looked_at

    def looked_at(path: Path, *rest: Any) -> list[Folder]:
        if path.name == "sealed":
            raise PermissionError(13, "Permission denied")
        return original(path, *rest)

    monkeypatch.setattr(directory_module, "_looked_at", looked_at)
    good, sealed = scan_directory(site.bindings)
    assert good.blocked is None
    assert sealed.blocked == "it cannot be read: Permission denied"


def test_a_fingerprint_changes_with_any_module(site: Site) -> None:
    folder = site.folder("mine", sub__deep="x = 1")
    first = fingerprint(folder)
    assert fingerprint(folder) == first
    site.folder("mine", sub__deep="x = 12")
    assert fingerprint(folder) != first
    assert fingerprint(folder / "missing") == ()
