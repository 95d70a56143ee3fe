"""A Python process that finds the same packages as this one, and runs one module's ``main``."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence

from lollms_core import CapabilityNotSupported

__all__ = ["environment", "python_command"]

# With -m, the module would have to be found before the child knows where this process has found it. Ctrl-C in a
# terminal goes to all processes there: what it is to end, the parent tells.
_BEGIN = (
    "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); "
    "import importlib, json, sys; sys.path[:] = json.loads(sys.argv.pop(1)); "
    "importlib.import_module(sys.argv.pop(1)).main(sys.argv[1:])"
)


def python_command(module: str, arguments: Sequence[str] = ()) -> list[str]:
    """The command of a process that calls ``module.main(arguments)``; the user's own ``__main__`` is not run there.

    Raises:
        CapabilityNotSupported: this program has no Python interpreter that could be started.
    """
    if not sys.executable or getattr(sys, "frozen", False):
        raise CapabilityNotSupported(
            "a process of its own needs a Python interpreter to run it, and sys.executable names none in this program"
        )
    flags = ["-I"] if sys.flags.isolated else []
    if not flags:
        flags += ["-E"] if sys.flags.ignore_environment else []
        flags += ["-s"] if sys.flags.no_user_site else []
    entries: list[object] = [*sys.path]  # some programs put other things there, which importing passes over
    paths = [entry for entry in entries if isinstance(entry, str)]
    return [sys.executable, *flags, "-c", _BEGIN, json.dumps(paths), module, *arguments]


def environment() -> dict[str, str]:
    """The child's environment: ours, but a process that dies by ggml's will is not to call a debugger first."""
    return {"GGML_NO_BACKTRACE": "1", **os.environ}
