"""``lollms new-binding``: a binding to start from, as a distribution of its own or as a folder."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lollms_core.cli.terminal import one_line, say, standard_output
from lollms_core.scaffold import LICENCES, SHAPES

if TYPE_CHECKING:
    from lollms_core.manager import LollmsLLMBindingManager
    from lollms_core.scaffold import Names

__all__ = ["new_binding"]

NO_LICENCE = "none"
_STAND_IN = "python {}    (a server to try it with; it prints how to ask)"
DEFAULTS = {"shape": "eight-methods", "licence": "Apache-2.0"}


@click.command(
    name="new-binding",
    epilog="""\b
Examples:
  lollms new-binding shout
  lollms new-binding shout --shape http --licence MIT --author "Your Name"
  lollms new-binding shout --shape in-process --local
""",
)
@click.argument("name")
@click.option(
    "--shape",
    type=click.Choice(list(SHAPES)),
    help="What it starts from: " + "; ".join(f"{name}, {shape.summary}" for name, shape in SHAPES.items()) + ".",
)
@click.option("--licence", "--license", type=click.Choice([*LICENCES, NO_LICENCE]), help="The distribution's licence.")
@click.option("--author", metavar="TEXT", help="Who writes it, for its metadata and its licence.")
@click.option("--email", metavar="ADDRESS", help="The author's address, for its metadata.")
@click.option(
    "--local", is_flag=True, help="Write a folder in the bindings folder, found at once, and no distribution."
)
@click.option(
    "--into",
    metavar="DIR",
    help="Where to make the new folder: here by default; with --local, in the bindings folder of the configuration.",
)
def new_binding(
    name: str,
    shape: str | None,
    licence: str | None,
    author: str | None,
    email: str | None,
    local: bool,
    into: str | None,
) -> None:
    """Write a new binding called NAME: a package to install, to change and to publish.

    It works as it is written: it installs, answers, and passes its own tests, which are lollms-core's conformance kit
    and some of its own. At a terminal you are asked for what is not given.
    """
    from lollms_core.scaffold import Names, distribution_files, folder_files, write_tree
    from lollms_core.scaffold.writing import check_free

    names = Names.of(name)
    if into is not None and not Path(into).is_dir():
        raise click.UsageError(f"--into: there is no folder {into}")
    manager = _manager(into if local else None)
    _check_not_installed(manager, names)
    if local:
        _refuse_for_local(licence=licence, author=author, email=email)
        folder = manager.llm_bindings_dir / names.name
    else:
        folder = Path(into or "") / names.distribution
    check_free(folder)
    author, email = _author(author, email)

    shape = shape or _asked("shape", {name: shape.summary for name, shape in SHAPES.items()})
    if local:
        files = folder_files(names, shape)
    else:
        licence = licence or _asked("licence", dict.fromkeys((*LICENCES, NO_LICENCE), ""))
        files = distribution_files(names, shape, None if licence == NO_LICENCE else licence, author, email)
    try:
        written = write_tree(folder, files)
    except FileExistsError:
        raise
    except OSError as exc:
        raise click.ClickException(f"{folder} can't be written: {exc.strerror or exc}") from exc
    needs, stand_in = SHAPES[shape].requires, SHAPES[shape].stand_in
    steps = _local_steps(names, into, folder, needs, stand_in) if local else _steps(names, folder, stand_in)
    _tell(written, steps)


def _manager(bindings_dir: str | None) -> LollmsLLMBindingManager:
    """What is installed, and where the folders of bindings are, as for every command."""
    from lollms_core.cli.managing import new_manager

    return new_manager(bindings_dir)


def _check_not_installed(manager: LollmsLLMBindingManager, names: Names) -> None:
    for record in manager.records():
        if record.source == "entry point" and record.name.replace("-", "_") == names.name:
            raise click.ClickException(f"the name {names.name!r} is taken by {record.origin}, which is installed")


def _refuse_for_local(**given: str | None) -> None:
    for option, value in given.items():
        if value is not None:
            raise click.UsageError(f"--{option} is for a distribution; a folder written with --local has none")


def _author(author: str | None, email: str | None) -> tuple[str | None, str | None]:
    """Both as they go into metadata: on one line."""
    if author is not None:
        author = one_line(author)
        if not author:
            raise click.UsageError("--author must not be empty")
    if email is not None and not re.fullmatch(r"[^@\s<>\"]+@[^@\s<>\"]+", email):
        raise click.UsageError(f"--email: {email} is no address")
    return author, email


def _asked(what: str, choices: Mapping[str, str]) -> str:
    """What the user chooses at a terminal, from names and what each is; elsewhere the default, which is said."""
    default = DEFAULTS[what]
    if _at_terminal():
        for name, meaning in choices.items():
            if meaning:
                click.echo(f"  {name:15}{meaning}", err=True)
        choice: str = click.prompt(what.capitalize(), type=click.Choice(list(choices)), default=default, err=True)
        return choice
    others = ", ".join(choice for choice in choices if choice != default)
    say(f"--{what} is not given: taking {default}; there are also {others}")
    return default


def _at_terminal() -> bool:
    return sys.stdin is not None and sys.stdin.isatty()


def _steps(names: Names, folder: Path, stand_in: bool) -> list[str]:
    activate = r".venv\Scripts\activate" if os.name == "nt" else ". .venv/bin/activate"
    return [
        f"cd {shlex.quote(str(folder))} && python -m venv .venv && {activate}",
        'pip install -e ".[test]" && pytest',
        _STAND_IN.format("tests/dialect.py") if stand_in else f'lollms generate -b {names.name} "hello"',
    ]


def _local_steps(names: Names, into: str | None, folder: Path, requires: Sequence[str], stand_in: bool) -> list[str]:
    place = "" if into is None else f" --bindings-dir {shlex.quote(into)}"
    needs = " ".join(f'"{need}"' for need in ("lollms-core[testing]", *requires))
    tests = folder / "tests"
    ask = f'lollms generate -b {names.name} "hello"{place}'
    return [
        *([] if stand_in else [ask]),
        f"pip install {needs} && pytest {shlex.quote(str(tests))}",
        *([_STAND_IN.format(shlex.quote(str(tests / "dialect.py")))] if stand_in else []),
    ]


def _tell(written: Sequence[Path], steps: Sequence[str]) -> None:
    lines = [*map(str, written), "", "Next:", *(f"  {step}" for step in steps)]
    standard_output().write("\n".join(lines) + "\n")
