"""ScriptedManager: a manager whose bindings are scripted, for the tests of applications that open theirs by name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple, Self

from lollms_core.discovery.candidates import Candidate
from lollms_core.discovery.catalog import Catalog, HookEntries
from lollms_core.discovery.records import BindingRecord
from lollms_core.manager import LollmsLLMBindingManager
from lollms_core.redaction import Hidden
from lollms_core.testing.script import Answer
from lollms_core.testing.scripted import ScriptedBinding, stand_in

__all__ = ["Opening", "ScriptedManager"]


class Opening(NamedTuple):
    """A binding that was opened: its name, the constructor's keywords, and the binding."""

    name: str
    keywords: Mapping[str, Any]
    binding: ScriptedBinding


class ScriptedManager(LollmsLLMBindingManager):
    """A manager that has the given bindings and no others, whatever is installed.

    Each opening gives a new binding that goes on with the script of the given one, and whose requests are among the
    given one's ``requests``. It takes request fields, the five common keywords and, where the given one was made with
    ``like``, what that class takes. Hooks work as with any manager; those of installed distributions are left out.

    Args:
        bindings: scripted bindings, or the answers of their scripts, by name.
        hooks: objects or modules with hook implementations.

    Attributes:
        bindings: the given bindings, by name.
        opened: what was opened, in that order.

    Raises:
        TypeError: what stands for a binding is neither one nor a list of answers.
    """

    def __init__(
        self, bindings: Mapping[str, ScriptedBinding | Iterable[Answer]], *, hooks: Iterable[object] = ()
    ) -> None:
        super().__init__(hooks=hooks, required_hooks=())
        self.opened: list[Opening] = []
        self.bindings: dict[str, ScriptedBinding] = {
            name: given if isinstance(given, ScriptedBinding) else ScriptedBinding(given, name)
            for name, given in bindings.items()
        }

    @contextmanager
    def everywhere(self) -> Iterator[Self]:
        """While it is open, every manager of this process has these bindings and no others; each has its own hooks."""
        real = LollmsLLMBindingManager._found

        # Of the class, so that managers that exist already have them too.
        LollmsLLMBindingManager._found = lambda _: real(self)  # type: ignore[assignment, method-assign]
        try:
            yield self
        finally:
            LollmsLLMBindingManager._found = real  # type: ignore[method-assign]

    def _look(self) -> Catalog:
        candidates: list[Candidate] = [self._candidate_for(name) for name in sorted(self.bindings)]
        return Catalog(candidates, HookEntries(), ())

    def _candidate_for(self, name: str) -> Candidate:
        def opened(keywords: Mapping[str, Any], binding: ScriptedBinding) -> None:
            self.opened.append(Opening(name, Hidden(keywords), binding))

        return _Scripted(name, stand_in(self.bindings[name], name, opened))


class _Scripted(Candidate):
    """A scripted binding in the place of an installed one."""

    def __init__(self, name: str, cls: type[ScriptedBinding]) -> None:
        super().__init__(BindingRecord(name, "entry point", module=cls.__module__, attribute=cls.__name__))
        self._stand_in = cls

    def _find(self) -> type[ScriptedBinding]:
        return self._stand_in

    def _imported_now(self) -> bool:
        return False
