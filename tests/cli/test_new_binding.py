"""`lollms new-binding`: what it asks, writes, prints and refuses."""

from __future__ import annotations

import ast
import errno
import re
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import lollms_core
from lollms_core.scaffold import LICENCES, SHAPES

from .conftest import GROUP, Lollms

Installed = Callable[..., Path]
each_shape = pytest.mark.parametrize("shape", SHAPES)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory."""
    folder = tmp_path / "place"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def at_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Standard input is a terminal, although the test types."""
    monkeypatch.setattr("lollms_core.cli.new_binding._at_terminal", lambda: True)


def files(folder: Path) -> dict[str, str]:
    """The text of each file below `folder`."""
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_text("utf-8") for path in paths}


def project(folder: Path) -> dict[str, object]:
    found = tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))["project"]
    assert isinstance(found, dict)
    return found


# A distribution -----------------------------------------------------------------------------------------


@each_shape
def test_everything_that_a_distribution_needs(lollms: Lollms, place: Path, shape: str) -> None:
    result = lollms("new-binding", "acme", "--shape", shape, "--licence", "MIT")
    assert (result.exit_code, result.stderr) == (0, "")
    written = files(place / "lollms-acme")
    assert {
        ".github/dependabot.yml",
        ".github/workflows/publish.yml",
        ".github/workflows/test.yml",
        ".gitignore",
        "CHANGELOG.md",
        "LICENSE",
        "README.md",
        "pyproject.toml",
        "src/lollms_acme/__init__.py",
        "src/lollms_acme/binding.py",
        "src/lollms_acme/py.typed",
        "tests/conftest.py",
        "tests/test_binding.py",
        "tests/test_conformance.py",
    } <= written.keys()
    assert [line for line in result.stdout.splitlines() if line.startswith("lollms-acme/")] == sorted(
        f"lollms-acme/{name}" for name in written
    )


@each_shape
@pytest.mark.parametrize("name", ["a", "acme", "my_engine_2", "a" * 30])
def test_no_place_of_a_value_is_left_and_lines_are_short(lollms: Lollms, place: Path, shape: str, name: str) -> None:
    """With names of every length: lint and formatting of what is written must not depend on it."""
    assert lollms("new-binding", name, "--shape", shape, "--licence", "MIT").exit_code == 0
    for path, text in files(place / f"lollms-{name.replace('_', '-')}").items():
        assert "<<" not in text, path
        assert "__package__" not in path
        if path.endswith(".py"):
            ast.parse(text, path)
            assert max(map(len, text.splitlines())) <= 120, path
            assert text.endswith("\n")


@each_shape
def test_its_metadata(lollms: Lollms, place: Path, shape: str) -> None:
    """The entry point leads to the class, and the range begins at this lollms-core and ends before the next major."""
    lollms("new-binding", "my_engine", "--shape", shape, "--licence", "MIT")
    written = project(place / "lollms-my-engine")
    assert written["name"] == "lollms-my-engine"
    assert written["requires-python"] == ">=3.11"
    assert written["entry-points"] == {"lollms.llm_bindings": {"my_engine": "lollms_my_engine:MyEngineBinding"}}
    assert "class MyEngineBinding(" in (place / "lollms-my-engine/src/lollms_my_engine/binding.py").read_text()
    dependencies = written["dependencies"]
    assert isinstance(dependencies, list)
    (core,) = (Requirement(line) for line in dependencies if line.startswith("lollms-core"))
    assert core.specifier.contains(lollms_core.__version__)
    assert not core.specifier.contains(f"{int(lollms_core.__version__.partition('.')[0]) + 1}.0")


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("0.1.0", "lollms-core>=0.1,<1"),
        ("0.7.3", "lollms-core>=0.7,<1"),
        ("1.2.0", "lollms-core>=1.2,<2"),
        ("0.2.0rc1", "lollms-core>=0.2.0rc1,<1"),
    ],
)
def test_the_range_follows_the_running_version(
    lollms: Lollms, place: Path, monkeypatch: pytest.MonkeyPatch, version: str, expected: str
) -> None:
    monkeypatch.setattr("lollms_core.scaffold.projects.__version__", version)
    lollms("new-binding", "acme", "--shape", "eight-methods", "--licence", "MIT")
    assert project(place / "lollms-acme")["dependencies"] == [expected]


