"""The environments of the peers: each one's distribution and what it needs, alone, made when a case first wants it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from bench.cases import OWN, PEERS

__all__ = ["NEEDS", "Environments"]

# A newer one is measured when this says so, so that two runs compare the same.
NEEDS: Final[Mapping[str, tuple[str, ...]]] = {
    "openai": ("openai==3.57.0",),
    "ollama": ("ollama==0.6.3",),
    "llm": ("llm==0.36",),
    "litellm": ("litellm-core==1.106.4",),
    "any-llm": ("any-llm-sdk[openai]==1.40.2",),
    "aisuite": ("aisuite[openai]==0.2.0",),
    "langchain": ("langchain-openai==1.7.4",),
    "lollms-client 0.17.0": ("lollms-client==0.17.0",),
    "lollms-client": ("lollms-client==1.21.1",),
    "stevedore": ("stevedore==5.10.0",),
}
"""What is installed in each, by the environment's name."""


class Environments(Mapping[str, str]):
    """The Pythons of a run, by name; that of a peer is made where it is missing, which takes up to minutes.

    Args:
        folder: where they are kept.
        peers: the Python that has llama-server and `Llama`.
    """

    def __init__(self, folder: Path, peers: str) -> None:
        self._folder = folder
        self._given = {OWN: sys.executable, PEERS: peers}

    def __getitem__(self, name: str) -> str:
        """The Python of that name.

        Raises:
            KeyError: there is no such environment.
            RuntimeError: it cannot be made; with what pip said.
        """
        return self._given[name] if name in self._given else str(_made(self._folder, NEEDS[name]))

    def __iter__(self) -> Iterator[str]:
        yield from self._given
        yield from NEEDS

    def __len__(self) -> int:
        return len(self._given) + len(NEEDS)


def _made(folder: Path, needs: tuple[str, ...]) -> Path:
    """The Python of an environment with these requirements: made beside its place, and renamed when whole."""
    version = f"{sys.implementation.name}{sys.version_info[0]}.{sys.version_info[1]}"
    place = folder / re.sub(r"[^\w.]+", "-", "-".join((version, *needs)))
    program = Path("Scripts" if os.name == "nt" else "bin") / "python"
    if not place.is_dir():
        print(f"Installing {', '.join(needs)}: once for this checkout.", file=sys.stderr, flush=True)
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix="building-") as name:
            made = Path(name) / "made"
            _run(sys.executable, "-m", "venv", str(made))
            # Afterwards it is renamed, so its programs do not start any more; `python -m` does.
            _run(str(made / program), "-m", "pip", "install", "--quiet", *needs)
            made.rename(place)
    return place / program


def _run(*command: str) -> None:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed; the end of what it said:\n{done.stdout[-2000:]}")
