"""The installed wheels: that they are what is imported, that core stands alone, that plugins are found."""

from __future__ import annotations

import importlib.metadata
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import lollms_core
from lollms_core.discovery.catalog import PACKAGES

if TYPE_CHECKING:
    from .conftest import Scene

PLUGINS = {
    "lollms-http": "lollms_http",  # registers nothing: bindings are written with it
    "lollms-llamacpp": "lollms_llamacpp",
    "lollms-ollama": "lollms_ollama",
    "lollms-openai": "lollms_openai",
}


def run(program: Path | str, *arguments: str, cwd: Path) -> str:
    done = subprocess.run([str(program), *arguments], cwd=cwd, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_suite_imports_the_wheels_and_not_the_checkout(scene: Scene) -> None:
    """The guard: whatever else passes says something about the wheels only if this holds."""
    for name in ("lollms_core", *PLUGINS.values()):
        module = __import__(name)
        origin = Path(module.__file__ or "").resolve()
        assert origin.is_relative_to(Path(sys.prefix).resolve())
        assert not origin.is_relative_to(scene.checkout.resolve())
    assert not [entry for entry in sys.path if entry and Path(entry).resolve().is_relative_to(scene.checkout / "src")]


@pytest.mark.parametrize("distribution", ["lollms-core", *PLUGINS])
def test_the_version_is_the_packages_own(distribution: str) -> None:
    """`__version__` and the metadata come from one place."""
    module: Any = __import__(distribution.replace("-", "_"))
    assert importlib.metadata.version(distribution) == module.__version__


def test_core_alone_imports_every_public_name(scene: Scene, tmp_path: Path) -> None:
    """The public face works with no plugin and no extra installed."""
    python = scene.core_alone / "python"
    code = "import lollms_core; [getattr(lollms_core, name) for name in lollms_core.__all__]"
    run(python, "-c", code, cwd=tmp_path)
    listed = json.loads(run(python, "-m", "pip", "list", "--format", "json", cwd=tmp_path))
    assert [entry["name"] for entry in listed if entry["name"].startswith("lollms")] == ["lollms-core"]


def test_core_alone_has_a_working_command(scene: Scene, tmp_path: Path) -> None:
    """`lollms` starts, says its version, and lists no bindings without complaint."""
    lollms = scene.core_alone / "lollms"
    version = run(lollms, "--version", cwd=tmp_path)
    assert re.search(rf"\b{re.escape(lollms_core.__version__)}\b", version)
    assert json.loads(run(lollms, "bindings", "--json", cwd=tmp_path)) == []
    assert "generate" in run(lollms, "--help", cwd=tmp_path)


def test_each_plugin_is_found_through_its_entry_points(scene: Scene, tmp_path: Path) -> None:
    """What the wheels declare is what the manager lists, without importing it."""
    declared = {
        point.name: distribution
        for distribution in PLUGINS
        for point in importlib.metadata.distribution(distribution).entry_points
        if point.group == "lollms.llm_bindings"
    }
    assert declared == {name: distribution for name, distribution in PACKAGES.items() if distribution in PLUGINS}
    listed = json.loads(run(Path(sys.executable).parent / "lollms", "bindings", "--json", cwd=tmp_path))
    found = {entry["name"]: entry["distribution"] for entry in listed if entry["state"] == "found"}
    assert found == declared
