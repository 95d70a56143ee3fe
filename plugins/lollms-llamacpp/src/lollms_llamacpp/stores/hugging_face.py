"""The models in the cache of Hugging Face's packages, which newer llama.cpp shares.

``models--OWNER--REPO`` has ``blobs`` by checksum, ``snapshots/COMMIT`` with links to them, and ``refs/REVISION`` with
the commits that branches and tags stood at. Where a system has no links, the files themselves are in the snapshots;
a blob may be a link into a folder ``blobs`` that all repositories share. Source: "Understand caching" in the
documentation of huggingface_hub, and its utils/_shared_blobs.py.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from lollms_core import ModelNotFound
from lollms_llamacpp.stores.hub_names import HubName, is_repository, models_among, shards_of
from lollms_llamacpp.stores.places import hub_places
from lollms_llamacpp.stores.stored import Place, Stored, entries, is_inside, is_there

__all__ = ["HuggingFace"]

_FOLDER: Final = "models--"
_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_PROJECTOR: Final = re.compile(r"mmproj[^/]*\.gguf\Z", re.IGNORECASE)
_F16: Final = re.compile(r"(?<![a-z])fp?16", re.IGNORECASE)
_DEEPEST: Final = 8  # folders in a repository
_MAX_REF: Final = 1024


class _Snapshot(NamedTuple):
    """The files of a repository as they were at a commit: `label` is the branch, the tag, or the commit itself.

    The folders are texts here: a list goes through hundreds, and a Path costs more than what is asked of it.
    """

    repository: str
    folder: str
    label: str

    def files(self) -> list[str]:
        """The paths of its files, with ``/``; linked folders are not entered."""
        found = []
        folders = [("", self.folder, 0)]
        while folders:
            inside, folder, depth = folders.pop()
            for entry in entries(folder):
                if not entry.is_dir(follow_symlinks=False):
                    found.append(f"{inside}{entry.name}")
                elif depth < _DEEPEST:
                    folders.append((f"{inside}{entry.name}/", entry.path, depth + 1))
        return sorted(found)

    def blob(self, file: str) -> tuple[str, str | None]:
        """What a file is a link to, or the file itself, and what is wrong with that.

        It may only lead to a blob of the repository, or to one that all repositories share.
        """
        path = f"{self.folder}/{file}"
        try:
            target = os.readlink(path)  # noqa: PTH115 - see above
        except OSError:
            return path, None  # no link; whether it can be read is seen when it is
        up, blobs, name = target.replace("\\", "/").rpartition("blobs/")
        # The usual case is seen without a look at every folder on the way.
        if blobs and up == "../" * (file.count("/") + 2) and name not in {"", ".", ".."}:
            blob = f"{self.repository}/blobs/{name}"
            try:
                if stat.S_ISREG(os.lstat(blob).st_mode):
                    return blob, None
            except OSError:
                return blob, "the blob that it is a link to is not there"
        blob = os.path.realpath(path)
        if not is_inside(blob, f"{self.repository}/blobs", f"{self.repository}/../blobs"):
            return blob, "it is a link that leads out of the repository's blobs"
        return blob, None if is_there(Path(blob)) else "the blob that it is a link to is not there"


class HuggingFace:
    """The cache of huggingface_hub.

    Args:
        places: where to look, asked each time.
    """

    prefix = "hf:"
    source = "huggingface"

    def __init__(self, places: Callable[[], list[Place]] = hub_places) -> None:
        self._places = places

    def models(self) -> Iterator[Stored]:
        """All models. What several revisions have under one name is shown once, or, where it differs, with each."""
        shown: set[str] = set()
        for repo, folder in self._repositories():
            seen: dict[str, set[str]] = {}
            for snapshot in _snapshots(folder):
                for file in models_among(snapshot.files()):
                    blobs = seen.setdefault(file, set())
                    blob, _ = snapshot.blob(file)
                    if blob in blobs:
                        continue
                    stored = self._stored(HubName(repo, snapshot.label if blobs else None), file, snapshot)
                    blobs.add(blob)
                    if stored.name not in shown:  # as it is where the repository is in another place, too
                        shown.add(stored.name)
                        yield stored

    def find(self, name: str) -> Stored | None:
        wanted = HubName.parse(name)
        if wanted is None:
            return None
        several: ModelNotFound | None = None
        for repo, folder in self._repositories():
            if repo != wanted.repo:
                continue
            for snapshot in _snapshots(folder, wanted.revision):
                try:
                    file = wanted.choose(snapshot.files())
                except ModelNotFound as error:
                    several = several or error
                    continue
                if file is not None:
                    return self._stored(wanted, file, snapshot)
        if several is not None:
            raise several
        return None

    def projector_of(self, path: Path) -> Path | None:
        """The repository's projector in the same snapshot; of several the one in F16."""
        for place in self._places():
            try:
                repo, snapshots, commit, *_ = path.relative_to(place.folder).parts
            except ValueError:
                continue
            if not repo.startswith(_FOLDER) or snapshots != "snapshots":
                continue
            repository = place.folder / repo
            snapshot = _Snapshot(str(repository), str(repository / snapshots / commit), commit)
            files = [file for file in snapshot.files() if _PROJECTOR.search(file)]
            best = [file for file in files if _F16.search(file)]
            for chosen in (files, best):
                if len(chosen) == 1 and snapshot.blob(chosen[0])[1] is None:
                    return Path(snapshot.folder, chosen[0])
        return None

    def _repositories(self) -> Iterator[tuple[str, str]]:
        for place in self._places():
            for entry in entries(place.folder, own=place.own):
                repo = entry.name.removeprefix(_FOLDER).replace("--", "/")
                if entry.name.startswith(_FOLDER) and is_repository(repo) and entry.is_dir(follow_symlinks=False):
                    yield repo, entry.path

    def _stored(self, name: HubName, file: str, snapshot: _Snapshot) -> Stored:
        told = None
        for shard in shards_of(file):
            fault = snapshot.blob(shard)[1]
            if fault is not None:
                told = f"cannot use the model file {snapshot.folder}/{shard}: {fault}"
                break
        return Stored(f"{self.prefix}{name.of(file)}", Path(snapshot.folder, file), self.source, error=told)


