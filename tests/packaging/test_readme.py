"""The README's Python examples run as they stand."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

import lollms_core
from lollms_core.discovery.catalog import PACKAGES

BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def blocks() -> list[str]:
    """The Python blocks in their order: use, other backends, schemas, the eight methods, the folder's line, hooks."""
    found = BLOCK.findall((Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8"))
    assert len(found) == 6
    return found


def test_using_a_binding(blocks: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """The first example prints the installed bindings and two answers of the embedded model."""
    exec(compile(blocks[0], "README.md", "exec"), {"__name__": "readme"})  # noqa: S102 - our own text
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == str(sorted(PACKAGES))
    assert "Usage" in lines[-1]


def test_other_backends_are_other_names(blocks: list[str]) -> None:
    """Constructing them sends nothing, so no server is needed."""
    exec(compile(blocks[1], "README.md", "exec"), {"__name__": "readme"})  # noqa: S102 - our own text


def test_structured_output(blocks: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The embedded model gives an object of the class shown."""
    path = tmp_path / "example.py"
    path.write_text(blocks[2], encoding="utf-8")
    runpy.run_path(str(path), run_name="readme")
    assert re.fullmatch(r"Colour\(name='.*', warm=(True|False)\)\n", capsys.readouterr().out)


def test_a_binding_of_eight_methods(blocks: list[str], tmp_path: Path) -> None:
    """The binding shown works as a folder, with what the base class adds."""
    folder = tmp_path / "shout"
    folder.mkdir()
    (folder / "__init__.py").write_text(f"{blocks[3]}\n{blocks[4]}", encoding="utf-8")
    manager = lollms_core.LollmsLLMBindingManager(tmp_path)
    binding = manager.open_binding("shout")
    assert binding.generate_text("hello") == "HELLO"
    assert binding.chat("hello").text == "HELLO"
    deltas = [event.text for event in binding.stream("hello") if isinstance(event, lollms_core.TextDelta)]
    assert "".join(deltas) == "HELLO"


def test_hooks(blocks: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The middleware shown sees the end of a generation."""
    folder = tmp_path / "shout"
    folder.mkdir()
    (folder / "__init__.py").write_text(f"{blocks[3]}\n{blocks[4]}", encoding="utf-8")
    source = blocks[5].replace("LollmsLLMBindingManager(hooks", f"LollmsLLMBindingManager({str(tmp_path)!r}, hooks")
    names: dict[str, object] = {"__name__": "readme"}
    exec(compile(source, "README.md", "exec"), names)  # noqa: S102 - our own text
    manager = names["manager"]
    assert isinstance(manager, lollms_core.LollmsLLMBindingManager)
    manager.open_binding("shout").generate_text("hello")
    assert "tokens:" in capsys.readouterr().out
