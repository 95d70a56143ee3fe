"""What is fetched once for this checkout, into `.real/`."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import nox

__all__ = ["REAL", "fetched", "pip_download", "quietly"]

REAL = Path(__file__).parents[1] / ".real"


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
