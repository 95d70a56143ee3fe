"""``lollms check``: the report card of an installed binding, or of one in a folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from lollms_core.cli.app import lollms
from lollms_core.manager import LollmsLLMBindingManager
from lollms_core.testing.conformance import CHECKS

FOLDER = """
from conformant import {base}

class Mine({base}):
    {body}

BindingName = "Mine"
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LOLLMS_PLUGINS", "mine")
    bindings = tmp_path / "llm_bindings"
    bindings.mkdir()
    return bindings


@pytest.fixture
def shipped(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bindings that are installed with these tests."""
    monkeypatch.setattr("lollms_core.cli.managing.LollmsLLMBindingManager", LollmsLLMBindingManager)
    monkeypatch.setenv("LOLLMS_PLUGINS", "openai")


def write(folder: Path, body: str = "pass", base: str = "Plain") -> None:
    (folder / "mine").mkdir()
    (folder / "mine" / "__init__.py").write_text(FOLDER.format(base=base, body=body), "utf-8")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(lollms, ["check", *arguments])


def test_a_good_binding(folder: Path) -> None:
    """Every check that says something about it, with its promise; exit 0."""
    write(folder)
    done = run("mine", "--bindings-dir", str(folder))
    assert done.exit_code == 0, done.output
    assert "mine of folder" in done.stdout
    assert "  ok    generate_text " in done.stdout
    assert "  -     vision                        VISION is not declared" in done.stdout
    assert " 0 failed, " in done.stdout
    assert done.stderr == ""


def test_a_broken_binding(folder: Path) -> None:
    """The check that fails says why, the others go on; exit 1 and one line."""
    write(folder, "def count_tokens(self, text): return 7")
    done = run("mine", "--bindings-dir", str(folder))
    assert done.exit_code == 1
    assert "  FAIL  tokens_are_counted            count_tokens('Hello, world!') is 7" in done.stdout
    assert "  ok    embed " in done.stdout
    assert done.stderr.splitlines() == [f"lollms: mine fails 1 of {sum(not c.wire for c in CHECKS.values())} checks"]


def test_only_some(folder: Path) -> None:
    """By their names; a wrong name gives close ones."""
    write(folder)
    done = run("mine", "--bindings-dir", str(folder), "--only", "embed", "--only", "closing")
    assert "2 passed, 0 failed, 0 say nothing about it" in done.stdout
    wrong = run("mine", "--bindings-dir", str(folder), "--only", "embeds")
    assert wrong.exit_code == 1
    assert "there is no check 'embeds'. Did you mean embed" in wrong.stderr


def test_json(folder: Path) -> None:
    """One document, and nothing else on stdout."""
    write(folder, "def embed(self, text, **kwargs): return []")
    done = run("mine", "--bindings-dir", str(folder), "--only", "embed", "--only", "vision", "--json")
    document = json.loads(done.stdout)
    assert document["binding"] == "mine"
    verdicts = {one["name"]: (one["verdict"], bool(one["reason"])) for one in document["checks"]}
    assert verdicts == {"embed": ("failed", True), "vision": ("none", True)}
    assert done.exit_code == 1


def test_options_reach_the_constructor(folder: Path) -> None:
    """-o as everywhere; -m is the model's name."""
    write(folder, "def __init__(self, **more): super().__init__(**more); print(self.model_name, dict(self.defaults))")
    done = run("mine", "--bindings-dir", str(folder), "--only", "closing", "-o", "n_predict=9", "-m", "parrot")
    assert "parrot {'n_predict': 9}" in done.stdout


def test_over_http_without_a_server(shipped: None) -> None:
    """The dialect that the distribution declares is spoken by a server on the loopback interface."""
    done = run("openai", "--only", "stop", "--only", "redirects")
    assert done.exit_code == 0, done.output
    assert "a loopback server that speaks as OpenAI" in done.stdout
    assert "2 passed, 0 failed" in done.stdout
    without = run("openai", "--only", "stop", "--only", "redirects", "--no-faults")
    assert "1 passed, 0 failed" in without.stdout


def test_a_dialect_that_is_none(shipped: None) -> None:
    """One line with the reason."""
    for given, words in (("json:dumps", "cannot be had"), ("nowhere:X", "No module named 'nowhere'"), ("x", "x")):
        done = run("openai", "--only", "stop", "--dialect", given)
        assert done.exit_code == 1
        assert words in done.stderr
    done = run("openai", "--only", "stop", "--dialect", "collections:OrderedDict")
    assert "is a OrderedDict, no Dialect" in done.stderr


def test_a_binding_that_is_not_there(folder: Path) -> None:
    """As everywhere."""
    done = run("nobody", "--bindings-dir", str(folder))
    assert done.exit_code == 1
    assert "no binding 'nobody' is installed" in done.stderr
