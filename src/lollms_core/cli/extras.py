"""Packages that a command needs and lollms-core does not: what is missing is one line with the pip command."""

from __future__ import annotations

import importlib
from types import ModuleType

import click

__all__ = ["CLI", "require"]

CLI = ("rich", "prompt_toolkit", "tomlkit", "keyring")
"""The modules that the extra ``lollms-core[cli]`` brings."""


def require(module: str, extra: str = "lollms-core[cli]") -> ModuleType:
    """The module, imported now.

    Args:
        module: its name, with dots for one inside a package.
        extra: what pip is to install where it is missing.

    Raises:
        click.ClickException: its package is not installed; the line has the command and how to install it.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as exc:
        package = module.partition(".")[0]
        if exc.name != package:
            raise
        context = click.get_current_context(silent=True)
        who = context.command_path if context is not None else "this command"
        raise click.ClickException(f'{who} needs {package}: pip install "{extra}"') from None
