"""Shell lines of the documentation: which are run, and what the others must be."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path
from typing import Final

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

__all__ = ["Line", "check", "check_requirement", "lines_of", "sessions_of"]

_RUN: Final = frozenset({"lollms", "pytest", "cat", "echo", "mkdir", "ls"})
"""Programs that are run as they stand."""

_FOREIGN: Final = frozenset({"nox", "build", "pip", "mypy", "ruff"})
"""What readers are told to install and the tests' environment need not have."""

_OPERATORS: Final = frozenset({"&&", "||", "|", ";"})
_ASSIGNMENT: Final = re.compile(r"[A-Za-z_]\w*=.*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a shell block.

    Attributes:
        text: as it stands, those that it goes on in joined to it.
        commands: the words of each program that it calls, without variables set before them.
    """

    text: str
    commands: tuple[tuple[str, ...], ...]

    @property
    def programs(self) -> list[str]:
        """The names of the programs, without their folders."""
        return [words[0].rpartition("/")[2] for words in self.commands]

    @property
    def runs(self) -> bool:
        """Whether it is run as it stands; else it is checked."""
        return all(words[0] in _RUN for words in self.commands)

    @property
    def local_install(self) -> list[str] | None:
        """The arguments of a ``pip install`` of what the page has made, None if it is something else."""
        if len(self.commands) != 1 or not (arguments := _pip_arguments(self.commands[0])):
            return None
        return arguments[1:] if arguments[0] == "install" and any(map(_is_path, arguments[1:])) else None

    @property
    def exports(self) -> dict[str, str]:
        """The variables that an ``export`` sets."""
        words = self.commands[0]
        return dict(word.split("=", 1) for word in words[1:]) if words[0] == "export" else {}


def lines_of(text: str) -> Iterator[Line]:
    """The lines of a shell block, without comments and empty ones.

    Raises:
        ValueError: a quote that is not closed, or no program where there should be one.
    """
    for line in text.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        commands: list[list[str]] = [[]]
        for word in lexer:
            if word in _OPERATORS:
                commands.append([])
            elif commands[-1] or not _ASSIGNMENT.fullmatch(word):
                commands[-1].append(word)
        if commands == [[]]:
            continue
        if not all(commands):
            raise ValueError(f"a program is missing in: {line}")
        yield Line(line.strip(), tuple(map(tuple, commands)))


def check(words: Sequence[str], *, sessions: Sequence[str], made: Sequence[str]) -> None:
    """Whether a command that is not run is one that a reader can run.

    Args:
        words: the program and its arguments.
        sessions: what nox has in this repository.
        made: the names of the distributions that the page makes.

    Raises:
        ValueError: it is none, in words.
    """
    program = words[0].rpartition("/")[2]
    if program == "nox":
        _check_nox(words[1:], sessions)
    elif arguments := _pip_arguments(words):
        _check_pip(arguments, made)
    elif program not in _KNOWN or not _KNOWN[program](words[1:]):
        raise ValueError(f"the documentation's tests do not know this command: {shlex.join(words)}")


def sessions_of(noxfile: Path) -> list[str]:
    """The names of nox's sessions."""
    tree = ast.parse(noxfile.read_text(encoding="utf-8"))
    return [
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and any("nox.session" in ast.unparse(one) for one in node.decorator_list)
    ]


def _check_nox(arguments: Sequence[str], sessions: Sequence[str]) -> None:
    own = list(arguments[: arguments.index("--")] if "--" in arguments else arguments)
    if own == ["-l"]:
        return
    if not own or own[0] != "-s" or not own[1:]:
        raise ValueError(f"nox is called as nox -s SESSION..., not with {' '.join(own)}")
    for name in own[1:]:
        if name not in sessions:
            raise ValueError(f"there is no nox session {name!r}")


def _pip_arguments(words: Sequence[str]) -> list[str]:
    """What follows ``pip`` or ``python -m pip``."""
    if words[0].rpartition("/")[2] == "pip":
        return list(words[1:])
    if words[0].rpartition("/")[2] in ("python", "python3") and words[1:3] == ("-m", "pip"):
        return list(words[3:])
    return []


def _is_path(argument: str) -> bool:
    return argument.startswith((".", "dist/"))


def _check_pip(arguments: Sequence[str], made: Sequence[str]) -> None:
    command, *rest = arguments
    if command not in ("install", "uninstall"):
        raise ValueError(f"pip has no business here with {command!r}")
    names = [word for word in rest if not word.startswith("-")]
    if "--no-binary" in rest:
        names.remove(rest[rest.index("--no-binary") + 1])
    if not names:
        raise ValueError(f"pip {command} without a name")
    for name in names:
        if not _is_path(name):
            check_requirement(name, made)


def check_requirement(text: str, made: Sequence[str]) -> None:
    """Whether a requirement is one that can be met.

    Raises:
        ValueError: it is not, in words.
    """
    try:
        requirement = Requirement(text)
    except InvalidRequirement as error:
        raise ValueError(f"{text!r} is no requirement: {error}") from None
    name = canonicalize_name(requirement.name)
    if name in made or name in _FOREIGN:
        return
    try:
        found = metadata(name)
    except PackageNotFoundError:
        raise ValueError(f"no distribution {name!r} is known") from None
    extras = {canonicalize_name(extra) for extra in found.get_all("Provides-Extra") or []}
    for extra in requirement.extras:
        if canonicalize_name(extra) not in extras:
            raise ValueError(f"{name} has no extra {extra!r}")
    if not requirement.specifier.contains(found["Version"], prereleases=True):
        raise ValueError(f"{text!r} excludes {name} {found['Version']}")


_KNOWN: Final[dict[str, Callable[[Sequence[str]], bool]]] = {
    "python": lambda rest: tuple(rest[:2]) in (("-m", "venv"), ("-m", "build")),
    "python3": lambda rest: tuple(rest[:2]) == ("-m", "venv"),
    "git": lambda rest: rest[0] in ("init", "add", "commit", "tag", "push", "clone"),
    "ollama": lambda rest: rest[0] in ("serve", "pull", "run"),
    "apt-get": lambda rest: rest[0] == "install",
    "export": lambda rest: all(_ASSIGNMENT.fullmatch(word) for word in rest),
    "cd": lambda rest: len(rest) == 1,
    ".": lambda rest: len(rest) == 1 and rest[0].endswith("/bin/activate"),
}
