"""Names of models on the Hugging Face Hub: which repository, which revision, which of its files.

OWNER/REPO/PATH/FILE.gguf     a file; of a split model any of its files, or the name that they have in common
OWNER/REPO:Q4_K_M             the model of that quantisation, by the names of the files
OWNER/REPO                    the only model
OWNER/REPO@REVISION...        each of these as it was at a commit, a tag or a branch
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from lollms_core import ModelNotFound
from lollms_core.errors import close_names
from lollms_llamacpp.model_file import shard_of

__all__ = ["HubName", "is_repository", "models_among", "shards_of"]

_PART: Final = r"\w(?:[\w.-]*\w)?"
_REPOSITORY: Final = re.compile(rf"{_PART}/{_PART}", re.ASCII)
_NAME: Final = re.compile(
    rf"(?P<repo>{_PART}/{_PART})(?:@(?P<revision>{_PART}))?(?:/(?P<file>.+)|:(?P<quantization>[\w.-]+))?",
    re.ASCII | re.DOTALL,
)
_MOST: Final = 1024  # characters
# What lies among models in repositories, and is none.
_COMPANION: Final = re.compile(r"mmproj|imatrix", re.IGNORECASE)


def is_repository(text: str) -> bool:
    """Whether `text` is ``OWNER/REPO``."""
    return _REPOSITORY.fullmatch(text) is not None and ".." not in text and "--" not in text


@dataclass(frozen=True, slots=True)
class HubName:
    """A name in its parts.

    Attributes:
        repo: ``OWNER/REPO``.
        revision: a commit, tag or branch; None for the newest.
        file: the path of a file, with ``/``.
        quantization: in its place, such as ``Q4_K_M``.
    """

    repo: str
    revision: str | None = None
    file: str | None = None
    quantization: str | None = None

    @classmethod
    def parse(cls, text: str) -> HubName | None:
        """From `text`, without the prefix; None if it is no such name."""
        match = _NAME.fullmatch(text) if len(text) <= _MOST else None
        if match is None or not is_repository(match["repo"]) or ".." in (match["revision"] or ""):
            return None
        file = match["file"]
        if file is not None and not is_path(file):
            return None
        return cls(match["repo"], match["revision"], file, match["quantization"])

    @property
    def place(self) -> str:
        """The repository, and the revision if there is one."""
        return self.repo if self.revision is None else f"{self.repo}@{self.revision}"

    def of(self, file: str) -> str:
        """The name of a file there, without the prefix."""
        return f"{self.place}/{file}"

    def choose(self, files: Iterable[str]) -> str | None:
        """The file that is meant among those of the repository, of a split model the first; None if there is none.

        Raises:
            ModelNotFound: several models are meant; the text names them.
        """
        paths = sorted(files)
        if self.file is not None:
            named = {name: path for path in models_among(paths, companions=True) for name in _names_of(path)}
            return named.get(self.file)
        models = models_among(paths)
        if self.quantization is not None:
            wanted = re.compile(rf"(?:.*[-._/])?{re.escape(self.quantization)}(?:[-./].*)?", re.IGNORECASE | re.DOTALL)
            models = [path for path in models if wanted.fullmatch(_stem(path))]
        if len(models) > 1:
            shown = ", ".join(models[:12]) + (", ..." if len(models) > 12 else "")
            raise ModelNotFound(
                f"there are {len(models)} models in hf:{self.place}: {shown}; name one as hf:{self.of(models[0])}"
            )
        return models[0] if models else None

    def missing(self, files: Iterable[str]) -> str:
        """What to say where :meth:`choose` has found none among `files`."""
        models = models_among(sorted(files), companions=True)
        if not models:
            return f"there is no GGUF file in hf:{self.place}"
        wanted = self.file or self.quantization or ""
        close = close_names(wanted, [_stem(path) if self.file is None else path for path in models])
        return f"there is no model {wanted!r} in hf:{self.place}.{close}"


def is_path(path: str) -> bool:
    """Whether `path` is one inside a repository, and can be one on any system."""
    parts = path.split("/")
    return not any(part in {"", ".", ".."} for part in parts) and not re.search(r'[\0-\x1f\\:*?"<>|]', path)


def models_among(files: Iterable[str], *, companions: bool = False) -> list[str]:
    """The GGUF files, of split models the first ones; without projectors unless `companions`."""
    found = []
    for file in files:
        path = PurePosixPath(file)
        if path.suffix.lower() != ".gguf" or (not companions and _COMPANION.search(path.name)):
            continue
        shard = shard_of(path)
        if shard is None or shard[1] == 1:
            found.append(file)
    return found


def shards_of(file: str) -> list[str]:
    """All files of the model whose first file this is."""
    path = PurePosixPath(file)
    shard = shard_of(path)
    if shard is None:
        return [file]
    stem, _, count = shard
    return [str(path.with_name(f"{stem}-{one:05d}-of-{count:05d}{path.suffix}")) for one in range(1, count + 1)]


def _stem(file: str) -> str:
    """Its path without what all GGUF files have, and without the number of a split one."""
    path = PurePosixPath(file)
    shard = shard_of(path)
    return str(path.with_name(shard[0] if shard is not None else path.stem))


def _names_of(file: str) -> set[str]:
    """What a file may be called: itself, its stem; of a split model any of its files, and what they have in common."""
    shards = shards_of(file)
    names = {*shards, *(one.removesuffix(PurePosixPath(one).suffix) for one in shards), _stem(file)}
    return names | {f"{_stem(file)}.gguf"}
