"""Stores of other programs, as these lay them out, with files that are written here."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lollms_llamacpp.library import Library
from lollms_llamacpp.stores import Stores

_OLLAMA = "application/vnd.ollama.image."
COMMIT = "1" * 40
OTHER = "2" * 40


class OllamaStore:
    """A folder like ``OLLAMA_MODELS``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "blobs").mkdir(parents=True, exist_ok=True)

    def blob(self, content: bytes) -> str:
        """The digest of a new blob."""
        name = hashlib.sha256(content).hexdigest()
        (self.folder / "blobs" / f"sha256-{name}").write_bytes(content)
        return f"sha256:{name}"

    def path_of(self, digest: str) -> Path:
        return self.folder / "blobs" / digest.replace(":", "-")

    def manifest(self, layers: Mapping[str, bytes | str], **others: Any) -> dict[str, Any]:
        """A manifest of layers by their kind: the content of a blob to make, or the digest of one."""
        made = [
            {
                "mediaType": f"{_OLLAMA}{kind.rstrip('0123456789')}",
                "digest": content if isinstance(content, str) else self.blob(content),
                "size": 1,
            }
            for kind, content in layers.items()
        ]
        return {"schemaVersion": 2, "config": {"digest": "sha256:" + "0" * 64}, "layers": made, **others}

    def add(self, name: str, manifest: object, *, folder: str = "manifests") -> Path:
        """Write a manifest below ``HOST/NAMESPACE/MODEL/TAG``."""
        path = self.folder / folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(manifest if isinstance(manifest, bytes) else json.dumps(manifest).encode())
        return path

    def library(self, name: str, layers: Mapping[str, bytes | str]) -> Path:
        """A model ``NAME/TAG`` of the library."""
        return self.add(f"registry.ollama.ai/library/{name}", self.manifest(layers))


class HubCache:
    """A folder like ``HF_HUB_CACHE``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def repository(self, repo: str) -> Path:
        return self.folder / f"models--{repo.replace('/', '--')}"

    def add(self, repo: str, file: str, content: bytes, commit: str = COMMIT, *, ref: str | None = "main") -> Path:
        """A file of a revision: a blob, a link to it, and the reference."""
        repository = self.repository(repo)
        blob = repository / "blobs" / hashlib.sha256(content).hexdigest()
        path = repository / "snapshots" / commit / file
        for folder in (blob.parent, path.parent, repository / "refs"):
            folder.mkdir(parents=True, exist_ok=True)
        blob.write_bytes(content)
        path.symlink_to("../" * (file.count("/") + 2) + f"blobs/{blob.name}")
        if ref is not None:
            (repository / "refs" / ref).write_text(commit)
        return path


def names() -> list[str]:
    """The models of all stores."""
    return [one.name for one in Stores().models()]


def path_of(name: str) -> Path:
    """Where a name leads through the library, as a binding asks."""
    return Library(None).find(name)


def entry(name: str) -> dict[str, Any]:
    """A model as it is listed."""
    (found,) = [model for model in Library(None).models() if model["model_name"] == name]
    return found
