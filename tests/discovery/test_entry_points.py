"""Reading declarations; how a manager treats broken ones is in test_manager_faults.py."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from installed import Site

from lollms_core.discovery.entry_points import Declared, scan
from lollms_core.discovery.installed import Installed, OnDisk


def test_several_groups_in_one_walk_sorted(site: Site) -> None:
    site.distribution("b-dist", "2", entry_points={"test.one": {"x": "mod_b"}, "test.two": {"y": "mod_b:f"}})
    site.distribution(
        "a-dist", "1", entry_points={"test.one": {"x": "mod_a:C.d [extra]"}, "test.other": {"z": "mod_a"}}
    )
    found = scan({"test.one", "test.two"})
    assert found.declared == (
        Declared("test.one", "x", "mod_a", "C.d", "a-dist", "1"),
        Declared("test.one", "x", "mod_b", None, "b-dist", "2"),
        Declared("test.two", "y", "mod_b", "f", "b-dist", "2"),
    )
    assert found.problems == ()
    assert found.group("test.two") == found.declared[2:]
    assert found.declared[0].origin == "distribution a-dist 1"


def test_a_group_is_matched_whole(site: Site) -> None:
    """A file that only mentions the group's name somewhere declares nothing in it."""
    site.distribution("near", entry_points={"test.one.more": {"x": "mod"}, "a": {"test.one": "mod"}})
    assert scan({"test.one"}).declared == ()


def test_a_name_declared_twice_counts_once(site: Site) -> None:
    site.distribution("twice", entry_points=b"[test.one]\nx = first\nx = second\n")
    found = scan({"test.one"})
    assert [item.module for item in found.declared] == ["first"]
    assert found.problems == ("distribution twice 1.0 declares x in [test.one] twice; the first one counts",)


def test_an_egg_info_folder_is_read_too(site: Site) -> None:
    folder = site.path / "old_style.egg-info"
    folder.mkdir()
    (folder / "PKG-INFO").write_text("Metadata-Version: 1.0\nName: old-style\nVersion: 3\n\n")
    (folder / "requires.txt").write_text("lollms-core>=99\n")
    (folder / "entry_points.txt").write_text("[test.one]\nx = mod\n")
    (found,) = scan({"test.one"}).declared
    assert (found.distribution, found.version) == ("old-style", "3")
    assert found.incompatible is not None
    assert "lollms-core>=99" in found.incompatible


