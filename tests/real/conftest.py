"""These tests talk to real servers, so they are collected only where `nox -s real` has set the scene."""

from __future__ import annotations

import http.client
import json
import os
import re
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from real_servers import HOST, server

from lollms_core import LollmsLLMBinding, LollmsLLMBindingManager

collect_ignore_glob = [] if "LOLLMS_REAL" in os.environ else ["test_*.py"]

MODEL = "smollm2"
"""The name under which every server serves the model."""
KEY = "a-key-for-loopback"  # what one of the servers asks for


@dataclass(frozen=True)
class Scene:
    """What the nox session prepared, as it says in the environment."""

    model: Path
    """SmolLM2-135M-Instruct, a GGUF file."""
    vocabularies: Path
    """llama.cpp's vocabulary-only GGUF files."""
    python: str
    """A Python that has llama-cpp-python's server and xllamacpp."""
    logs: Path
    """Where servers write; kept after the run."""
    ollama: Path | None
    """Ollama's program and its libraries; None where it does not run."""
    no_ollama: str
    """Why it does not run."""


@dataclass
class Figures:
    """What the summary at the end says beside the outcomes."""

    servers: dict[str, str] = field(default_factory=dict)
    """Each server that was started, and its version."""
    tokens: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    """Each vocabulary that was compared: texts, tokens, texts that differ."""
    refused: list[str] = field(default_factory=list)
    """Vocabularies that the binding refuses, as it should."""
    schemas: Counter[str] = field(default_factory=Counter)
    """Answers to random schemas: those that were completed, and those that the length limit has cut."""


@dataclass(frozen=True)
class Backend:
    """One binding with one server (or none), and where servers differ by nature."""

    name: str
    binding: str
    arguments: Callable[[Callable[[str], Any]], dict[str, Any]]
    """The constructor's keywords, given ``request.getfixturevalue``."""
    knows_its_models: bool = True
    """Whether an unknown model's name in a request is an error; some servers answer with the model they have."""
    tokenizes: bool = True
    embeds: bool = True
    counts_streams: bool = True
    """Whether the usage of a streamed answer is known."""
    sees_nothing: bool = True
    """Whether it can be known that the model takes no images."""
    calls: bool = True
    """Whether it calls tools, with this model's own chat template."""


BACKENDS = [
    Backend("llamacpp", "llamacpp", lambda fixture: {"model_name": MODEL, "ctx_size": 2048, "n_threads": 1}),
    Backend("ollama", "ollama", lambda fixture: {"host_address": fixture("ollama"), "model_name": MODEL}),
    Backend(
        "openai, llama-server",
        "openai",
        lambda fixture: {"host_address": fixture("llama_server"), "model_name": MODEL},
        knows_its_models=False,
        sees_nothing=False,
        calls=False,
    ),
    Backend(
        "openai, llama_cpp.server",
        "openai",
        lambda fixture: {"host_address": fixture("python_server"), "model_name": MODEL, "service_key": KEY},
        knows_its_models=False,
        tokenizes=False,
        embeds=False,  # it gives a vector for every token of a text, not one for the text
        counts_streams=False,
        sees_nothing=False,
    ),
]

_FIGURES = pytest.StashKey[Figures]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_FIGURES] = Figures()


@pytest.fixture(scope="session")
def figures(pytestconfig: pytest.Config) -> Figures:
    return pytestconfig.stash[_FIGURES]


@pytest.fixture(scope="session")
def scene() -> Scene:
    def path(name: str) -> Path:
        return Path(os.environ[f"LOLLMS_REAL_{name}"])

    no_ollama = os.environ.get("LOLLMS_REAL_NO_OLLAMA", "")
    logs = path("LOGS")
    logs.mkdir(parents=True, exist_ok=True)
    ollama = None if no_ollama else path("OLLAMA")
    return Scene(path("MODEL"), path("VOCABULARIES"), os.environ["LOLLMS_REAL_PYTHON"], logs, ollama, no_ollama)


# Servers ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def ollama_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where Ollama has its folder ``models``."""
    return tmp_path_factory.mktemp("ollama")


@pytest.fixture(scope="session")
def ollama(scene: Scene, figures: Figures, ollama_home: Path) -> Iterator[str]:
    """The address of an Ollama that has the model."""
    if scene.ollama is None:
        pytest.skip(scene.no_ollama)
    home = ollama_home
    program = str(scene.ollama / "ollama-lib")
    environment = {
        "HOME": str(home),
        "OLLAMA_MODELS": str(home / "models"),
        "OLLAMA_HOST": f"{HOST}:{{port}}",
        "OLLAMA_NUM_PARALLEL": "1",  # with more, this version mixes up the embeddings of texts that it gets together
        "LD_LIBRARY_PATH": str(scene.ollama),
    }
    log = scene.logs / "ollama.log"
    with server([program, "serve"], "/api/version", log, environment) as port:
        client = {**os.environ, **environment, "OLLAMA_HOST": f"{HOST}:{port}"}
        recipe = home / "Modelfile"
        recipe.write_text(f"FROM {scene.model}\n", "utf-8")
        run_logged([program, "create", MODEL, "-f", str(recipe)], log, client)
        figures.servers["Ollama"] = str(get_json(port, "/api/version")["version"])
        yield f"http://{HOST}:{port}"


