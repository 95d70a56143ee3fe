"""A command whose extra is missing says so in one line, with the pip command."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from lollms_core.cli.extras import require

from .conftest import Lollms

COMMAND = """
import click

@click.command()
def draw():
    from lollms_core.cli.extras import require

    require("{module}")
"""


def draw(installed: Callable[..., Path], module: str) -> None:
    installed("acme", "[lollms.commands]\ndraw = acme_draw:draw\n", acme_draw=COMMAND.format(module=module))


@pytest.mark.parametrize("module", ["no_such_package", "no_such_package.inside"])
def test_what_is_missing_is_one_line(lollms: Lollms, installed: Callable[..., Path], module: str) -> None:
    draw(installed, module)
    result = lollms("draw")
    assert result.exit_code == 1
    assert result.stderr == 'lollms: lollms draw needs no_such_package: pip install "lollms-core[cli]"\n'


def test_a_package_that_is_broken_itself_is_not_missing(lollms: Lollms, installed: Callable[..., Path]) -> None:
    """What it lacks is named, not what would not help."""
    (installed("broken", "") / "there.py").write_text("import absent_inside\n")
    draw(installed, "there")
    result = lollms("draw")
    assert "absent_inside" in result.stderr
    assert "pip install" not in result.stderr


def test_what_is_there_is_given() -> None:
    assert require("json") is json


def test_outside_of_a_command_and_with_another_extra() -> None:
    with pytest.raises(click.ClickException, match=r"this command needs no_such_package: pip install \"acme\[x\]\""):
        require("no_such_package", "acme[x]")
