"""What the fixture ``scripted`` of :mod:`lollms_core.testing.plugin` gives, without pytest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from typing import Any

from lollms_core.testing.script import Answer
from lollms_core.testing.scripted import ScriptedBinding
from lollms_core.testing.scripted_manager import ScriptedManager

__all__ = ["Scripts"]


class Scripts:
    """What the fixture ``scripted`` gives: it makes scripted bindings, and closes them when the test is over.

    A test that passes fails after all if answers were left, or if more was asked than there are.
    """

    def __init__(self) -> None:
        self._made: list[tuple[ScriptedBinding, bool]] = []
        self._ending = ExitStack()

    def __call__(
        self, answers: Iterable[Answer] = (), *, allow_unused: bool = False, **keywords: Any
    ) -> ScriptedBinding:
        """A scripted binding; keywords as for :class:`~lollms_core.testing.ScriptedBinding`.

        Args:
            answers: the script.
            allow_unused: whether answers may be left when the test is over.
            **keywords: the binding's.
        """
        binding = ScriptedBinding(answers, **keywords)
        self._ending.callback(binding.close)
        self._made.append((binding, not allow_unused))
        return binding

    def manager(
        self,
        bindings: Mapping[str, ScriptedBinding | Iterable[Answer]],
        *,
        hooks: Iterable[object] = (),
        everywhere: bool = False,
        allow_unused: bool = False,
    ) -> ScriptedManager:
        """A scripted manager; `bindings` and `hooks` as for :class:`~lollms_core.testing.ScriptedManager`.

        Args:
            bindings: scripted bindings, or the answers of their scripts, by name.
            hooks: objects or modules with hook implementations.
            everywhere: whether all managers have these bindings until the test is over.
            allow_unused: whether answers of scripts that are given as such may be left.
        """
        made = {
            name: given if isinstance(given, ScriptedBinding) else self(given, allow_unused=allow_unused)
            for name, given in bindings.items()
        }
        manager = ScriptedManager(made, hooks=hooks)
        self._ending.callback(_close_all, manager)
        if everywhere:
            self._ending.enter_context(manager.everywhere())
        return manager

    def check(self) -> None:
        """Whether the scripts were followed.

        Raises:
            AssertionError: one was not.
        """
        for binding, unused in self._made:
            binding.assert_followed(unused=unused)

    def close(self) -> None:
        """Close all that was made."""
        self._ending.close()


def _close_all(manager: ScriptedManager) -> None:
    for opening in manager.opened:
        opening.binding.close()
