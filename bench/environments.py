"""The environments: of a peer its distribution and what it needs, alone; of ours the wheels of this checkout.

Each is made when a case first wants it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

from bench.cases import OWN, PEERS
from bench.checkout import ALONE, WITH_NEEDS, hash_of_sources
from bench.distributions import OTHERS, add_others, add_plugins

__all__ = ["CHECKOUT", "LLM_PLUGINS", "NEEDS", "Environments", "among_others"]

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

LLM_PLUGINS: Final = ("llm-echo==0.5", "llm-tools-simpleeval==0.1.1", "llm-tools-quickjs==0.1")
"""Small ones: one that answers, two that bring tools."""

CHECKOUT: Final = "lollms"
"""The name of the environment with the core and the plugins, installed from this checkout's wheels."""


def among_others(name: str) -> str:
    """The environment that has three plugins and a thousand other distributions beside what `name` has."""
    return f"{name}, among others"


@dataclass(frozen=True, slots=True)
class _Recipe:
    """How an environment is made.

    Attributes:
        needs: what is installed, with what that needs.
        alone: what is installed without what it needs.
        others: how many other distributions are in it.
        plugins: whether it gets the three plugins of `bench.distributions`.
    """

    needs: tuple[str, ...]
    alone: tuple[str, ...] = ()
    others: int = 0
    plugins: bool = False


_OURS: Final = {
    CHECKOUT: _Recipe(WITH_NEEDS, ALONE),
    among_others(CHECKOUT): _Recipe(WITH_NEEDS, ALONE, OTHERS),
}
_PEERS: Final = {
    **{name: _Recipe(needs) for name, needs in NEEDS.items()},
    among_others("llm"): _Recipe((*NEEDS["llm"], *LLM_PLUGINS), others=OTHERS),
    among_others("stevedore"): _Recipe(NEEDS["stevedore"], others=OTHERS, plugins=True),
}


class Environments(Mapping[str, str]):
    """The Pythons of a run, by name; one that is missing is made, which takes up to minutes.

    Args:
        folder: where they are kept: those of peers in ``environments``, ours in ``checkout``.
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
        if name in self._given:
            return self._given[name]
        if name in _OURS:
            return str(_of_checkout(self._folder / "checkout", self._sources, _OURS[name]))
        recipe = _PEERS[name]
        return str(_made(self._folder / "environments" / _place(recipe.needs, recipe), recipe))

    @cached_property
    def _sources(self) -> str:
        """The hash of the sources when the first case wanted them: a run measures one state."""
        return hash_of_sources()

    def __iter__(self) -> Iterator[str]:
        yield from self._given
        yield from _OURS
        yield from _PEERS

    def __len__(self) -> int:
        return len(self._given) + len(_OURS) + len(_PEERS)


def _place(names: tuple[str, ...], recipe: _Recipe) -> str:
    """The name of an environment's folder."""
    version = f"{sys.implementation.name}{sys.version_info[0]}.{sys.version_info[1]}"
    others = (f"among-{recipe.others}",) if recipe.others else ()
    return re.sub(r"[^\w.]+", "-", "-".join((version, *names, *others)))


def _of_checkout(folder: Path, sources: str, recipe: _Recipe) -> Path:
    """That of an environment of these sources; those of other ones are removed."""
    if folder.is_dir():
        for old in folder.iterdir():
            if sources not in old.name:
                shutil.rmtree(old)
    return _made(folder / _place(("lollms", sources), recipe), recipe)


def _made(place: Path, recipe: _Recipe) -> Path:
    """The Python of an environment: made beside its place, and renamed when whole."""
    program = Path("Scripts" if os.name == "nt" else "bin") / "python"
    if not place.is_dir():
        print(f"Making the environment {place.name}: once.", file=sys.stderr, flush=True)
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=place.parent, prefix="building-") as name:
            made = Path(name) / "made"
            _run(sys.executable, "-m", "venv", str(made))
            # Afterwards it is renamed, so its programs do not start by themselves any more, but `python PROGRAM` does.
            install = (str(made / program), "-m", "pip", "install", "--quiet")
            _run(*install, *recipe.needs)
            if recipe.alone:
                _run(*install, "--no-deps", *recipe.alone)
            site = Path(
                _run(str(made / program), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
            )
            if recipe.plugins:
                add_plugins(site)
            if recipe.others:
                add_others(site, recipe.others)
            if recipe.plugins or recipe.others:
                _run(str(made / program), "-m", "compileall", "-qq", str(site))
            made.rename(place)
    return place / program


def _run(*command: str) -> str:
    # What this program finds by PYTHONPATH is no business of theirs.
    variables = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, env=variables
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed; the end of what it said:\n{done.stdout[-2000:]}")
    return done.stdout
