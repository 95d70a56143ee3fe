"""This checkout: its distributions, and what is installed for a task."""

from __future__ import annotations

from pathlib import Path

import nox

__all__ = ["EXAMPLES", "PLUGINS", "PROJECT", "PYTHONS", "ROOT", "editable", "group"]

ROOT = Path(__file__).parents[1]
PROJECT = nox.project.load_toml(ROOT / "pyproject.toml")
PYTHONS = nox.project.python_versions(PROJECT)
PLUGINS = sorted(path.parent for path in ROOT.glob("plugins/*/pyproject.toml"))
# Distributions of nobody's in particular: they stand for what third parties publish.
EXAMPLES = sorted(path.parent for path in ROOT.glob("examples/*/pyproject.toml"))


def group(name: str) -> list[str]:
    """The requirements of one dependency group of pyproject.toml."""
    return list(nox.project.dependency_groups(PROJECT, name))


def editable(projects: list[Path]) -> list[str]:
    """What pip is told to install these projects where they lie."""
    return [part for project in projects for part in ("-e", str(project))]
