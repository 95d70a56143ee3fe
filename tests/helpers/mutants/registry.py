"""The mutants by the check that has to find them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["MUTANTS", "mutant"]

MUTANTS: dict[str, list[Callable[..., Any]]] = {}
"""The mutants of each check."""


def mutant(check: str) -> Callable[[Any], Any]:
    """Register a binding that `check` has to find."""

    def register(made: Any) -> Any:
        MUTANTS.setdefault(check, []).append(made)
        return made

    return register
