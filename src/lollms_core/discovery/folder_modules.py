"""Importing a folder of the bindings directory under a private name.

Nothing goes on ``sys.path``. One finder on ``sys.meta_path`` answers for the private names alone, so a
folder called ``json`` shadows nobody, two managers do not meet, and relative imports work for as long as
the process lives. The modules are compiled from their source each time: no ``__pycache__`` in the user's
folder, and no stale one either.
"""

from __future__ import annotations

import importlib.util
import itertools
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from lollms_core.discovery.directory import python_files, unsafe
from lollms_core.discovery.legacy import LegacyFolder, is_mentioned

__all__ = ["PREFIX", "forget_folder", "private_name", "register_folder"]

PREFIX = "_lollms_folder_"

_numbers = itertools.count(1)


class _Registered:
    """A folder that may be imported."""

    def __init__(self, name: str, path: Path, root: Path) -> None:
        self.path = path
        self.root = root
        # One mention in one module is enough: what a legacy module asks for may come through its neighbour.
        self.legacy = LegacyFolder(name, path) if any(map(is_mentioned, python_files(path))) else None
        self.builtins = self.legacy.builtins if self.legacy is not None else None


_folders: dict[str, _Registered] = {}


def private_name(folder: str) -> str:
    """A module name for `folder` that no other module has or will have."""
    return f"{PREFIX}{next(_numbers)}_{folder}"


def register_folder(name: str, path: Path, directory: Path) -> LegacyFolder | None:
    """Make `path` in the bindings directory `directory` importable as `name`.

    Returns:
        What is known of a folder written for lollms_client; None for others.
    """
    registered = _folders.setdefault(name, _Registered(name, path, directory.resolve()))
    if registered.legacy is not None:
        registered.legacy.open()
    if not any(isinstance(finder, _FolderFinder) for finder in sys.meta_path):
        # In front of the finder for paths, which would give the submodules its own loader.
        sys.meta_path.insert(0, _FolderFinder())
    return registered.legacy


def forget_folder(name: str) -> None:
    """Undo :func:`register_folder`; modules that are loaded stay, but import no further ones."""
    registered = _folders.pop(name, None)
    if registered is not None and registered.legacy is not None:
        registered.legacy.close()


class _FolderFinder:
    """Finds the private names, and nothing else."""

    @staticmethod
    def find_spec(
        fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not fullname.startswith(PREFIX):
            return None
        package, _, submodule = fullname.partition(".")
        folder = _folders.get(package)
        if folder is None:
            return None
        if submodule:
            spec = PathFinder.find_spec(fullname, path, target)
        else:
            spec = importlib.util.spec_from_file_location(
                fullname, folder.path / "__init__.py", submodule_search_locations=[str(folder.path)]
            )
        if spec is None:
            return None
        for place in (spec.origin, *(spec.submodule_search_locations or ())):
            if place is not None and (reason := unsafe(Path(place), folder.root)) is not None:
                raise ImportError(f"refused: {reason}", name=fullname, path=place)
        if isinstance(spec.loader, SourceFileLoader):
            spec.loader = _FolderLoader(fullname, spec.loader.path, folder.builtins)
            spec.cached = None
        return spec


class _FolderLoader(SourceFileLoader):
    """Runs a module from its source, with builtins of its own where the folder needs them."""

    def __init__(self, fullname: str, path: str, builtins: dict[str, Any] | None) -> None:
        super().__init__(fullname, path)
        self._builtins = builtins

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)

    def exec_module(self, module: ModuleType) -> None:
        if self._builtins is not None:
            module.__dict__["__builtins__"] = self._builtins
        super().exec_module(module)
