"""This checkout as a user has it: installed from wheels, not editable; and a hash of what they are built from."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from bench.processes import ROOT

__all__ = ["ALONE", "WITH_NEEDS", "hash_of_sources"]

_PLUGINS: Final = ROOT / "plugins"

WITH_NEEDS: Final = (
    f"{ROOT}[cli]",
    *(str(_PLUGINS / name) for name in ("lollms-http", "lollms-ollama", "lollms-openai")),
)
"""What is installed with what it needs."""

ALONE: Final = (str(_PLUGINS / "lollms-llamacpp"),)
"""What is only to be found: it does not run where llama-cpp-python is not."""


def hash_of_sources() -> str:
    """The same for two states of the checkout that give the same wheels."""
    found = hashlib.sha256()
    for path in _sources():
        found.update(f"{path.relative_to(ROOT).as_posix()}\0".encode())
        found.update(hashlib.sha256(path.read_bytes()).digest())
    return found.hexdigest()[:12]


def _sources() -> Iterator[Path]:
    """What goes into the wheels, in an order that is always the same."""
    for project in (ROOT, *(Path(place) for place in (*WITH_NEEDS[1:], *ALONE))):
        yield from (path for name in ("pyproject.toml", "README.md") if (path := project / name).is_file())
        files = sorted((project / "src").rglob("*"))
        yield from (path for path in files if path.is_file() and "__pycache__" not in path.parts)
