"""Tools of the user's own: functions of modules, named as ``MODULE:FUNCTION``."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from lollms_core.tools import Tool

__all__ = ["load_tool"]


def load_tool(name: str) -> Tool:
    """The function that `name` stands for as a tool; modules of the working directory are found too.

    Raises:
        click.UsageError: there is no such module or function, or it fails when it is imported.
        TypeError, ValueError: it cannot be a tool.
    """
    from lollms_core.tools import Tool

    module_name, colon, path = name.partition(":")
    if not (module_name and colon and path):
        raise click.UsageError(f"a tool is named MODULE:FUNCTION, not {name!r}")
    found: Any = _module(module_name)
    for attribute in path.split("."):
        if not hasattr(found, attribute):
            from lollms_core.errors import close_names

            known = [known for known in vars(found) if not known.startswith("_")]
            raise click.UsageError(f"the tool {name}: there is no {attribute!r}.{close_names(attribute, known)}")
        found = getattr(found, attribute)
    return Tool.of(found)


def _module(name: str) -> Any:
    from lollms_core.discovery.reports import one_line

    try:
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            # `python -m` has the working directory on its path, an installed program has not.
            if error.name != name.partition(".")[0] or str(Path.cwd()) in sys.path:
                raise
            sys.path.append(str(Path.cwd()))
            importlib.invalidate_caches()
            return importlib.import_module(name)
    except (Exception, SystemExit) as error:
        raise click.UsageError(f"the tool's module {name} cannot be imported: {one_line(error)}") from error
