"""The models in llama.cpp's own cache: one folder of files, called by where they come from.

``OWNER_REPO_FILE`` is a file from the Hugging Face Hub, with ``_`` for ``/``; ``manifest=OWNER=REPO=TAG.json`` says
which file of a repository is meant by a tag, and which is its projector. Other files are called as their URL ends.
Source: common/download.cpp of https://github.com/ggml-org/llama.cpp, as it was until 2026; what came after it keeps
its files as huggingface_hub does.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from lollms_core.peer_json import loads
from lollms_llamacpp.stores.hub_names import is_path, is_repository, models_among, shards_of
from lollms_llamacpp.stores.places import llama_cpp_place
from lollms_llamacpp.stores.stored import Place, Stored, entries, is_inside, tell_once

__all__ = ["LlamaCppCache"]

_MANIFEST: Final = re.compile(r"manifest=([^=]+)=([^=]+)=([^=]+)\.json")
_MAX_MANIFEST: Final = 16 << 20
_NEWEST: Final = "latest"


@dataclass(frozen=True, slots=True)
class _Manifest:
    """What one of llama.cpp's manifests says: the name of a model, its file and that of its projector."""

    name: str
    file: str
    projector: str | None


class LlamaCppCache:
    """llama.cpp's cache.

    Args:
        place: where it is, asked each time.
    """

    prefix = "llama.cpp:"
    source = "llama.cpp"

    def __init__(self, place: Callable[[], Place] = llama_cpp_place) -> None:
        self._place = place

    def models(self) -> Iterator[Stored]:
        folder = self._place().folder
        listed = {entry.name: entry for entry in entries(folder)}
        manifests = [read for name, entry in listed.items() if (read := _manifest(name, entry)) is not None]
        for file in models_among(listed):
            if not listed[file].is_dir():
                own = [manifest for manifest in manifests if manifest.file == file]
                yield self._stored(folder, file, own, set(listed))

    def find(self, name: str) -> Stored | None:
        wanted = f"{self.prefix}{name}"
        return next((one for one in self.models() if wanted == one.name or wanted in one.aliases), None)

    def projector_of(self, path: Path) -> Path | None:
        if path.parent != self._place().folder:
            return None
        return next((one.projector for one in self.models() if one.path == path), None)

    def _stored(self, folder: Path, file: str, manifests: list[_Manifest], there: set[str]) -> Stored:
        stem = file.removesuffix(Path(file).suffix)
        # The tag of a quantisation says more than that of the newest.
        names = sorted((one.name for one in manifests), key=lambda name: (name.endswith(f":{_NEWEST}"), name))
        names = [f"{self.prefix}{name}" for name in [*names, stem, file]]
        projectors = [one.projector for one in manifests if one.projector is not None and one.projector in there]
        path = folder / file
        out = not all(is_inside(folder / shard, folder) for shard in shards_of(file))
        return Stored(
            names[0],
            path,
            self.source,
            projector=folder / projectors[0] if projectors else None,
            aliases=frozenset(names[1:]),
            error=f"cannot use the model file {path}: it is a link that leads out of the cache" if out else None,
        )


def _manifest(name: str, entry: os.DirEntry[str]) -> _Manifest | None:
    match = _MANIFEST.fullmatch(name)
    if match is None:
        return None
    owner, repo, tag = match.groups()
    if not is_repository(f"{owner}/{repo}"):
        return None
    try:
        if not entry.is_file(follow_symlinks=False) or entry.stat().st_size > _MAX_MANIFEST:
            raise ValueError("it is no regular file of a manifest's size")
        content = loads(Path(entry.path).read_bytes())
        file = _file(content, "ggufFile")
    except (OSError, ValueError) as error:
        tell_once(f"cannot use llama.cpp's manifest {entry.path}, its model goes by its file's name: {error}")
        return None
    if file is None:
        return None
    prefix = f"{owner}_{repo}_"
    projector = _file(content, "mmprojFile")
    cached = None if projector is None else f"{prefix}{projector}".replace("/", "_")
    return _Manifest(f"{owner}/{repo}:{tag}", f"{prefix}{file}".replace("/", "_"), cached)


def _file(content: Any, key: str) -> str | None:
    """The path in the repository that stands at `key`."""
    described = content.get(key) if isinstance(content, dict) else None
    path = described.get("rfilename") if isinstance(described, dict) else None
    return path if isinstance(path, str) and is_path(path) else None
