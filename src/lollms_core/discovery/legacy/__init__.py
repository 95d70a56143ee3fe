"""Folders written for lollms_client, without lollms_client.

The modules of such a folder run with builtins of their own, whose ``__import__`` gives our stand-ins for a
few exact names and does all else as usual. So late imports inside functions work too, and no other module
and no other thread sees the stand-ins: neither ``sys.modules`` nor ``sys.meta_path`` knows the names.
"""

from __future__ import annotations

import builtins
import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

__all__ = ["STAND_INS", "is_mentioned", "make_builtins"]

_SHIMS = f"{__name__}.shims"

STAND_INS: dict[str, str] = {
    "lollms_client": f"{_SHIMS}.lollms_client",
    "lollms_client.lollms_llm_binding": f"{_SHIMS}.lollms_client.lollms_llm_binding",
    "lollms_client.lollms_types": f"{_SHIMS}.lollms_client.lollms_types",
}
"""What a legacy folder imports, and the module of ours that it gets. A dotted name needs its packages here too."""

_MARK = b"lollms_client"
_MAX_BYTES = 4 * 1024 * 1024


def is_mentioned(module: Path) -> bool:
    """Whether the module at this path speaks of lollms_client, in its first 4 MiB; one that cannot be read does not."""
    try:
        # Python imports regular files alone; and opening a pipe of that name would wait for its writer.
        if not module.is_file():
            return False
        with module.open("rb") as file:
            return _MARK in file.read(_MAX_BYTES)
    except OSError:
        return False


def make_builtins() -> dict[str, Any]:
    """The builtins for one folder's modules."""
    return {**vars(builtins), "__import__": _import}


def _import(
    name: str,
    globals: Mapping[str, object] | None = None,  # noqa: A002 - the names that __import__ has
    locals: Mapping[str, object] | None = None,  # noqa: A002
    fromlist: Sequence[str] | None = (),
    level: int = 0,
) -> ModuleType:
    if level or name not in STAND_INS:
        return builtins.__import__(name, globals, locals, fromlist or (), level)
    module = importlib.import_module(STAND_INS[name])
    if fromlist:
        return module
    # `import a.b` binds a, whose attribute b the statement then uses.
    return importlib.import_module(STAND_INS[name.partition(".")[0]])
