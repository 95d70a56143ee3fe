"""`lollms info`: what is known of a model, and never a key."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lollms_core.cli.info import _lines

from .conftest import Lollms
from .knowing import add_knowing


@pytest.fixture
def info(lollms: Lollms, bindings: Path, monkeypatch: pytest.MonkeyPatch) -> Lollms:
    monkeypatch.setenv("LOLLMS_PLUGINS", "knowing,closed,talker")
    add_knowing(bindings)
    return lambda *arguments: lollms("info", "--bindings-dir", str(bindings), *arguments)


def test_a_line_for_each_fact(info: Lollms) -> None:
    """The contract's first; what is not known is left out."""
    result = info("-b", "knowing", "-m", "first", "-o", "temperature=0.2")
    assert (result.exit_code, result.stderr) == (0, "")
    facts = dict(line.split(maxsplit=1) for line in result.stdout.splitlines())
    assert list(facts)[:6] == ["binding_name", "model_name", "loaded", "ctx_size", "supports", "parameters"]
    assert (facts["loaded"], facts["ctx_size"], facts["parameters"]) == ("yes", "4096", "temperature=0.2")
    assert facts["supports"] == "embed, pull, text, tokenize"
    assert (facts["size"], facts["n_params"]) == ("98.4 MB", "134.5M")
    assert "nothing" not in facts


def test_the_model_may_be_the_argument(info: Lollms) -> None:
    """As in other programs; one that says the contrary of -m is refused."""
    assert info("first", "-b", "knowing").stdout == info("-b", "knowing", "-m", "first").stdout
    assert info("first", "-b", "knowing", "-m", "first").exit_code == 0
    result = info("first", "-b", "knowing", "-m", "other")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "lollms: -m names other, and the argument first: give one of them\n"


@pytest.mark.parametrize("how", [[], ["--json"]])
def test_a_key_is_never_shown(info: Lollms, how: list[str]) -> None:
    """Whatever a binding's author puts into its facts."""
    result = info("-b", "knowing", "-m", "first", "-o", "service_key=pa55word-of-mine", *how)
    assert result.exit_code == 0
    assert "pa55word" not in result.output
    assert "***" in result.stdout


def test_json(info: Lollms) -> None:
    document = json.loads(info("-b", "knowing", "-m", "first", "--json").stdout)
    assert (document["size"], document["loaded"], document["nothing"]) == (98_362_432, True, None)
    assert document["supports"] == ["embed", "pull", "text", "tokenize"]


def test_a_binding_that_says_little(info: Lollms) -> None:
    """Its capabilities are known all the same."""
    document = json.loads(info("-b", "closed", "-m", "new", "-o", "model_identifier=x", "--json").stdout)
    assert (document["binding_name"], document["model_name"], document["loaded"]) == ("closed", "new", True)
    assert "chat" in document["supports"]


def test_a_model_that_is_not_there_is_one_line(info: Lollms) -> None:
    assert info("-b", "closed", "-m", "missing", "-o", "model_identifier=x").exit_code == 1


def test_long_facts_go_on_below_their_beginning() -> None:
    """On a terminal, at blanks; what has none is left to the terminal."""
    facts = {"supports": ["chat", "embed", "tools", "vision"], "path": "/a/very/long/path/without/a/blank"}
    assert _lines(facts, 30) == [
        "supports  chat, embed, tools,",
        "          vision",
        "path      /a/very/long/path/without/a/blank",
    ]
    assert _lines(facts, None)[0] == "supports  chat, embed, tools, vision"
    assert len(_lines(facts, 12)) == 2
