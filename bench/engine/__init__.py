"""The rows of the llama.cpp engine: speed, where its time goes, memory, what it remembers, models on disk."""

from __future__ import annotations

from bench.cases import Case, Kit
from bench.engine.disk import disk_cases
from bench.engine.inside import inside_cases
from bench.engine.remembered import remembered_cases
from bench.engine.speed import speed_cases

__all__ = ["cases"]


def cases(kit: Kit) -> list[Case]:
    """All of them, in the order of the page."""
    return [*speed_cases(kit), *inside_cases(kit), *remembered_cases(kit), *disk_cases(kit)]