@pytest.mark.parametrize("licence", LICENCES)
def test_each_licence_is_there_in_full(lollms: Lollms, place: Path, licence: str) -> None:
    lollms("new-binding", "acme", "--shape", "eight-methods", "--licence", licence)
    text = (place / "lollms-acme/LICENSE").read_text("utf-8")
    title = {"Apache-2.0": "Apache License", "MIT": "MIT License", "BSD-3-Clause": "BSD 3-Clause License"}
    assert title.get(licence, "GNU GENERAL PUBLIC LICENSE") in text
    assert "WARRANT" in text
    written = project(place / "lollms-acme")
    assert (written["license"], written["license-files"]) == (licence, ["LICENSE"])
    assert f"Licence: {licence}." in (place / "lollms-acme/README.md").read_text("utf-8")


def test_the_apache_licence_is_the_one_of_this_repository(lollms: Lollms, place: Path) -> None:
    own = Path(__file__).parents[2] / "LICENSE"
    if not own.is_file():
        pytest.skip("the repository's licence is not beside these tests")
    lollms("new-binding", "acme", "--shape", "eight-methods", "--licence", "Apache-2.0")
    assert (place / "lollms-acme/LICENSE").read_bytes() == own.read_bytes()


def test_no_licence_is_no_licence(lollms: Lollms, place: Path) -> None:
    lollms("new-binding", "acme", "--shape", "eight-methods", "--licence", "none")
    assert not (place / "lollms-acme/LICENSE").exists()
    assert not {"license", "license-files"} & project(place / "lollms-acme").keys()


@pytest.mark.parametrize("author", ["Ada Lovelace", 'A "B" \\ C', "Åsa, Ängel & Öst", "two\nlines"])
def test_the_author_whatever_the_name(lollms: Lollms, place: Path, author: str) -> None:
    email = "ada@example.org"
    shape = ("--shape", "eight-methods", "--licence", "MIT")
    assert lollms("new-binding", "acme", *shape, "--author", author, "--email", email).exit_code == 0
    shown = author.replace("\n", " ")
    assert project(place / "lollms-acme")["authors"] == [{"name": shown, "email": email}]
    licence = (place / "lollms-acme/LICENSE").read_text("utf-8")
    assert re.search(rf"^Copyright \(c\) \d{{4}} {re.escape(shown)}$", licence, re.MULTILINE)


def test_without_an_author_it_is_its_authors(lollms: Lollms, place: Path) -> None:
    lollms("new-binding", "acme", "--shape", "eight-methods", "--licence", "MIT")
    assert project(place / "lollms-acme")["authors"] == [{"name": "The lollms-acme authors"}]


@each_shape
def test_the_workflows(lollms: Lollms, place: Path, shape: str) -> None:
    """Trusted publishing from an environment, with the one permission that it takes; tests on every Python."""
    lollms("new-binding", "acme", "--shape", shape, "--licence", "MIT")
    workflows = place / "lollms-acme/.github/workflows"
    publish = (workflows / "publish.yml").read_text()
    assert "types: [published]" in publish
    assert "    environment: pypi\n    permissions:\n      id-token: write\n" in publish
    assert "pypa/gh-action-pypi-publish@" in publish
    assert "secrets." not in publish
    assert '"dist/lollms_acme-${GITHUB_REF_NAME#v}.tar.gz"' in publish
    test = (workflows / "test.yml").read_text()
    assert "${{ matrix.python }}" in test
    assert '["3.11", "3.12", "3.13", "3.14"]' in test


def test_ruff_and_mypy_are_those_of_this_repository(lollms: Lollms, place: Path) -> None:
    """What is written passes with them: they move together."""
    groups = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))["dependency-groups"]
    lollms("new-binding", "acme", "--shape", "eight-methods", "--licence", "MIT")
    extras = project(place / "lollms-acme")["optional-dependencies"]
    assert isinstance(extras, dict)
    assert {line for line in extras["test"] if line.startswith(("ruff", "mypy"))} == {
        line for line in groups["lint"] + groups["types"] if line.startswith(("ruff", "mypy"))
    }


def test_into_another_folder(lollms: Lollms, place: Path) -> None:
    (place / "elsewhere").mkdir()
    result = lollms("new-binding", "acme", "--shape", "eight-methods", "--licence", "MIT", "--into", "elsewhere")
    assert (place / "elsewhere/lollms-acme/pyproject.toml").is_file()
    assert "cd elsewhere/lollms-acme " in result.stdout


