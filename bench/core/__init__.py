"""The rows of what the core costs: making a binding, middleware, exact tokens."""

from __future__ import annotations

from bench.cases import Case, Kit
from bench.core.costs import cost_cases
from bench.core.tokens import token_cases

__all__ = ["cases"]


def cases(kit: Kit) -> list[Case]:
    """All of them, in the order of the page."""
    return [*cost_cases(kit), *token_cases(kit)]
