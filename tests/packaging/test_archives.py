"""What is in the wheels and the source archives."""

from __future__ import annotations

import tarfile
import zipfile
from email.parser import HeaderParser
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from email.message import Message

    from .conftest import Scene

DISTRIBUTIONS = {
    "lollms-core": "lollms_core",
    "lollms-http": "lollms_http",
    "lollms-llamacpp": "lollms_llamacpp",
    "lollms-ollama": "lollms_ollama",
    "lollms-openai": "lollms_openai",
}
each_distribution = pytest.mark.parametrize(("distribution", "package"), DISTRIBUTIONS.items())


def metadata(wheel: zipfile.ZipFile) -> Message:
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    return HeaderParser().parsestr(wheel.read(name).decode())


def test_every_built_distribution_is_looked_at(scene: Scene) -> None:
    """A plugin that joins the repository must join these tests."""
    built = {path.name.partition("-")[0].replace("_", "-") for path in scene.archives.glob("*.whl")}
    assert built == set(DISTRIBUTIONS)


@each_distribution
def test_wheel_holds_the_package_and_nothing_else(scene: Scene, distribution: str, package: str) -> None:
    """One package and its metadata; typed; with the licence; no tests."""
    with zipfile.ZipFile(scene.wheel(distribution)) as wheel:
        names = wheel.namelist()
    tops = {name.partition("/")[0] for name in names}
    (dist_info,) = tops - {package}
    assert dist_info.endswith(".dist-info")
    assert f"{package}/py.typed" in names
    assert f"{package}/__init__.py" in names
    assert f"{dist_info}/licenses/LICENSE" in names
    # What new-binding writes has tests too; its templates are data.
    code = [name for name in names if not name.endswith(".tmpl")]
    assert not [name for name in code if "tests/" in name or "__pycache__" in name]


@each_distribution
def test_wheel_of_the_sdist_is_the_wheel_of_the_tree(scene: Scene, distribution: str, package: str) -> None:
    """A source archive that misses a file, or brings one, would show here."""
    contents = []
    for folder in (scene.archives, scene.wheels_from_tree):
        with zipfile.ZipFile(scene.wheel(distribution, folder)) as wheel:
            contents.append({name: wheel.read(name) for name in wheel.namelist()})
    from_sdist, from_tree = contents
    assert sorted(from_sdist) == sorted(from_tree)
    assert [name for name in from_sdist if from_sdist[name] != from_tree[name]] == []


@each_distribution
def test_sdist_stays_within_its_distribution(scene: Scene, distribution: str, package: str) -> None:
    """Core's source archive must not carry the plugins, nor any of them what nox builds."""
    with tarfile.open(scene.sdist(distribution)) as sdist:
        names = [name.partition("/")[2] for name in sdist.getnames()]
    expected = {"src", "tests", "pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE", "PKG-INFO", ".gitignore"}
    assert {name.partition("/")[0] for name in names} <= expected
    assert {"pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", f"src/{package}/py.typed"} <= set(names)


@each_distribution
def test_metadata(scene: Scene, distribution: str, package: str) -> None:
    """Licence, Python and type information as an index shows them."""
    with zipfile.ZipFile(scene.wheel(distribution)) as wheel:
        fields = metadata(wheel)
    assert fields["Name"] == distribution
    assert fields["License-Expression"] == "Apache-2.0"
    assert fields["Requires-Python"] == ">=3.11"
    assert "Typing :: Typed" in (fields.get_all("Classifier") or [])
    assert len(str(fields.get_payload())) > 500, "the README is the long description"


def test_core_requires_exactly_these(scene: Scene) -> None:
    """Core has no HTTP library, no plugin and nothing heavy among its requirements."""
    with zipfile.ZipFile(scene.wheel("lollms-core")) as wheel:
        requirements = metadata(wheel).get_all("Requires-Dist") or []
    plain = {line.partition(">")[0] for line in requirements if "extra ==" not in line}
    assert plain == {"click", "importlib-metadata", "packaging", "platformdirs", "pluggy"}


def test_plugin_depends_on_the_contract_only(scene: Scene) -> None:
    """Within 0.x the contract only grows, so a plugin accepts every later 0.x."""
    for distribution in DISTRIBUTIONS.keys() - {"lollms-core"}:
        with zipfile.ZipFile(scene.wheel(distribution)) as wheel:
            requirements = metadata(wheel).get_all("Requires-Dist") or []
        assert [line for line in requirements if line.startswith("lollms-core")] == ["lollms-core<1,>=0.1"]


def test_ollama_accepts_every_later_http(scene: Scene) -> None:
    """What bindings over HTTP are written with is public, and only grows within 0.x too."""
    with zipfile.ZipFile(scene.wheel("lollms-ollama")) as wheel:
        requirements = metadata(wheel).get_all("Requires-Dist") or []
    assert "lollms-http<1,>=0.1" in requirements