def test_an_empty_folder_is_filled(lollms: Lollms, place: Path) -> None:
    (place / "lollms-acme").mkdir()
    assert lollms("new-binding", "acme", "--shape", "eight-methods", "--licence", "MIT").exit_code == 0
    assert (place / "lollms-acme/pyproject.toml").is_file()


# Asking -------------------------------------------------------------------------------------------------


def test_nobody_is_asked_where_there_is_no_terminal(lollms: Lollms, place: Path) -> None:
    """The defaults are taken, and said."""
    result = lollms("new-binding", "acme", piped="http\nMIT\n")
    assert result.exit_code == 0
    assert [line.partition(";")[0] for line in result.stderr.splitlines()] == [
        "lollms: --shape is not given: taking eight-methods",
        "lollms: --licence is not given: taking Apache-2.0",
    ]
    assert project(place / "lollms-acme")["license"] == "Apache-2.0"


@pytest.mark.usefixtures("at_terminal")
def test_what_is_missing_is_asked_at_a_terminal(place: Path) -> None:
    """Questions go to stderr; a wrong answer is asked again."""
    from click.testing import CliRunner

    from lollms_core.cli.app import lollms as command

    result = CliRunner().invoke(command, ["new-binding", "acme"], input="triangle\nin-process\nBSD-3-Clause\n")
    assert result.exit_code == 0
    assert "'triangle' is not one of" in result.stderr
    assert all(shape.summary in result.stderr for shape in SHAPES.values())
    assert "Licence" in result.stderr
    assert "Licence (" not in result.stdout
    assert project(place / "lollms-acme")["license"] == "BSD-3-Clause"
    assert (place / "lollms-acme/src/lollms_acme/engine.py").is_file()


@pytest.mark.usefixtures("at_terminal")
def test_an_interrupted_question_writes_nothing(place: Path) -> None:
    from click.testing import CliRunner

    from lollms_core.cli.app import lollms as command

    result = CliRunner().invoke(command, ["new-binding", "acme"], input="in-process\n")
    assert result.exit_code == 130
    assert list(place.iterdir()) == []


# Refusing -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("My-Engine", "my_engine, say"),
        ("MyEngine", "my_engine, say"),
        ("lollms-shout", "shout, say"),
        ("a__b", "a_b, say"),
        ("1st", "a letter first"),
        ("class", "no keyword of Python"),
        ("é", "small letters"),
        ("../up", "up, say"),
        ("a" * 31, "at most 30"),
        ("", "can't be the name"),
        ("ollama", "a binding of lollms-ollama"),
        ("groq", "a binding of lollms-openai"),
        ("core", "the core itself"),
        ("http", "lollms-http"),
        ("client", "another project"),
        ("event", "a class of lollms-core"),
        ("ndjson", "a class of lollms-core"),
    ],
)
@pytest.mark.parametrize("local", [False, True])
def test_a_name_that_it_cannot_have(lollms: Lollms, place: Path, name: str, said: str, local: bool) -> None:
    result = lollms("new-binding", name, *(["--local"] if local else []))
    assert result.exit_code == 1
    assert said in result.stderr
    assert list(place.iterdir()) == []


@pytest.mark.parametrize("point", ["my_engine", "my-engine"])
def test_a_name_that_an_installed_binding_has(lollms: Lollms, place: Path, installed: Installed, point: str) -> None:
    installed("broken", f"[{GROUP}]\n{point} = broken_engine:Engine\n")
    result = lollms("new-binding", "my_engine")
    assert result.exit_code == 1
    assert "taken by distribution broken 1.0, which is installed" in result.stderr
    assert "broken_engine" not in sys.modules
    assert list(place.iterdir()) == []


def test_nothing_is_overwritten(lollms: Lollms, place: Path) -> None:
    (place / "lollms-acme").mkdir()
    (place / "lollms-acme/notes.txt").write_text("mine")
    result = lollms("new-binding", "acme")
    assert result.exit_code == 1
    assert "lollms-acme is there already, and is not empty; nothing was written" in result.stderr
    assert files(place) == {"lollms-acme/notes.txt": "mine"}


@pytest.mark.parametrize("kind", ["file", "link", "link to nowhere"])
def test_what_is_no_folder_stays(lollms: Lollms, place: Path, kind: str) -> None:
    target = place / "lollms-acme"
    if kind == "file":
        target.write_text("mine")
    else:
        target.symlink_to(place if kind == "link" else place / "nowhere")
    result = lollms("new-binding", "acme")
    assert result.exit_code == 1
    assert "is no folder" in result.stderr
    assert [path.name for path in place.iterdir()] == ["lollms-acme"]


