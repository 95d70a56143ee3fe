"""Our own wheel of llama-cpp-python: compiled once for this checkout, into `.native/`."""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

import nox
from packaging.specifiers import SpecifierSet

from tooling.checkout import PROJECT, ROOT

__all__ = ["LLAMA_CPP", "c_compiler", "llama_cpp_wheel"]

LLAMA_CPP = "0.3.36"
# GGML_NATIVE=ON, the default, asks the CPU what it can do. On virtual machines whose CPU reports AMX while the
# hypervisor keeps it off, such a build dies with SIGSEGV at the first matrix product.
CMAKE_ARGS = "-DGGML_NATIVE=OFF"


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


def c_compiler() -> str | None:
    """The C compiler to use."""
    return os.environ.get("CC") or next((name for name in ("cc", "gcc", "clang") if shutil.which(name)), None)
