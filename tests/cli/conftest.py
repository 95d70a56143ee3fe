"""Bindings and commands of the tests' own, and two ways to run `lollms`: in this process and as a program."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from keyrings import in_use, none

from lollms_core.manager import LollmsLLMBindingManager

GROUP = "lollms_test.llm_bindings"
"""The tests' own group: the environment that runs them has real bindings in the usual one."""

TALKER = '''
import json, os
from pathlib import Path
from typing import TypedDict

from lollms_core import BackendError, Capability, EventBinding, Finish, ReasoningDelta, TextDelta, Usage

BindingName = "Talker"


class Options(TypedDict, total=False):
    loudness: int


class Talker(EventBinding):
    """Answers as its model's name says."""

    capabilities = frozenset({Capability.TEXT, Capability.CHAT, Capability.STREAM, Capability.VISION})
    options = Options
    uses = frozenset({"temperature", "n_predict", "stop", "seed", "model"})

    def __init__(self, flavour: str = "plain", **defaults):
        super().__init__("talker", **defaults)
        self.flavour = flavour

    def _events(self, request):
        return getattr(self, "_" + (self.model_name or "echo"))(request)

    def _echo(self, request):
        for word in request.messages[-1]["content"].split(" "):
            yield TextDelta(word + " ")
        yield Usage(prompt_tokens=3, completion_tokens=2)
        yield Finish(model="echo-1", id="r1")

    def _show(self, request):
        fields = {"flavour": self.flavour, "images": len(request.images), "options": dict(request.options)}
        for name in ("system_prompt", "stream", "temperature", "n_predict", "stop", "seed"):
            fields[name] = getattr(request, name)
        yield TextDelta(json.dumps(fields))
        yield Finish()

    def _fail(self, request):
        yield TextDelta("so far")
        raise BackendError("the backend broke\\nin two lines")

    def _silent(self, request):
        yield Finish()

    def _cut(self, request):
        yield TextDelta("half")
        yield Finish("length")

    def _colours(self, request):
        yield TextDelta("\\x1b[31mred\\x07 tab\\t\\r\\n")
        yield Finish()

    def _half(self, request):
        yield TextDelta("\\ud83d!")
        yield Finish()

    def _think(self, request):
        yield ReasoningDelta("hmm")
        yield TextDelta("yes")
        yield Finish()

    def _lines(self, request):
        """Lines without end, until it is closed."""
        try:
            while not request.cancelled:
                yield TextDelta("a line\\n")
        finally:
            Path(os.environ["MARK"]).write_text("closed")

    def _wait(self, request):
        """One word, then nothing more until it is interrupted."""
        import threading

        try:
            yield TextDelta("first")
            threading.Event().wait()
        finally:
            Path(os.environ["MARK"]).write_text("closed")

    def listModels(self):
        return [{"model_name": "echo", "size": 1_500_000, "ctx_size": 4096}, {"model_name": "bad", "error": "damaged"}]
'''

CLOSED = '''
from lollms_core import LollmsLLMBinding

BindingName = "Closed"


class Closed(LollmsLLMBinding):
    """Eight methods and a constructor that takes what it names, no more."""

    def __init__(self, model_identifier: str, some_config_param: int = 0):
        super().__init__(binding_name="closed")
        self.given = (model_identifier, some_config_param)

    def generate_text(self, prompt, temperature=None, streaming_callback=None):
        return f"{self.given} {self.model_name} {temperature} {prompt}"

    def tokenize(self, text):
        return list(text)

    def detokenize(self, tokens):
        return "".join(tokens)

    def count_tokens(self, text):
        return len(text)

    def embed(self, text, **kwargs):
        return [0.0]

    def get_model_info(self):
        return {"loaded": self.model_name is not None}

    def listModels(self):
        return ["old", "new"]

    def load_model(self, model_name):
        if model_name == "missing":
            self.last_error = "no file of that name"
            return False
        self.model_name = model_name
        return True
'''

SAID = ("LOLLMS_CONFIG", "LOLLMS_PROFILE", "LOLLMS_BINDING", "LOLLMS_MODEL", "LOLLMS_SYSTEM", "LOLLMS_OPTIONS")
"""Variables that say what to use."""

Lollms = Callable[..., Result]
Program = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def bindings(tmp_path: Path) -> Path:
    """A folder with two bindings."""
    folder = tmp_path / "llm_bindings"
    for name, source in (("talker", TALKER), ("closed", CLOSED)):
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text(source, encoding="utf-8")
    return folder


@pytest.fixture(autouse=True)
def only_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What happens to be installed on this machine, or in its user's configuration, plays no part."""
    manager = functools.partial(LollmsLLMBindingManager, entry_point_group=GROUP)
    monkeypatch.setattr("lollms_core.cli.managing.LollmsLLMBindingManager", manager)
    monkeypatch.setenv("LOLLMS_PLUGINS", "talker,closed,acme,broken")
    monkeypatch.delenv("LOLLMS_DISABLE_PLUGINS", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.fail.Keyring")
    for name in [name for name in os.environ if name.startswith(("LOLLMS_KEY_", *SAID))]:
        monkeypatch.delenv(name)
    monkeypatch.setattr("lollms_core.cli.terminal._keys", set())
    with in_use(none()):
        yield


@pytest.fixture
def lollms() -> Lollms:
    """Runs the command in this process; every line on stderr has its form, and errors have just one."""

    def run(*arguments: str, piped: str = "") -> Result:
        from lollms_core.cli.app import lollms as command

        result = CliRunner().invoke(command, arguments, input=piped)
        assert "Traceback" not in result.output
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        assert all(line.startswith("lollms: ") for line in result.stderr.splitlines())
        if result.exit_code == 1:
            assert len(result.stderr.splitlines()) == 1
        return result

    return run


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    """Starts the command as a program of its own; a model that is closed leaves the file `mark`."""
    # A program that was started in the background ignores Ctrl-C, and so would what it starts.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    started: list[subprocess.Popen[bytes]] = []

    def start(
        *arguments: str,
        stdin: int = subprocess.DEVNULL,
        stdout: int = subprocess.PIPE,
        stderr: int = subprocess.PIPE,
    ) -> subprocess.Popen[bytes]:
        environment = os.environ | {"MARK": str(tmp_path / "mark"), "PYTHONIOENCODING": "utf-8"}
        command = [sys.executable, "-m", "lollms_core", *arguments]
        process = subprocess.Popen(command, env=environment, stdin=stdin, stdout=stdout, stderr=stderr)
        started.append(process)
        return process

    yield start
    for process in started:
        with process:  # closes its pipes and waits for it
            process.kill()
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Pretends that a distribution is installed: its metadata and its module on the path, here and in programs."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(site)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (str(site), os.environ.get("PYTHONPATH")))))

    def install(distribution: str, entry_points: str, **modules: str) -> Path:
        info = site / f"{distribution}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(entry_points)
        for name, source in modules.items():
            (site / f"{name}.py").write_text(source)
            monkeypatch.delitem(sys.modules, name, raising=False)
        return site

    return install
