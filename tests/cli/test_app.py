"""The group: help, version, usage errors, and the commands of other distributions."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import lollms_core

from .conftest import Lollms

POINTS = "[lollms.commands]\n{name} = {value}\n"
COMMAND = """
import click

@click.command()
@click.argument("words", nargs=-1)
def shout(words):
    \"\"\"Say it louder.\"\"\"
    click.echo(" ".join(words).upper())

@click.command()
def fail():
    raise KeyError("two\\nlines")

@click.command()
def leave():
    raise SystemExit(7)

@click.command()
def end():
    raise EOFError

not_a_command = 3
"""

Installed = Callable[..., Path]


@pytest.mark.parametrize("arguments", [["--version"]])
def test_version(lollms: Lollms, arguments: list[str]) -> None:
    result = lollms(*arguments)
    assert (result.exit_code, result.stdout) == (0, f"lollms {lollms_core.__version__}\n")


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_help_lists_the_commands(lollms: Lollms, arguments: list[str]) -> None:
    result = lollms(*arguments)
    assert result.exit_code == 0
    assert all(name in result.stdout for name in ("generate", "bindings", "models", "--version"))


@pytest.mark.parametrize("command", ["generate", "bindings", "models"])
def test_each_command_has_help(lollms: Lollms, command: str) -> None:
    result = lollms(command, "--help")
    assert result.exit_code == 0
    assert "--bindings-dir" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["genrate"], "there is no command 'genrate'. Did you mean generate?"),
        (["xyz"], "there is no command 'xyz'."),
        (["--colour"], "--colour"),
    ],
)
def test_misuse_is_one_line(lollms: Lollms, arguments: list[str], said: str) -> None:
    result = lollms(*arguments)
    assert (result.exit_code, result.stdout) == (1, "")
    assert said in result.stderr


def test_the_module_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "lollms_core", "--version"], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == f"lollms {lollms_core.__version__}\n"


def test_a_command_of_another_package_is_listed_and_runs(lollms: Lollms, installed: Installed) -> None:
    installed("acme", POINTS.format(name="shout", value="acme_shout:shout"), acme_shout=COMMAND)
    listing = lollms("--help").stdout
    assert "shout" in listing
    assert "distribution acme 1.0" in listing
    assert "acme_shout" not in sys.modules
    assert lollms("shout", "why", "not").stdout == "WHY NOT\n"


@pytest.mark.parametrize(
    ("value", "source", "said"),
    [
        ("acme_x:shout", "raise SystemExit(3)", "can't be loaded"),
        ("acme_x:shout", "1 / 0", "ZeroDivisionError"),
        ("acme_x:missing", COMMAND, "missing"),
        ("acme_absent:shout", COMMAND, "acme_absent"),
        ("acme_x:not_a_command", COMMAND, "is a int, not a click command"),
        ("acme_x", COMMAND, "names no object"),
        ("not a module", COMMAND, "can't be used"),
    ],
)
def test_a_broken_command_costs_one_line(
    lollms: Lollms, installed: Installed, value: str, source: str, said: str
) -> None:
    """It names the distribution, and the other commands work."""
    installed("acme", POINTS.format(name="shout", value=value), acme_x=source)
    result = lollms("shout")
    assert result.exit_code == 1
    assert said in result.stderr
    assert "acme 1.0" in result.stderr
    assert lollms("--help").exit_code == 0


@pytest.mark.parametrize(
    ("name", "status", "said"), [("fail", 1, "KeyError"), ("leave", 7, ""), ("end", 1, "EOFError")]
)
def test_what_a_command_raises(lollms: Lollms, installed: Installed, name: str, status: int, said: str) -> None:
    """One line for an error; a status of its own choice stays."""
    installed("acme", POINTS.format(name=name, value=f"acme_shout:{name}"), acme_shout=COMMAND)
    result = lollms(name)
    assert result.exit_code == status
    assert said in result.stderr


def test_a_blocked_command_is_not_listed_nor_run(
    lollms: Lollms, installed: Installed, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed("acme", POINTS.format(name="shout", value="acme_shout:shout"), acme_shout=COMMAND)
    monkeypatch.setenv("LOLLMS_DISABLE_PLUGINS", "acme")
    assert "shout" not in lollms("--help").stdout
    result = lollms("shout", "hi")
    assert result.exit_code == 1
    assert "LOLLMS_DISABLE_PLUGINS" in result.stderr


def test_our_own_commands_cannot_be_taken_over(lollms: Lollms, installed: Installed) -> None:
    installed("acme", POINTS.format(name="bindings", value="acme_shout:shout"), acme_shout=COMMAND)
    assert "acme" not in lollms("--help").stdout
    lollms("bindings")
    assert "acme_shout" not in sys.modules


def test_of_two_commands_of_one_name_the_same_one_runs_every_time(lollms: Lollms, installed: Installed) -> None:
    other = COMMAND.replace("upper", "lower")
    installed("broken", POINTS.format(name="shout", value="broken_shout:shout"), broken_shout=other)
    installed("acme", POINTS.format(name="shout", value="acme_shout:shout"), acme_shout=COMMAND)
    assert lollms("shout", "Hi").stdout == "HI\n"