def test_metadata_of_distributions_that_declare_nothing_is_not_read(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousand other distributions cost one small read each."""
    for number in range(20):
        site.distribution(f"other{number}", entry_points={"console_scripts": {f"x{number}": "mod:f"}})
    site.distribution("ours", entry_points={"test.one": {"x": "mod"}})
    for folder in site.path.glob("other*.dist-info"):
        folder.joinpath("METADATA").unlink()
    read: list[str] = []
    original = OnDisk.read_text

    def read_text(self: OnDisk, filename: str) -> str | None:
        read.append(self.folder)
        return original(self, filename)

    monkeypatch.setattr(OnDisk, "read_text", read_text)
    found = scan({"test.one"})
    assert [path for path in read if "ours" in path]
    assert len(found.declared) == 1
    assert found.problems == ()
    assert not [path for path in read if "other" in path]


def test_reading_imports_nothing_of_what_it_finds(site: Site) -> None:
    site.distribution(
        "loud",
        entry_points={"test.one": {"x": "loud_mod:f"}},
        modules={"loud_mod.py": "raise RuntimeError('imported')"},
    )
    assert len(scan({"test.one"}).declared) == 1
    assert "loud_mod" not in sys.modules


def test_a_directory_that_stands_on_the_path_twice(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Is one directory."""
    site.distribution("ours", entry_points={"test.one": {"x": "mod"}})
    monkeypatch.setattr(sys, "path", [str(site.path), *sys.path])
    found = scan({"test.one"})
    assert len(found.declared) == 1
    assert found.problems == ()


@pytest.mark.parametrize("spelled", ["{}/", "{}/../site"])
def test_it_is_one_directory_however_it_is_spelled(site: Site, monkeypatch: pytest.MonkeyPatch, spelled: str) -> None:
    site.distribution("ours", entry_points={"test.one": {"x": "mod"}})
    monkeypatch.setattr(sys, "path", [spelled.format(site.path), *sys.path])
    assert [item.name for item in scan({"test.one"}).declared] == ["x"]


def test_the_working_directory_is_looked_at_where_it_is_on_the_path(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.distribution("ours", entry_points={"test.one": {"x": "mod"}})
    monkeypatch.chdir(site.path)
    monkeypatch.setattr(sys, "path", ["", *(path for path in sys.path if path != str(site.path))])
    assert [item.distribution for item in scan({"test.one"}).declared] == ["ours"]


def test_what_is_on_the_path_but_no_str_is_passed_over(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python imports nothing from there."""
    site.distribution("ours", entry_points={"test.one": {"x": "mod"}})
    monkeypatch.setattr(sys, "path", [5, None, *sys.path])
    found = scan({"test.one"})
    assert [item.distribution for item in found.declared] == ["ours"]
    assert found.problems == ()


def test_distributions_in_an_egg_are_found(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = site.path.parent / "boiled-1.0-py3.11.egg" / "EGG-INFO"
    folder.mkdir(parents=True)
    (folder / "PKG-INFO").write_text("Name: boiled\nVersion: 1.0\n\n")
    (folder / "entry_points.txt").write_text("[test.one]\nx = boiled_mod\n")
    monkeypatch.syspath_prepend(str(folder.parent))
    assert [item.distribution for item in scan({"test.one"}).declared] == ["boiled"]


def test_the_same_is_found_as_by_importlib_metadata(site: Site) -> None:
    import importlib_metadata

    site.distribution("Some.Name", "1", entry_points={"test.one": {"x": "mod"}})
    site.distribution("other", "2", entry_points={"test.two": {"y": "mod"}})
    found = {point.dist.metadata["Name"] for point in importlib_metadata.entry_points(group="test.one") if point.dist}
    assert {item.distribution for item in scan({"test.one"}).declared} == found == {"Some.Name"}
    everything = [str(one.locate_file("")) for one in Installed([]).all()]
    assert sorted(everything) == sorted(str(one.locate_file("")) for one in importlib_metadata.distributions())


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
def test_distributions_in_a_zip_file_are_found(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    import gc
    import zipfile

    import importlib_metadata

    with zipfile.ZipFile(site.path.parent / "packed.zip", "w") as archive:
        archive.writestr("packed-1.0.dist-info/METADATA", "Name: packed\nVersion: 1.0\n\n")
        archive.writestr("packed-1.0.dist-info/entry_points.txt", "[test.one]\nx = packed_mod\n")
    monkeypatch.syspath_prepend(str(site.path.parent / "packed.zip"))
    assert [item.distribution for item in scan({"test.one"}).declared] == ["packed"]
    # importlib_metadata keeps the file open in a cache: closed here, and not in the midst of some other test.
    importlib_metadata.FastPath.__new__.cache_clear()
    gc.collect()


class Finder:
    """Puts one distribution of its own making on the list."""

    def __init__(self, texts: dict[str, str | Exception]) -> None:
        self.texts = texts

    def find_spec(self, *args: object) -> None:
        return None

    def find_distributions(self, context: Any) -> list[Any]:
        import importlib_metadata

        texts = self.texts

        class Virtual(importlib_metadata.Distribution):
            def read_text(self, filename: str) -> str | None:
                text = texts.get(filename)
                if isinstance(text, Exception):
                    raise text
                return text

            def locate_file(self, path: Any) -> Any:
                raise NotImplementedError

        return [Virtual()] if context.name in {None, "virtual"} else []


def test_another_finders_distributions_are_read_by_their_own_methods(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where they keep no files."""
    texts: dict[str, str | Exception] = {
        "entry_points.txt": "[test.one]\nx = virtual_mod\n",
        "PKG-INFO": "Name: virtual\nVersion: 7\nRequires-Dist: lollms-core>=99\n\n",
    }
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Finder(texts)])
    (found,) = scan({"test.one"}).declared
    assert (found.distribution, found.version, found.module) == ("virtual", "7", "virtual_mod")
    assert found.incompatible is not None


def test_one_whose_reading_raises_is_told_and_passed_over(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.distribution("ours", entry_points={"test.one": {"x": "mod"}})
    texts: dict[str, str | Exception] = {
        "entry_points.txt": RuntimeError("network down"),
        "METADATA": RuntimeError("network down"),
    }
    monkeypatch.setattr(sys, "meta_path", [Finder(texts), *sys.meta_path])
    found = scan({"test.one"})
    assert [item.distribution for item in found.declared] == ["ours"]
    assert found.problems == (
        "the entry points of a distribution of unknown name cannot be read: RuntimeError: network down",
    )


def test_a_version_that_is_none_is_older_than_any(site: Site) -> None:
    for version in "1.0", "not a version":
        site.distribution("twice", version, entry_points={"test.one": {"x": "mod"}})
    assert [item.version for item in scan({"test.one"}).declared] == ["1.0"]