@pytest.mark.parametrize("failure", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_nothing_is_left_of_what_could_not_be_written_whole(
    lollms: Lollms, place: Path, monkeypatch: pytest.MonkeyPatch, failure: BaseException
) -> None:
    whole = Path.write_text

    def write_text(self: Path, *args: str, **keywords: str) -> int:
        if self.name == "pyproject.toml":
            raise failure
        return whole(self, *args, **keywords)

    monkeypatch.setattr(Path, "write_text", write_text)
    result = lollms("new-binding", "acme", "--shape", "eight-methods", "--licence", "MIT")
    if isinstance(failure, OSError):
        assert (result.exit_code, result.stderr) == (
            1,
            "lollms: lollms-acme can't be written: No space left on device\n",
        )
    else:
        assert result.exit_code == 130
    assert list(place.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--into", "nowhere"], "there is no folder nowhere"),
        (["--local", "--into", "nowhere"], "there is no folder nowhere"),
        (["--shape", "round"], "'round' is not one of"),
        (["--licence", "mine"], "'mine' is not one of"),
        (["--email", "nobody"], "nobody is no address"),
        (["--author", " "], "must not be empty"),
        (["--local", "--licence", "MIT"], "--licence is for a distribution"),
        (["--local", "--author", "Ada"], "--author is for a distribution"),
    ],
)
def test_misuse_is_one_line(lollms: Lollms, place: Path, arguments: list[str], said: str) -> None:
    result = lollms("new-binding", "acme", *arguments)
    assert (result.exit_code, result.stdout) == (1, "")
    assert said in result.stderr
    assert list(place.iterdir()) == []


# A folder of the bindings directory ---------------------------------------------------------------------


@pytest.mark.parametrize("shape", [name for name, shape in SHAPES.items() if not shape.stand_in])
def test_a_folder_is_found_at_once(lollms: Lollms, place: Path, tmp_path: Path, shape: str) -> None:
    """By the name alone, in the directory beside the configuration, which nobody had to make."""
    result = lollms("new-binding", "acme", "--local", "--shape", shape)
    assert (result.exit_code, result.stderr) == (0, "")
    folder = tmp_path / "config/lollms/llm_bindings/acme"
    written = files(folder)
    assert {"__init__.py", "binding.py", "tests/conftest.py", "tests/test_conformance.py"} <= written.keys()
    assert 'lollms generate -b acme "hello"' in result.stdout
    answer = lollms("generate", "-b", "acme", "hello")
    assert answer.exit_code == 0
    assert answer.stdout.strip()
    assert list(place.iterdir()) == []


@pytest.mark.parametrize("local", [False, True])
def test_what_needs_a_server_comes_with_one(lollms: Lollms, place: Path, local: bool) -> None:
    """The kit's dialect of it is a program that stands in for the server, which the next steps name."""
    options = ("--local", "--into", str(place)) if local else ("--licence", "MIT")
    result = lollms("new-binding", "acme", "--shape", "http", *options)
    server = place / ("acme" if local else "lollms-acme") / "tests/dialect.py"
    assert server.is_file()
    assert f"  python {server if local else 'tests/dialect.py'} " in result.stdout
    assert ("lollms-http" in result.stdout) == local


def test_a_folder_in_another_directory(lollms: Lollms, place: Path) -> None:
    result = lollms("new-binding", "acme", "--local", "--shape", "eight-methods", "--into", str(place))
    assert f'lollms generate -b acme "hello" --bindings-dir {place}' in result.stdout
    assert lollms("generate", "-b", "acme", "hello", "--bindings-dir", str(place)).stdout == "hello\n"


def test_a_folder_of_that_name_stays_as_it_is(lollms: Lollms, tmp_path: Path, place: Path) -> None:
    assert lollms("new-binding", "acme", "--local", "--shape", "eight-methods").exit_code == 0
    source = tmp_path / "config/lollms/llm_bindings/acme/binding.py"
    source.write_text("mine")
    result = lollms("new-binding", "acme", "--local")
    assert result.exit_code == 1
    assert "is not empty" in result.stderr
    assert source.read_text() == "mine"


def test_help_has_examples(lollms: Lollms) -> None:
    result = lollms("new-binding", "--help")
    assert result.exit_code == 0
    assert "  lollms new-binding shout --shape in-process --local\n" in result.stdout
    assert all(shape in result.stdout for shape in SHAPES)
