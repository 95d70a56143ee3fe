"""The rows of starting: importing the core, the command line, finding what is installed."""

from __future__ import annotations

from bench.cases import Case, Kit
from bench.start.commands import command_cases
from bench.start.discovery import discovery_cases
from bench.start.imports import import_cases

__all__ = ["cases"]


def cases(kit: Kit) -> list[Case]:
    """All of them, in the order of the page."""
    return [*import_cases(kit), *command_cases(kit), *discovery_cases(kit)]