@pytest.fixture(scope="session")
def python_server(scene: Scene, figures: Figures) -> Iterator[str]:
    """The base URL of llama-cpp-python's server, which asks for KEY."""
    command = [scene.python, "-m", "llama_cpp.server", "--model", str(scene.model), "--model_alias", MODEL]
    command += ["--host", HOST, "--port", "{port}", "--n_ctx", "2048", "--api_key", KEY, "--verbose", "false"]
    # By default a new request ends the one that is being streamed.
    command += ["--interrupt_requests", "false", "--embedding", "true", "--n_threads", "1"]
    with server(command, "/openapi.json", scene.logs / "llama_cpp_server.log") as port:
        figures.servers["llama_cpp.server"] = version_of(scene, "llama-cpp-python")
        yield f"http://{HOST}:{port}/v1"


@pytest.fixture(scope="session")
def llama_server(scene: Scene, figures: Figures) -> Iterator[str]:
    """The base URL of llama-server's HTTP API, as xllamacpp serves it."""
    program = Path(__file__).with_name("llama_server.py")
    command = [scene.python, str(program), str(scene.model), "{port}"]
    with server(command, "/health", scene.logs / "llama_server.log") as port:
        figures.servers["llama-server (xllamacpp)"] = version_of(scene, "xllamacpp")
        yield f"http://{HOST}:{port}/v1"


# Bindings -----------------------------------------------------------------------------------------------


class Opener:
    """Opens bindings through the manager, as applications do, and closes them."""

    def __init__(self, bindings: Path) -> None:
        self.manager = LollmsLLMBindingManager(bindings)
        self.opened = ExitStack()

    def __call__(self, name: str, **arguments: Any) -> LollmsLLMBinding:
        return self.opened.enter_context(self.manager.open_binding(name, **arguments))


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """In place of the user's cache directory."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def opener(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Opener]:
    """For bindings that the test opens itself."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    for name in ("LOLLMS_PLUGINS", "LOLLMS_DISABLE_PLUGINS", "OPENAI_API_KEY", "OPENAI_BASE_URL", "OLLAMA_HOST"):
        monkeypatch.delenv(name, raising=False)
    found = Opener(tmp_path / "none")
    with found.opened:
        yield found


@pytest.fixture(params=BACKENDS, ids=lambda backend: backend.name)
def backend(request: pytest.FixtureRequest) -> Backend:
    found: Backend = request.param
    return found


@pytest.fixture
def binding(backend: Backend, opener: Opener, request: pytest.FixtureRequest) -> LollmsLLMBinding:
    """A binding that is closed after the test, on a server that lives as long as the run."""
    return opener(backend.binding, **backend.arguments(request.getfixturevalue))


# The summary --------------------------------------------------------------------------------------------


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if "LOLLMS_REAL" not in os.environ:
        return
    outcomes: dict[str, Counter[str]] = {backend.name: Counter() for backend in BACKENDS}
    run: dict[str, list[str]] = {backend.name: [] for backend in BACKENDS}
    for outcome in ("passed", "failed", "error", "skipped"):
        for report in terminalreporter.stats.get(outcome, []):
            matched = re.search(r"tests/real/.*::test_(\w+)\[([^\]]*)\]$", report.nodeid)
            if matched is None or matched[2] not in outcomes or (outcome == "passed" and report.when != "call"):
                continue
            outcomes[matched[2]][outcome] += 1
            if outcome in {"passed", "failed"}:
                run[matched[2]].append(matched[1].replace("_", " "))
    figures = config.stash[_FIGURES]
    if not any(outcomes.values()) and not figures.tokens and not figures.schemas:
        return
    line = terminalreporter.write_line
    terminalreporter.section("real servers")
    line("servers: " + ", ".join(f"{name} {version}" for name, version in figures.servers.items()))
    for name, counted in outcomes.items():
        line(f"{name}: " + ", ".join(f"{count} {outcome}" for outcome, count in counted.items()))
        line(f"    {'; '.join(run[name])}")
    if figures.schemas:
        counts = ", ".join(f"{count} {how}" for how, count in figures.schemas.items())
        line(f"random schemas on the embedded model: {counts}")
    line("tokens of the ollama binding against llama.cpp's own tokenizer:")
    for name, (texts, tokens, different) in figures.tokens.items():
        line(f"    {name}: {texts} texts, {tokens} tokens, {different} differences")
    if figures.refused:
        line(f"    refused, as kinds that it does not claim: {', '.join(figures.refused)}")
    if any(counted["failed"] or counted["error"] for counted in outcomes.values()):
        line(f"what the servers said is in {os.environ['LOLLMS_REAL_LOGS']}")


# Little things ------------------------------------------------------------------------------------------


def run_logged(command: list[str], log: Path, environment: dict[str, str]) -> None:
    """Run a program to its end.

    Raises:
        RuntimeError: it fails.
    """
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    with log.open("a", encoding="utf-8") as output:
        output.write(done.stdout + done.stderr)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} exited with {done.returncode}: {done.stderr.strip()[-500:]}")


def get_json(port: int, path: str) -> Any:
    connection = http.client.HTTPConnection(HOST, port, timeout=10)
    try:
        connection.request("GET", path)
        return json.load(connection.getresponse())
    finally:
        connection.close()


def version_of(scene: Scene, distribution: str) -> str:
    code = f"import importlib.metadata; print(importlib.metadata.version({distribution!r}))"
    done = subprocess.run([scene.python, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.strip()
