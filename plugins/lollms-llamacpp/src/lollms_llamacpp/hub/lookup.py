"""Which files of a repository a name means, as the hub tells them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Final

from lollms_core import BackendError, ModelNotFound, ProtocolError
from lollms_llamacpp.hub.session import Hub
from lollms_llamacpp.stores.hub_names import HubName, is_path, shards_of

__all__ = ["RemoteFile", "RemoteModel", "look_up"]

_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_CHECKSUM: Final = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file of a repository.

    Attributes:
        path: where it is there, with ``/``.
        size: bytes.
        checksum: its SHA-256, or, where it is not stored apart from the repository, what git calls it (SHA-1).
    """

    path: str
    size: int
    checksum: str


@dataclass(frozen=True, slots=True)
class RemoteModel:
    """A model: its files, in the order of their numbers, at a commit."""

    repo: str
    commit: str
    files: tuple[RemoteFile, ...]


def look_up(hub: Hub, name: HubName) -> RemoteModel:
    """The model that a name means.

    Raises:
        ModelNotFound: there is none, or several.
        BackendError: what is meant is no GGUF file.
        ProtocolError: what the hub tells cannot be.
        LollmsError: it cannot be asked.
    """
    info = hub.info(name.repo, name.revision)
    commit = info.sha
    if not isinstance(commit, str) or not _COMMIT.fullmatch(commit):
        raise ProtocolError(f"{hub.host} does not say which commit of {name.repo} it tells of")
    told = {file.rfilename: file for file in info.siblings or () if is_path(file.rfilename)}
    if name.file in told and PurePosixPath(name.file or "").suffix.lower() != ".gguf":
        raise BackendError(f"cannot fetch hf:{name.of(name.file or '')}: it is no GGUF file")
    first = name.choose(told)
    if first is None:
        raise ModelNotFound(name.missing(told))
    files = []
    for path in shards_of(first):
        if path not in told:
            raise ModelNotFound(f"hf:{name.place} lacks {path}, without which {first} cannot be used")
        files.append(_file(hub, told[path]))
    return RemoteModel(name.repo, commit, tuple(files))


def _file(hub: Hub, told: Any) -> RemoteFile:
    # The checksum becomes a file's name.
    checksum = told.lfs.sha256 if told.lfs is not None else told.blob_id
    size = told.lfs.size if told.lfs is not None else told.size
    if not isinstance(checksum, str) or not _CHECKSUM.fullmatch(checksum) or type(size) is not int or size < 0:
        raise ProtocolError(f"{hub.host} does not tell size and checksum of {told.rfilename}")
    return RemoteFile(told.rfilename, size, checksum)
