"""``--tool module:function``: Python functions of the user's that a model may call."""

from __future__ import annotations

import functools
import importlib
import inspect
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from lollms_core.tools import Tool

__all__ = ["function_to_call", "functions_to_call"]


@contextmanager
def functions_to_call(names: Sequence[str]) -> Iterator[list[Tool]]:
    """The functions of these ``module:function`` names as tools, from the current folder or installed.

    Raises:
        click.UsageError: one of them is none, or cannot be had; the message says which and why.
    """
    tools = [function_to_call(name) for name in names]
    folder = os.getcwd()  # noqa: PTH109 - as an entry of sys.path
    # Last, for what they import later, so that a file of this folder does not stand in for a package that a binding
    # imports.
    sys.path.append(folder)
    try:
        yield tools
    finally:
        if folder in sys.path:
            del sys.path[len(sys.path) - 1 - sys.path[::-1].index(folder)]


def function_to_call(name: str) -> Tool:
    """One such function.

    Raises:
        click.UsageError: it is none, or cannot be had.
    """
    folder = os.getcwd()  # noqa: PTH109 - as above
    # First while it is imported, as for a program of the user's.
    sys.path.insert(0, folder)
    importlib.invalidate_caches()
    try:
        return _tool(name)
    finally:
        sys.path.remove(folder)


def _tool(name: str) -> Tool:
    from lollms_core.tools import Tool

    function = _named(name)
    try:
        # What a coroutine function does is awaited here: the command has no event loop of its own.
        tool = Tool.of(_awaited(function) if inspect.iscoroutinefunction(function) else function)
    except (TypeError, ValueError) as exc:
        raise click.UsageError(f"--tool {name}: {exc}") from None
    if tool.function is None:
        raise click.UsageError(f"--tool {name}: it defines a tool, and is no function that could be called")
    return tool


def _named(name: str) -> Any:
    module_name, colon, path = name.partition(":")
    if not (module_name and colon and path):
        raise click.UsageError(f"--tool takes MODULE:FUNCTION, not {name!r}")
    found: Any = _imported(name, module_name)
    for part in path.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            from lollms_core.errors import close_names

            close = close_names(part, [known for known in dir(found) if not known.startswith("_")])
            raise click.UsageError(f"--tool {name}: {module_name} has no {part!r}.{close}") from None
    return found


def _imported(name: str, module_name: str) -> Any:
    from lollms_core.discovery.reports import one_line

    try:
        return importlib.import_module(module_name)
    except KeyboardInterrupt:
        raise
    except BaseException as exc:  # noqa: BLE001 - whatever a module of the user's raises, here it is one line
        absent = isinstance(exc, ModuleNotFoundError) and exc.name in {module_name, module_name.partition(".")[0]}
        why = "there is no such module here, and none is installed" if absent else one_line(exc)
        raise click.UsageError(f"--tool {name}: {module_name} cannot be imported: {why}") from None


def _awaited(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        import asyncio

        return asyncio.run(function(*args, **kwargs))

    return call
