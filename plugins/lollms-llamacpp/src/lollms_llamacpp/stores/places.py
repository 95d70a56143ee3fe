"""Where Ollama, Hugging Face's packages and llama.cpp keep models on this machine.

Each function reads the environment anew, and gives folders that need not exist. Sources: envconfig/config.go of
https://github.com/ollama/ollama; "Environment variables" in the documentation of huggingface_hub; common/common.cpp
(fs_get_cache_directory) and common/hf-cache.cpp of https://github.com/ggml-org/llama.cpp.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

from lollms_llamacpp.stores.stored import Place

__all__ = ["hub_cache", "hub_places", "llama_cpp_place", "ollama_places"]

SYSTEM_OLLAMA: Final = (
    "/usr/share/ollama/.ollama/models",  # the home of the service's user, as Ollama's own installer makes it
    "/var/lib/ollama/.ollama/models",
    "/var/lib/ollama/models",
    "/var/lib/ollama",
)
"""Where systems keep the models of an Ollama that runs as a service."""


def ollama_places() -> list[Place]:
    """``OLLAMA_MODELS``, else ``~/.ollama/models``; then those of services."""
    named = _variable("OLLAMA_MODELS")
    own = _home() / ".ollama" / "models" if named is None else named
    system = [] if sys.platform == "win32" else [Place(Path(folder), own=False) for folder in SYSTEM_OLLAMA]
    return _each_once([Place(own), *system])


def hub_cache() -> Path:
    """The cache of huggingface_hub: ``HF_HUB_CACHE``, ``HF_HOME``/hub, or that below the user's caches."""
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        named = _variable(name)
        if named is not None:
            return named
    home = _variable("HF_HOME") or (_variable("XDG_CACHE_HOME") or _home() / ".cache") / "huggingface"
    return home / "hub"


def hub_places() -> list[Place]:
    """:func:`hub_cache`, and ``LLAMA_CACHE``, where newer llama.cpp keeps what it fetches in the same way."""
    named = _variable("LLAMA_CACHE")
    return _each_once([Place(hub_cache()), *([] if named is None else [Place(named)])])


def llama_cpp_place() -> Place:
    """``LLAMA_CACHE``, or ``llama.cpp`` below the user's caches."""
    named = _variable("LLAMA_CACHE")
    if named is not None:
        return Place(named)
    if sys.platform == "win32":
        caches = _variable("LOCALAPPDATA") or _home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        caches = _home() / "Library" / "Caches"
    else:
        caches = _variable("XDG_CACHE_HOME") or _home() / ".cache"
    return Place(caches / "llama.cpp")


def _variable(name: str) -> Path | None:
    """The folder in an environment variable; None if it is not set, empty, or cannot be one."""
    value = os.environ.get(name, "").strip().strip("\"'")
    if not value or "\0" in value:
        return None
    path = Path(os.path.expandvars(value))
    try:
        return path.expanduser().absolute()
    except RuntimeError:  # nobody's home
        return path.absolute()


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError:  # a user without one: a folder that is not there
        return Path("~").absolute()


def _each_once(places: list[Place]) -> list[Place]:
    """Without those that another name of the same folder stands for."""
    found: dict[str, Place] = {}
    for place in places:
        found.setdefault(os.path.realpath(place.folder), place)
    return list(found.values())
