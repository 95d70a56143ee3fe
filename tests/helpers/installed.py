"""Real distributions and binding folders, made in a temporary directory."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from lollms_core.manager import LollmsLLMBindingManager

GROUP = "lollms_test.llm_bindings"
"""The tests' own group: the environment that runs them has real bindings in the usual one."""

BINDING = "from samples import EightMethods\nclass Mine(EightMethods):\n    pass\n"
"""A module with a binding named Mine."""

FOLDER = f"{BINDING}BindingName = 'Mine'\n"
"""The same for a folder's ``__init__.py``."""


class Site:
    """A directory on ``sys.path`` to install into, and a bindings directory beside it."""

    def __init__(self, base: Path) -> None:
        self.path = base / "site"
        self.bindings = base / "llm_bindings"
        self.path.mkdir()

    def distribution(
        self,
        name: str,
        version: str = "1.0",
        *,
        entry_points: Mapping[str, Mapping[str, str]] | bytes | None = None,
        requires: Sequence[str] = (),
        modules: Mapping[str, str] | None = None,
        metadata: bytes | bool = True,
        site: Path | None = None,
    ) -> Path:
        """Install a distribution as pip leaves it; its metadata folder. `entry_points` by group, or raw."""
        site = site or self.path
        info = site / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir(parents=True)
        if metadata is True:
            lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
            lines += [f"Requires-Dist: {requirement}" for requirement in requires]
            (info / "METADATA").write_text("\n".join(lines) + "\n\n", "utf-8")
        elif metadata:
            (info / "METADATA").write_bytes(metadata)
        if isinstance(entry_points, bytes):
            (info / "entry_points.txt").write_bytes(entry_points)
        elif entry_points is not None:
            (info / "entry_points.txt").write_text(_as_text(entry_points), "utf-8")
        for path, source in (modules or {}).items():
            self.module(path, source, site=site)
        return info

    def binding(self, name: str, distribution: str, source: str = BINDING, **more: Any) -> Path:
        """Install `distribution` with the binding `name`, whose class Mine is in a module named as both."""
        module = f"{distribution}_{name}".replace("-", "_")
        points = {GROUP: {name: f"{module}:Mine"}}
        return self.distribution(distribution, entry_points=points, modules={f"{module}.py": source}, **more)

    def module(self, path: str, source: str, site: Path | None = None) -> None:
        """Write a module."""
        file = (site or self.path) / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(source), "utf-8")

    def folder(self, name: str, source: str = FOLDER, **others: str) -> Path:
        """A folder in the bindings directory; `others` are further modules, ``__`` for a slash."""
        folder = self.bindings / name
        for module, text in {"__init__": source, **others}.items():
            file = folder / f"{module.replace('__', '/') if module != '__init__' else module}.py"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(textwrap.dedent(text), "utf-8")
        return folder

    def manager(self, **keywords: Any) -> LollmsLLMBindingManager:
        """A manager that sees what was made here, and nothing that the tests' own environment has."""
        return LollmsLLMBindingManager(self.bindings, entry_point_group=GROUP, **keywords)


def _as_text(groups: Mapping[str, Mapping[str, str]]) -> str:
    lines = []
    for group, points in groups.items():
        lines += [f"[{group}]", *(f"{name} = {value}" for name, value in points.items()), ""]
    return "\n".join(lines)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A place to install into; what was imported from it is forgotten afterwards."""
    monkeypatch.delenv("LOLLMS_PLUGINS", raising=False)
    monkeypatch.delenv("LOLLMS_DISABLE_PLUGINS", raising=False)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    made = Site(tmp_path)
    monkeypatch.syspath_prepend(str(made.path))
    yield made
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]


def origin_modules() -> set[str]:
    """The private names of folders that are in ``sys.modules`` now."""
    from lollms_core.discovery.folder_modules import PREFIX

    return {name for name in sys.modules if name.startswith(PREFIX)}
