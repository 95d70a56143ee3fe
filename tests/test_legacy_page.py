"""The code blocks of docs/legacy.md run and print what the page says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[1] / "docs" / "legacy.md"
BLOCK = re.compile(r"^```(python|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_the_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """In their order, in one namespace; one that begins with a file's name is that file."""
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    texts = 0
    for language, block in BLOCK.findall(PAGE.read_text("utf-8")):
        first = block.partition("\n")[0]
        if language == "text":
            printed = capsys.readouterr().out.splitlines()
            assert [line.rstrip() for line in printed] == block.splitlines()
            texts += 1
        elif first.endswith(".py"):
            path = Path(first.removeprefix("# "))
            path.parent.mkdir(parents=True)
            path.write_text(block, "utf-8")
        else:
            exec(compile(block, str(PAGE), "exec"), names)  # noqa: S102 - our own text
    assert texts == 2
