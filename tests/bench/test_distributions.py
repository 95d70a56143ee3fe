"""The distributions that fill the benchmark's environments."""

from __future__ import annotations

from importlib.metadata import distributions
from pathlib import Path

import pytest

pytest.importorskip("bench", reason="the benchmark stays in the checkout")

from bench.distributions import GROUP, add_others, add_plugins


def test_they_are_as_pip_leaves_them(tmp_path: Path) -> None:
    add_others(tmp_path, 100)
    found = list(distributions(path=[str(tmp_path)]))
    assert len({one.metadata["Name"] for one in found}) == 100
    files = [file for one in found for file in one.files or () if file.parts[0].endswith(".dist-info")]
    assert len(files) > 400
    assert all(Path(str(file.locate())).exists() for file in files)
    with_points = [one for one in found if one.entry_points]
    assert 10 < len(with_points) < 60
    assert not [point for one in found for point in one.entry_points if "lollms" in point.group or point.group == "llm"]


def test_they_are_the_same_each_time(tmp_path: Path) -> None:
    """So that two environments are alike."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        add_others(tmp_path / name, 20)

    def content(name: str) -> dict[str, bytes]:
        folder = tmp_path / name
        return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}

    assert content("one") == content("two")


def test_the_plugins_can_be_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add_plugins(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    points = [point for one in distributions(path=[str(tmp_path)]) for point in one.entry_points]
    assert [point.group for point in points] == [GROUP] * 3
    assert all(isinstance(point.load(), type) for point in points)
