"""What all stores of models have: an entry, a place to look in, and what is told of once."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple, Protocol

__all__ = ["Place", "Store", "Stored", "entries", "is_inside", "is_link", "is_there", "tell_once"]

_log = logging.getLogger("lollms_llamacpp.stores")

_told: set[str] = set()
_told_lock = threading.Lock()
_MOST_TOLD: Final = 1000


class Place(NamedTuple):
    """A folder in which a store may be; ``own``: it is the user's, or named by an environment variable."""

    folder: Path
    own: bool = True


@dataclass(frozen=True, slots=True)
class Stored:
    """A model in the store of another program.

    Attributes:
        name: its name, with the store's prefix.
        path: its file; of a split model the first one; of an entry with `error` the file that is wrong.
        source: the store, for people: ``ollama``, ``huggingface``, ``llama.cpp``.
        projector: what the store keeps with it for images.
        adapters: LoRA adapters that are part of it.
        aliases: other names that lead to it, with the prefix.
        error: why it cannot be used; None if that is not known yet.
    """

    name: str
    path: Path
    source: str
    projector: Path | None = None
    adapters: tuple[Path, ...] = ()
    aliases: frozenset[str] = frozenset()
    error: str | None = None


class Store(Protocol):
    """Where another program keeps its models. No method writes anything, and none fails for what it finds there.

    Attributes:
        prefix: what the names of its models begin with.
        source: as in :class:`Stored`.
    """

    prefix: str
    source: str

    def models(self) -> Iterable[Stored]:
        """All models; an entry with ``error`` for what should be one."""

    def find(self, name: str) -> Stored | None:
        """The model `name`, without the prefix; None if there is none. A name is compared, it never becomes a path.

        Raises:
            ModelNotFound: there are several.
        """

    def projector_of(self, path: Path) -> Path | None:
        """The projector that the store keeps for the model in the file `path`."""


def entries(folder: str | Path, *, own: bool = True) -> Iterator[os.DirEntry[str]]:
    """What is in a folder, in the order of the names; nothing if it is not there or cannot be read, which is told."""
    try:
        with os.scandir(folder) as found:
            listed = sorted(found, key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return
    except (OSError, ValueError) as error:
        # Where a system's service has its models, it is normal that not everybody may read them.
        reason = error.strerror if isinstance(error, OSError) else error
        tell_once(f"cannot look for models in {folder}: {reason}", logging.WARNING if own else logging.DEBUG)
        return
    yield from listed


def is_inside(path: str | Path, *folders: str | Path) -> bool:
    """Whether `path`, all links followed, lies in one of `folders`."""
    real = Path(os.path.realpath(path))
    return any(real.is_relative_to(os.path.realpath(folder)) for folder in folders)


def is_link(path: Path) -> bool:
    """Whether `path` is a link; ``Path.is_symlink`` may raise instead."""
    try:
        path.readlink()
    except (OSError, ValueError):
        return False
    return True


def is_there(path: Path) -> bool:
    """Whether `path`, all links followed, is something that can be looked at; ``Path.exists`` may raise instead."""
    try:
        path.stat()
    except (OSError, ValueError):
        return False
    return True


def tell_once(message: str, level: int = logging.WARNING) -> None:
    """Log `message`, once in this process: a list of models is asked for again and again."""
    with _told_lock:
        if message in _told:
            return
        if len(_told) >= _MOST_TOLD:
            _told.clear()
        _told.add(message)
    _log.log(level, "%s", message)
