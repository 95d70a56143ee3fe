"""Commands of other distributions, from the entry-point group ``lollms.commands``."""

from __future__ import annotations

import importlib
from operator import attrgetter
from typing import TYPE_CHECKING

import click

from lollms_core.cli.options import no_plugins
from lollms_core.discovery.lists import Lists
from lollms_core.discovery.reports import one_line

if TYPE_CHECKING:
    from lollms_core.discovery.entry_points import Declared

__all__ = ["GROUP", "commands", "load"]

GROUP = "lollms.commands"


def _lists() -> Lists:
    return Lists.read(() if no_plugins() else None)


def commands(*, blocked: bool = False) -> dict[str, Declared]:
    """The commands that are declared, by name, read from metadata alone; without those that are blocked, or just those.

    Of a name that two distributions declare, the first in alphabetical order of distributions has it.
    """
    from lollms_core.discovery.entry_points import scan

    lists = _lists()
    found: dict[str, Declared] = {}
    for declared in scan({GROUP}).group(GROUP):
        if (lists.reason(declared.name, declared.distribution) is not None) == blocked:
            found.setdefault(declared.name, declared)
    return found


def load(name: str) -> click.Command | None:
    """The command `name`, imported now; None if nobody declares it.

    Raises:
        click.ClickException: it is declared and can't be had, in one line that names the distribution.
    """
    declared = commands().get(name)
    if declared is None:
        declared = commands(blocked=True).get(name)
        if declared is None:
            return None
        reason = _lists().reason(name, declared.distribution)
        raise click.ClickException(f"the command {name!r} of {declared.origin} is blocked: {reason}")
    problem = declared.broken or declared.incompatible
    if problem is None and declared.attribute is None:
        problem = "its entry point names no object, only a module"
    if problem is not None:
        raise click.ClickException(f"the command {name!r} of {declared.origin} can't be used: {problem}")
    try:
        command = attrgetter(declared.attribute or "")(importlib.import_module(declared.module))
    except KeyboardInterrupt:
        raise
    except BaseException as exc:
        raise click.ClickException(
            f"the command {name!r} of {declared.origin} can't be loaded: {one_line(exc)}"
        ) from exc
    if not isinstance(command, click.Command):
        raise click.ClickException(
            f"the command {name!r} of {declared.origin} is a {type(command).__name__}, not a click command"
        )
    return command
