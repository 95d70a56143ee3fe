"""One place that a name comes from: its record, and how its class is loaded."""

from __future__ import annotations

import importlib
import threading
from abc import ABC, abstractmethod
from dataclasses import replace
from functools import reduce
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from lollms_core.discovery.compatibility import api_problem
from lollms_core.discovery.directory import fingerprint
from lollms_core.discovery.importing import (
    being_imported,
    forget_modules,
    one_at_a_time,
    undone_if_it_fails,
)
from lollms_core.discovery.records import BindingRecord, State
from lollms_core.discovery.reports import one_line
from lollms_core.errors import BindingBlocked, BindingLoadError

if TYPE_CHECKING:
    from lollms_core.binding import LollmsLLMBinding
    from lollms_core.discovery.legacy import LegacyFolder

__all__ = ["Candidate", "FromEntryPoint", "FromFolder"]


class _WrongPlugin(Exception):
    """What was imported is not a binding."""


class Candidate(ABC):
    """A binding that may be loaded: its class is imported on first use, once, by whichever thread comes first.

    Attributes:
        record: what is known of it; replaced when its state changes.
        cls: its class once it is loaded.
    """

    def __init__(self, record: BindingRecord) -> None:
        self.record = record
        self.cls: type[LollmsLLMBinding] | None = None
        self._cause: BaseException | None = None
        self._lock = threading.Lock()

    def load(self) -> type[LollmsLLMBinding]:
        """The class, imported if it is not yet.

        Raises:
            BindingBlocked: the operator's lists or the state of its folder forbid it.
            BindingLoadError: importing it failed, now or before.
        """
        if self.cls is None:
            with one_at_a_time(self._lock):
                if self.cls is None:
                    self._refuse()
                    self._load()
        assert self.cls is not None
        return self.cls

    def refused(self, state: State, error: str) -> None:
        """Record that it cannot be used."""
        self.record = replace(self.record, state=state, error=error)

    def same_as(self, other: Candidate) -> bool:
        """Whether `other`, found later, is this one unchanged, so that what is loaded can stay."""
        mine = replace(self.record, state="found", error=None)
        return type(self) is type(other) and mine == other.record

    @abstractmethod
    def _find(self) -> Any:
        """Import what the record names; any exception may come out."""

    @abstractmethod
    def _imported_now(self) -> bool:
        """Whether this is asked for while it is itself being imported, in this thread or another."""

    def _reason(self, exc: BaseException) -> str:
        """Why it could not be loaded, in one line."""
        return one_line(exc).removeprefix("_WrongPlugin: ")

    def _refuse(self) -> None:
        record = self.record
        if record.state == "blocked":
            raise BindingBlocked(f"the binding {record.name!r} ({record.origin}) is blocked: {record.error}")
        if record.state in {"failed", "incompatible", "shadowed"}:
            doing = "could not be loaded" if record.state == "failed" else "cannot be used"
            raise BindingLoadError(
                f"the binding {record.name!r} ({record.origin}) {doing}: {record.error}"
            ) from self._cause

    def _load(self) -> None:
        unfinished = self._imported_now()
        try:
            cls = self._find()
        except KeyboardInterrupt:
            raise
        except BaseException as exc:
            if self.cls is not None:
                return  # another thread, which did not wait either, has it
            if unfinished:
                # Not its fault, and not final: its own import, or one that it waits for, asks for it too early.
                raise BindingLoadError(
                    f"the binding {self.record.name!r} ({self.record.origin}) is asked for while it is still "
                    f"being imported: {one_line(exc)}"
                ) from exc
            self._cause = None if isinstance(exc, _WrongPlugin) else exc
            self.refused("failed", self._reason(exc))
            self._refuse()
        else:
            self.cls = cls
            self.record = replace(self.record, state="loaded", error=None)


class FromEntryPoint(Candidate):
    """An installed one."""

    def _find(self) -> Any:
        assert self.record.module is not None
        return undone_if_it_fails(self.record.module, self._use)

    def _imported_now(self) -> bool:
        return being_imported(self.record.module or "")

    def _use(self, name: str) -> type[LollmsLLMBinding]:
        module = importlib.import_module(name)
        if self.record.attribute is None:
            return _binding_class(module)
        try:
            found: Any = reduce(getattr, self.record.attribute.split("."), module)
        except AttributeError as exc:
            if self.record.attribute in str(exc):
                raise _WrongPlugin(f"the module {name} has no {self.record.attribute}") from exc
            raise
        if isinstance(found, ModuleType):
            return _binding_class(found)
        return _checked(found, f"{name}:{self.record.attribute}")


class FromFolder(Candidate):
    """A folder of the bindings directory."""

    def __init__(self, record: BindingRecord, directory: Path) -> None:
        from lollms_core.discovery.folder_modules import private_name

        super().__init__(record)
        self._directory = directory
        self._module = private_name(record.name)
        self._fingerprint: object = None
        self._legacy: LegacyFolder | None = None

    def same_as(self, other: Candidate) -> bool:
        if not (super().same_as(other) and self._fingerprint == fingerprint(Path(self.record.path or ""))):
            return False
        # A folder may have loaded without something that it looks for once, when it is imported.
        return self._legacy is None or not self._legacy.requirements.some_arrived()

    def _reason(self, exc: BaseException) -> str:
        if self._legacy is None:
            return super()._reason(exc)
        self._legacy.requirements.note(exc)
        return self._legacy.explain(super()._reason(exc))

    def _find(self) -> Any:
        from lollms_core.discovery.folder_modules import forget_folder, register_folder

        assert self.record.path is not None
        path = Path(self.record.path)
        self._fingerprint = fingerprint(path)
        self._legacy = register_folder(self._module, path, self._directory)
        try:
            module = importlib.import_module(self._module)
            problem = api_problem(getattr(module, "LOLLMS_API", 1))
            if problem is not None:
                raise _WrongPlugin(problem)
            return _binding_class(module, "its __init__.py")
        except BaseException:
            if not being_imported(self._module):
                forget_modules(self._module)
                forget_folder(self._module)
            raise

    def _imported_now(self) -> bool:
        return being_imported(self._module)


def _binding_class(module: ModuleType, shown: str | None = None) -> type[LollmsLLMBinding]:
    """The class that the module's ``BindingName`` names."""
    shown = shown or f"the module {module.__name__}"
    name = getattr(module, "BindingName", None)
    if not isinstance(name, str):
        raise _WrongPlugin(f'{shown} has no BindingName = "ClassName"')
    if not hasattr(module, name):
        raise _WrongPlugin(f"{shown} has no {name}, which its BindingName names")
    return _checked(getattr(module, name), name)


def _checked(found: Any, shown: str) -> type[LollmsLLMBinding]:
    from lollms_core.binding import LollmsLLMBinding

    if not isinstance(found, type):
        raise _WrongPlugin(f"{shown} is no class but a {type(found).__name__}")
    if not issubclass(found, LollmsLLMBinding):
        raise _WrongPlugin(f"{shown} is no subclass of lollms_core.LollmsLLMBinding")
    missing = sorted(getattr(found, "__abstractmethods__", ()))
    if missing:
        raise _WrongPlugin(f"{shown} lacks {', '.join(missing)}")
    return found
