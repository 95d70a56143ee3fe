"""llama-cpp-python's modules of C functions, without the package around them.

Importing ``llama_cpp`` imports its class ``Llama``, and with it numpy, Jinja and a cache on disk: 0.1 s instead of 0.01
and 22 MiB (0.3.36), none of which is wanted here. Python imports a package before any module in it, so the modules of
the functions are made from their files here, and get each other from here when they import each other. Nothing of this
is seen from outside: ``import llama_cpp`` elsewhere finds the whole package, and what has been imported there is used
here.
"""

from __future__ import annotations

import builtins
import importlib.util
import logging
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, Final

__all__ = ["functions_of"]

_log = logging.getLogger(__name__)

_PACKAGE: Final = "llama_cpp"


def functions_of(name: str) -> ModuleType:
    """The module ``llama_cpp.<name>``; not to be called by two threads at once.

    Raises:
        ImportError, OSError, RuntimeError: there is none, or its shared library cannot be loaded.
    """
    full = f"{_PACKAGE}.{name}"
    # All of them from the same place: a structure of one copy is none to a function of another.
    if f"{_PACKAGE}.llama_cpp" in sys.modules and not _alone.made:
        return importlib.import_module(full)
    try:
        return _alone.module(name)
    except (AttributeError, ImportError) as error:
        if _alone.made:
            raise ImportError(f"{full}: {error}", name=full) from error
        # Not there, or of a release whose modules want more of their package.
        _log.debug("%s is imported with all of its package: %s", full, error)
        return importlib.import_module(full)


class _Alone:
    """The package's modules, made one by one; what is in its ``__init__`` is missing.

    Attributes:
        made: those that there are, by their names in the package.
    """

    def __init__(self) -> None:
        self._package = ModuleType(_PACKAGE)
        self.made: dict[str, ModuleType] = {}
        self._builtins = {**vars(builtins), "__import__": self._import}

    def module(self, name: str) -> ModuleType:
        """The module of that name in the package.

        Raises:
            ImportError: there is none.
        """
        if name not in self.made:
            whole = importlib.util.find_spec(_PACKAGE)
            places = whole.submodule_search_locations if whole is not None else None
            file = next((file for place in places or () if (file := Path(place, f"{name}.py")).is_file()), None)
            spec = importlib.util.spec_from_file_location(f"{_PACKAGE}.{name}", file) if file is not None else None
            if spec is None or spec.loader is None:
                raise ModuleNotFoundError(f"No module named '{_PACKAGE}.{name}'", name=f"{_PACKAGE}.{name}")
            module = importlib.util.module_from_spec(spec)
            vars(module)["__builtins__"] = self._builtins
            self.made[name] = module
            setattr(self._package, name, module)
            try:
                spec.loader.exec_module(module)
            except BaseException:
                del self.made[name]
                raise
        return self.made[name]

    def _import(
        self,
        name: str,
        names: dict[str, Any] | None = None,
        local: dict[str, Any] | None = None,
        wanted: tuple[str, ...] | None = (),
        level: int = 0,
    ) -> Any:
        """``__import__`` of the modules made here."""
        full = f"{_PACKAGE}.{name}".rstrip(".") if level else name
        package, _, inner = full.partition(".")
        if package != _PACKAGE:
            return builtins.__import__(name, names, local, wanted or (), level)
        if inner:
            made = self.module(inner)
            return made if wanted else self._package
        for each in wanted or ():
            self.module(each)
        return self._package


_alone: Final = _Alone()