def _snapshots(repository: str, revision: str | None = None) -> Iterator[_Snapshot]:
    """The repository's revisions: the branch ``main`` first, then the newest; or only the one that is named."""
    if revision is not None:
        commit = _refs(repository).get(revision) or revision
        if _COMMIT.fullmatch(commit):
            yield _Snapshot(repository, f"{repository}/snapshots/{commit}", revision)
        return
    found = [entry for entry in entries(f"{repository}/snapshots") if entry.is_dir(follow_symlinks=False)]
    if len(found) > 1:
        refs = _refs(repository)
        labels = {commit: name for name, commit in sorted(refs.items(), reverse=True) if commit is not None}
        found.sort(key=lambda entry: (entry.name != refs.get("main"), -_changed(entry)))
        for entry in found:
            yield _Snapshot(repository, entry.path, labels.get(entry.name, entry.name))
    else:
        for entry in found:
            yield _Snapshot(repository, entry.path, entry.name)


def _refs(repository: str) -> dict[str, str | None]:
    """The commits that branches and tags stood at."""
    return {entry.name: _commit(entry) for entry in entries(f"{repository}/refs")}


def _commit(ref: os.DirEntry[str]) -> str | None:
    """The commit that a branch or a tag stood at; None for a folder: what is below it has names that none here has."""
    try:
        with Path(ref.path).open(encoding="ascii") as file:
            text = file.read(_MAX_REF).strip()
    except (OSError, ValueError):
        return None
    return text if _COMMIT.fullmatch(text) else None


def _changed(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat().st_mtime_ns
    except OSError:
        return 0
