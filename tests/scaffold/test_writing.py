"""Writing a folder: all of it or nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from lollms_core.scaffold.writing import write_tree


def test_files_and_folders(tmp_path: Path) -> None:
    """Line ends are the same everywhere."""
    written = write_tree(tmp_path / "deep/er/new", {"a/b.txt": "one\ntwo\n", "c.txt": "é"})
    assert written == [tmp_path / "deep/er/new/a/b.txt", tmp_path / "deep/er/new/c.txt"]
    assert [path.read_bytes() for path in written] == [b"one\ntwo\n", "é".encode()]
    assert [path.name for path in (tmp_path / "deep/er").iterdir()] == ["new"]


def test_who_comes_first_keeps_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that is filled by somebody else in the meantime is not touched."""
    target = tmp_path / "new"
    whole = Path.write_text

    def write_text(self: Path, *args: str, **keywords: str) -> int:
        target.mkdir()
        whole(target / "theirs.txt", "theirs")
        return whole(self, *args, **keywords)

    monkeypatch.setattr(Path, "write_text", write_text)
    with pytest.raises(OSError, match="not empty"):
        write_tree(target, {"a.txt": "ours"})
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.txt")] == ["new/theirs.txt"]
    assert [path.name for path in tmp_path.iterdir()] == ["new"]
