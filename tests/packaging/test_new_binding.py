"""What `lollms new-binding` writes, in an environment of its own: as its author would go on with it."""

from __future__ import annotations

import os
import re
import subprocess
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from email.parser import HeaderParser
from email.utils import getaddresses
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lollms_core.scaffold import SHAPES

if TYPE_CHECKING:
    from .conftest import Scene

pytestmark = pytest.mark.timeout(600)
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith(("LOLLMS_", "PYTEST_"))}


def run(program: Path, *arguments: str | Path, cwd: Path, **environment: str) -> str:
    command = [str(program), *map(str, arguments)]
    done = subprocess.run(
        command, cwd=cwd, env=ENVIRONMENT | environment, capture_output=True, text=True, timeout=590, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-5000:]}\n{done.stderr[-5000:]}"
    return done.stdout


@dataclass(frozen=True)
class Written:
    """A distribution that was written, and installed with what its tests need."""

    name: str
    folder: Path
    programs: Path

    def run(self, program: str, *arguments: str | Path) -> str:
        """The output of a program of the environment, in the distribution's folder."""
        return run(self.programs / program, *arguments, cwd=self.folder)


@pytest.fixture(scope="module", params=SHAPES)
def written(request: pytest.FixtureRequest, scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> Written:
    shape: str = request.param
    name = f"new_{shape.replace('-', '_')}"
    place = tmp_path_factory.mktemp(name)
    run(scene.author / "lollms", "new-binding", name, "--shape", shape, "--licence", "MIT", cwd=place)
    folder = place / f"lollms-{name.replace('_', '-')}"
    install = ("-m", "pip", "install", "--quiet", "--find-links", scene.archives, "-e", ".[test]")
    run(scene.author / "python", *install, cwd=folder)
    return Written(name, folder, scene.author)


@pytest.fixture
def answering(written: Written) -> Iterator[str]:
    """The option with which it answers, "" for none: the server that stands in for the real one prints it."""
    server = written.folder / "tests" / "dialect.py"
    if not server.exists():
        yield ""
        return
    command = [str(written.programs / "python"), str(server)]
    with subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().partition(" -o ")[2].strip()
        process.terminate()


def test_its_own_tests_pass(written: Written) -> None:
    """The conformance kit among them, and no test is missing."""
    output = written.run("pytest", "-q")
    assert re.search(r"^\d{2,} passed", output, re.MULTILINE), output


def test_lint_and_formatting(written: Written) -> None:
    written.run("ruff", "check", ".")
    written.run("ruff", "format", "--check", ".")


def test_types(written: Written) -> None:
    # What it learns of core and of pytest serves the next one too.
    assert "Success" in written.run("mypy", "--cache-dir", written.programs.parent / "mypy-cache")


def test_it_generates(written: Written, answering: str) -> None:
    options = ("-o", answering) if answering else ()
    assert written.run("lollms", "generate", "-b", written.name, "hello", *options).strip()


def test_it_is_listed_with_its_version(written: Written) -> None:
    listed = written.run("lollms", "bindings")
    assert re.search(rf"^{written.name} +found .* 0\.1\.0\b", listed, re.MULTILINE), listed


def test_its_name_is_taken_now(written: Written, tmp_path: Path) -> None:
    command = (str(written.programs / "lollms"), "new-binding", written.name)
    done = subprocess.run(command, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "is installed" in done.stderr


def test_a_wheel_of_it(scene: Scene, tmp_path: Path) -> None:
    """What would be published: the package alone, typed, with its author, its licence and the licence's text."""
    author = ("--author", 'Ada "the first" Öst, Countess', "--email", "ada@example.org")
    command = ("new-binding", "published", "--shape", "in-process", "--licence", "MIT", *author)
    run(scene.author / "lollms", *command, cwd=tmp_path)
    build = ("-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", tmp_path, "./lollms-published")
    run(scene.author / "python", *build, cwd=tmp_path)
    (path,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(path) as wheel:
        names = wheel.namelist()
        (metadata,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        fields = HeaderParser().parsestr(wheel.read(metadata).decode())
    assert {name.partition("/")[0] for name in names} == {"lollms_published", metadata.partition("/")[0]}
    assert "lollms_published/py.typed" in names
    assert fields["License-Expression"] == "MIT"
    assert fields.get_all("License-File") == ["LICENSE"]
    ((shown, address),) = getaddresses([fields["Author-email"]])
    assert (shown, address) == (author[1], author[3])


@pytest.mark.parametrize("shape", SHAPES)
def test_a_local_folder_works_without_being_installed(scene: Scene, tmp_path: Path, shape: str) -> None:
    """It answers by its name at once, and passes the kit when that is run on it."""
    name = f"local_{shape.replace('-', '_')}"
    lollms, config = scene.author / "lollms", {"XDG_CONFIG_HOME": str(tmp_path)}
    run(lollms, "new-binding", name, "--local", "--shape", shape, cwd=tmp_path, **config)
    folder = tmp_path / "lollms" / "llm_bindings" / name
    if SHAPES[shape].stand_in:  # without a server it lists itself, and the kit brings one
        assert name in run(lollms, "bindings", cwd=tmp_path, **config)
    else:
        assert run(lollms, "generate", "-b", name, "hello", cwd=tmp_path, **config).strip()
    # The plays of single faults were the distribution's.
    tests = ("-q", "-k", "not test_faults and not test_cuts", folder / "tests")
    assert re.search(r"^\d{2,} passed", run(scene.author / "pytest", *tests, cwd=tmp_path, **config), re.MULTILINE)
