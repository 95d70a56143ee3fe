"""The bindings directory: one folder a binding, looked at without running it."""

from __future__ import annotations

import keyword
import logging
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lollms_core.discovery.compatibility import api_problem

__all__ = ["Folder", "fingerprint", "python_files", "scan_directory", "unsafe"]

_log = logging.getLogger(__name__)

MAX_SOURCE_BYTES = 4 * 1024 * 1024
"""A larger ``__init__.py`` is not looked into before it is loaded (4 MiB)."""

DESCRIPTION = "description.yaml"

MAX_FILES = 1000
"""Most modules of one folder that are looked at."""


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder with an ``__init__.py``.

    Attributes:
        name: the folder's and the binding's name.
        path: where it is.
        attribute: the value of ``BindingName`` if it stands there as a plain string, else None.
        description_file: its ``description.yaml``, None if it has none.
        blocked: why it must not be run, else None.
        incompatible: what is wrong with its ``LOLLMS_API``, else None.
    """

    name: str
    path: Path
    attribute: str | None = None
    description_file: Path | None = None
    blocked: str | None = None
    incompatible: str | None = None


def scan_directory(directory: Path) -> list[Folder]:
    """The folders in `directory`, sorted by name; none if it is missing or cannot be read.

    Files, folders without ``__init__.py``, and names that begin with a dot or an underscore are passed over.
    """
    try:
        names = sorted(entry.name for entry in os.scandir(directory))
    except FileNotFoundError:
        return []
    except OSError as exc:
        _log.warning("the bindings directory %s cannot be read: %s", directory, exc.strerror)
        return []
    root = Path(os.path.realpath(directory))
    exposed = None if not names else _writable_by_all(root)
    found = []
    for name in names:
        if not name.startswith((".", "_")):
            try:
                found += _looked_at(directory / name, root, exposed)
            except OSError as exc:
                found.append(Folder(name, directory / name, blocked=f"it cannot be read: {exc.strerror}"))
    return found


def unsafe(path: Path, root: Path) -> str | None:
    """Why the file or folder `path` must not be run, None if it may.

    Args:
        path: an existing file or folder.
        root: the real path of the bindings directory.
    """
    real = Path(os.path.realpath(path))
    if not real.is_relative_to(root):
        return f"{path.name} is a link out of the bindings directory"
    return _writable_by_all(real)


def python_files(folder: Path) -> list[Path]:
    """The folder's modules, at most :data:`MAX_FILES`, in a fixed order."""
    found: list[Path] = []
    for base, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name != "__pycache__")
        found += [Path(base, name) for name in sorted(files) if name.endswith(".py")]
        if len(found) >= MAX_FILES:
            break
    return found[:MAX_FILES]


def fingerprint(folder: Path) -> tuple[tuple[str, int, int], ...]:
    """Changes when a module of the folder does."""
    parts = []
    for path in python_files(folder):
        try:
            status = path.stat()
        except OSError:
            parts.append((str(path), 0, -1))
        else:
            parts.append((str(path), status.st_mtime_ns, status.st_size))
    return tuple(parts)


def _looked_at(path: Path, root: Path, exposed: str | None) -> list[Folder]:
    source = path / "__init__.py"
    if not source.is_file():
        return []
    blocked = exposed or unsafe(path, root) or unsafe(source, root)
    if not (path.name.isidentifier() and not keyword.iskeyword(path.name)):
        blocked = "its name is not a plain identifier"
    if blocked:
        return [Folder(path.name, path, blocked=blocked)]
    constants = _constants(source)
    attribute = constants.get("BindingName")
    description = path / DESCRIPTION
    described = description.is_file() and unsafe(description, root) is None
    return [
        Folder(
            path.name,
            path,
            attribute=attribute if isinstance(attribute, str) else None,
            description_file=description if described else None,
            incompatible=api_problem(constants["LOLLMS_API"]) if "LOLLMS_API" in constants else None,
        )
    ]


def _writable_by_all(path: Path) -> str | None:
    if os.name == "nt":  # the mode bits say nothing there
        return None
    return f"everybody may write {path.name}" if path.stat().st_mode & stat.S_IWOTH else None


def _constants(source: Path) -> dict[str, Any]:
    """BindingName and LOLLMS_API as far as they are constants; a file that is no Python has none."""
    import ast

    if source.stat().st_size > MAX_SOURCE_BYTES:
        return {}
    try:
        tree = ast.parse(source.read_bytes(), str(source))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return {}  # loading it tells what is wrong with it
    found: dict[str, Any] = {}
    for statement in tree.body:
        targets: list[ast.expr] = []
        if isinstance(statement, ast.Assign):
            targets = statement.targets
        elif isinstance(statement, ast.AnnAssign):
            targets = [statement.target]
        for target in targets:
            if isinstance(target, ast.Name) and target.id in {"BindingName", "LOLLMS_API"}:
                value = getattr(statement, "value", None)
                if isinstance(value, ast.Constant):
                    found[target.id] = value.value
                else:
                    found.pop(target.id, None)
    return found
