"""These tests look at built wheels, so they are collected only where `nox -s packaging` has set the scene."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

collect_ignore_glob = [] if "LOLLMS_PACKAGING" in os.environ else ["test_*.py"]


@dataclass(frozen=True)
class Scene:
    """What the packaging session prepared."""

    archives: Path
    """Every sdist, and the wheels made from them."""
    wheels_from_tree: Path
    """The same wheels, made from the checkout."""
    core_alone: Path
    """The programs of an environment that has nothing but core's wheel."""
    author: Path
    """The programs of an environment to write bindings in: core's wheel with its kit, and lollms-http's."""
    checkout: Path
    """The repository, which no test may import from."""
    example: Path
    """The example's sdist and the wheel made from it."""
    example_later: Path
    """The wheel of a later version of the example."""
    with_example: Path
    """The programs of an environment with core's wheel, for the example to be installed into."""

    def wheel(self, distribution: str, folder: Path | None = None) -> Path:
        """The wheel of a distribution."""
        (found,) = (folder or self.archives).glob(f"{distribution.replace('-', '_')}-*.whl")
        return found

    def sdist(self, distribution: str) -> Path:
        """The source archive of a distribution."""
        (found,) = self.archives.glob(f"{distribution.replace('-', '_')}-*.tar.gz")
        return found


@pytest.fixture(scope="session")
def scene() -> Scene:
    parts = ("FROM_TREE", "CORE_ALONE", "AUTHOR", "CHECKOUT", "EXAMPLE", "EXAMPLE_LATER", "WITH_EXAMPLE")
    names = ("LOLLMS_PACKAGING", *(f"LOLLMS_PACKAGING_{part}" for part in parts))
    return Scene(*(Path(os.environ[name]) for name in names))
