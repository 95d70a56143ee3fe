"""What says that the environment with this checkout's wheels is the right one."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("bench", reason="the benchmark stays in the checkout")

from bench import checkout


def test_a_changed_source_has_another_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "src" / "package" / "module.py"
    source.parent.mkdir(parents=True)
    (tmp_path / "pyproject.toml").write_text("[project]\n", "utf-8")
    monkeypatch.setattr(checkout, "ROOT", tmp_path)
    monkeypatch.setattr(checkout, "WITH_NEEDS", (str(tmp_path),))
    monkeypatch.setattr(checkout, "ALONE", ())
    hashes = []
    for text in ("one = 1\n", "one = 2\n", "one = 1\n"):
        source.write_text(text, "utf-8")
        hashes.append(checkout.hash_of_sources())
    (source.parent / "__pycache__").mkdir()
    (source.parent / "__pycache__" / "module.pyc").write_bytes(b"compiled")
    hashes.append(checkout.hash_of_sources())
    assert hashes[0] == hashes[2] == hashes[3] != hashes[1]
