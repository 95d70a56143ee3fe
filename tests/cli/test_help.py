"""`--help` of every command, word for word, at a fixed width; and on a narrow terminal.

The texts are in ``golden/``. After a change that is meant, write them anew and look at the difference::

    LOLLMS_RENEW_HELP=1 pytest tests/cli/test_help.py
    git diff tests/cli/golden
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from lollms_core.cli.app import COMMANDS, lollms

GOLDEN = Path(__file__).parent / "golden"
RENEW = "LOLLMS_RENEW_HELP"
WIDTH = 80


def text_of(*command: str, width: int = WIDTH) -> str:
    result = CliRunner().invoke(lollms, [*command, "--help"], env={"COLUMNS": str(width)}, prog_name="lollms")
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.mark.parametrize("name", ["lollms", *COMMANDS])
def test_the_help_is_what_it_was(name: str) -> None:
    """Nobody changes by chance what users read."""
    file = GOLDEN / f"{name}.txt"
    text = text_of(*(() if name == "lollms" else (name,)))
    if os.environ.get(RENEW):
        file.parent.mkdir(exist_ok=True)
        file.write_text(text, "utf-8")
    assert file.exists(), f"write it with {RENEW}=1 pytest {Path(__file__).name}"
    assert text == file.read_text("utf-8"), f"if that is meant: {RENEW}=1 pytest {Path(__file__).name}"


def test_no_command_is_gone_whose_help_is_kept() -> None:
    assert {file.stem for file in GOLDEN.glob("*.txt")} == {"lollms", *COMMANDS}


@pytest.mark.parametrize("name", COMMANDS)
def test_each_help_has_examples(name: str) -> None:
    """Lines that can be copied, which begin with `lollms` or pipe into it."""
    text = text_of(name)
    _, heading, examples = text.partition("Examples:\n")
    assert heading
    lines = [line.strip() for line in examples.splitlines() if line.strip()]
    assert lines
    assert all("lollms " in line for line in lines)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_narrow_terminal(name: str) -> None:
    """No line is longer than the terminal, but for what cannot be broken: an option's name, an example."""
    text, *_ = text_of(name, width=40).partition("Examples:\n")
    too_long = [line for line in text.splitlines() if len(line) > 40]
    assert not [line for line in too_long if len(line.split()) > 4]


def test_a_very_narrow_terminal() -> None:
    assert text_of(width=5)
    assert text_of("generate", width=5)
