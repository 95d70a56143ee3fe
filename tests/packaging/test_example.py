"""What a third party publishes: the example, from its wheel, in an environment that has core only from its wheel."""

from __future__ import annotations

import json
import os
import subprocess
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .conftest import Scene

NAME = "lollms-example"


@dataclass(frozen=True)
class Shell:
    """Runs programs of one environment in an empty folder, without the operator's lists of this one."""

    programs: Path
    folder: Path

    def run(self, program: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        home = {name: str(self.folder) for name in ("HOME", "XDG_CONFIG_HOME", "APPDATA", "LOCALAPPDATA")}
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("LOLLMS_")}
        return subprocess.run(
            [str(self.programs / program), *arguments],
            cwd=self.folder,
            env={**inherited, **home, **variables},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def good(self, program: str, *arguments: str, **variables: str) -> str:
        """What a program prints that must succeed."""
        done = self.run(program, *arguments, **variables)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def refused(self, program: str, *arguments: str, **variables: str) -> str:
        """The one line with which a program fails."""
        done = self.run(program, *arguments, **variables)
        assert (done.returncode, done.stdout) == (1, "")
        (line,) = done.stderr.splitlines()
        return line

    def pip(self, *arguments: str) -> None:
        """Run pip, which must find all that is required installed already."""
        self.good("python", "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments)

    def listed(self, **variables: str) -> list[dict[str, Any]]:
        """What ``lollms bindings`` knows."""
        found: list[dict[str, Any]] = json.loads(self.good("lollms", "bindings", "--json", **variables))
        return found


def wheel(folder: Path) -> Path:
    (found,) = folder.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def shell(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """The environment with the example in its first version."""
    shell = Shell(scene.with_example, tmp_path_factory.mktemp("shell"))
    shell.pip("install", "--no-index", str(wheel(scene.example)))
    return shell


@pytest.fixture
def changing(scene: Scene, shell: Shell) -> Iterator[Shell]:
    """The same, for a test that installs or removes something: afterwards the first version is there again."""
    yield shell
    shell.pip("install", "--no-index", "--force-reinstall", "--no-deps", str(wheel(scene.example)))


def version_of(file: Path) -> str:
    return file.name.split("-")[1]


def test_the_wheel_holds_what_the_model_needs(scene: Scene) -> None:
    """It is made from the sdist, so the sdist holds it too."""
    with zipfile.ZipFile(wheel(scene.example)) as archive:
        names = archive.namelist()
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"lollms_example"}
    for part in ("py.typed", "texts/bees.txt", "texts/tides.txt"):
        assert f"lollms_example/{part}" in names
    assert not [name for name in names if "tests/" in name or "__pycache__" in name]


def test_it_is_found_and_listed_with_its_version(scene: Scene, shell: Shell) -> None:
    shell.pip("check")
    (record,) = shell.listed()
    assert (record["name"], record["distribution"], record["version"], record["state"]) == (
        "example",
        NAME,
        version_of(wheel(scene.example)),
        "found",
    )
    assert NAME in shell.good("lollms", "bindings")


def test_it_is_used_from_python(shell: Shell) -> None:
    code = (
        "import lollms_core; manager = lollms_core.LollmsLLMBindingManager(); "
        "binding = manager.open_binding('example', seed=1); "
        "print(manager.get_available_bindings(), binding.chat('Why do bees dance?', n_predict=9).usage, "
        "len(binding.embed('bees')), binding.detokenize(binding.tokenize('The bees')), lollms_core.__file__)"
    )
    printed = shell.good("python", "-W", "error", "-c", code)
    assert printed.startswith("['example'] Usage(prompt_tokens=")
    assert "completion_tokens=9" in printed
    assert "256 The bees" in printed
    assert "site-packages" in printed, "core is the installed one"


def test_it_is_used_from_the_shell(shell: Shell) -> None:
    said = shell.good("lollms", "generate", "-b", "example", "-o", "seed=1", "-o", "order=2", "Why do bees dance?")
    assert len(said.split()) > 3
    document = json.loads(shell.good("lollms", "generate", "-b", "example", "-m", "tides", "--json", "The moon"))
    assert (document["model"], document["binding"]) == ("tides", "example")
    assert "whales" in shell.refused("lollms", "generate", "-b", "example", "-m", "whales", "The moon")
    assert "tides" in shell.good("lollms", "models", "-b", "example")


@pytest.mark.parametrize(
    "variables",
    [
        {"LOLLMS_DISABLE_PLUGINS": NAME},
        {"LOLLMS_DISABLE_PLUGINS": "Lollms_Example"},
        {"LOLLMS_DISABLE_PLUGINS": "example"},
        {"LOLLMS_PLUGINS": "lollms-ollama"},
        {"LOLLMS_PLUGINS": ""},
        {"LOLLMS_PLUGINS": NAME, "LOLLMS_DISABLE_PLUGINS": "example"},
    ],
    ids=lambda variables: ",".join(f"{key}={value}" for key, value in variables.items()),
)
def test_the_operators_lists_block_it(shell: Shell, variables: dict[str, str]) -> None:
    """By distribution, in any spelling, or by name; deny beats allow."""
    (record,) = shell.listed(**variables)
    assert record["state"] == "blocked"
    line = shell.refused("lollms", "generate", "-b", "example", "Hello", **variables)
    assert "is blocked" in line
    assert "LOLLMS_" in line


@pytest.mark.parametrize("allowed", [NAME, "example", f"other,{NAME}"])
def test_the_allowlist_lets_it_through(shell: Shell, allowed: str) -> None:
    assert shell.listed(LOLLMS_PLUGINS=allowed)[0]["state"] == "found"
    assert shell.good("lollms", "generate", "-b", "example", "Hello", LOLLMS_PLUGINS=allowed)


def test_it_is_upgraded(scene: Scene, changing: Shell) -> None:
    later = wheel(scene.example_later)
    changing.pip("install", "--no-index", str(later))
    (record,) = changing.listed()
    assert record["version"] == version_of(later) != version_of(wheel(scene.example))
    assert changing.good("lollms", "generate", "-b", "example", "Hello")


def test_it_is_removed(changing: Shell) -> None:
    """It leaves nothing, and whoever asks for it is told so in one line."""
    changing.pip("uninstall", "--yes", NAME)
    assert changing.listed() == []
    line = changing.refused("lollms", "generate", "-b", "example", "Hello")
    assert "no binding 'example' is installed" in line
    assert list(changing.programs.parent.glob("**/lollms_example*")) == []
