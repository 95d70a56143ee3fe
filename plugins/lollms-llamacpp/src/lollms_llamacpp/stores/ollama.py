"""The models in Ollama's store: manifests by name, each with the digests of its layers, and blobs by digest.

``manifests/HOST/NAMESPACE/MODEL/TAG`` is a JSON file; ``blobs/sha256-DIGEST`` is a layer. From 0.40 on there is also
``manifests-v2``, where a manifest is a link to a blob, the public registry is called ollama.com, a colon in a host is
``%3A``, and a manifest may be a list of several, each for one runner. Sources: manifest/manifest.go, manifest/paths.go
and types/model/name.go of https://github.com/ollama/ollama.
"""

from __future__ import annotations

import logging
import os
import re
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from lollms_core.peer_json import loads
from lollms_llamacpp.stores.places import ollama_places
from lollms_llamacpp.stores.stored import Place, Stored, entries, is_inside, is_there, tell_once

__all__ = ["Ollama", "OllamaName"]

_FOLDERS: Final = ("manifests-v2", "manifests")
_REGISTRY: Final = "registry.ollama.ai"
_REGISTRIES: Final = frozenset({_REGISTRY, "ollama.com"})
_NAMESPACE: Final = "library"
_TAG: Final = "latest"
_PART: Final = re.compile(r"\w[\w.-]*", re.ASCII)
_HOST: Final = re.compile(r"\w[\w.:-]*", re.ASCII)

_DIGEST: Final = re.compile(r"sha256[:-]([0-9a-fA-F]{64})")
_MODEL: Final = "application/vnd.ollama.image.model"
_PROJECTOR: Final = "application/vnd.ollama.image.projector"
_ADAPTER: Final = "application/vnd.ollama.image.adapter"
_LIST: Final = "application/vnd.ollama.manifest.list.v2+json"
_RUNNERS: Final = ("ollama", "ggml", "llamacpp", "")  # those whose models are GGUF files, the best first

_MAX_MANIFEST: Final = 4 << 20
_MAX_CACHED: Final = 4096


class OllamaName(NamedTuple):
    """A model's name in its four parts."""

    host: str
    namespace: str
    model: str
    tag: str

    @classmethod
    def parse(cls, text: str) -> OllamaName | None:
        """``[[HOST/]NAMESPACE/]MODEL[:TAG]`` as Ollama takes it; None if it is no such name."""
        text = text.removeprefix("https://").removeprefix("http://")
        colon = text.rfind(":")
        tag = _TAG
        if colon > text.rfind("/"):
            text, tag = text[:colon], text[colon + 1 :]
        parts = text.split("/")
        if len(parts) > 3:
            return None
        return cls.of([*(_REGISTRY, _NAMESPACE)[: 3 - len(parts)], *parts, tag])

    @classmethod
    def of(cls, parts: list[str]) -> OllamaName | None:
        """From host, namespace, model and tag; None if one of them cannot be one."""
        host, *others = parts
        if not _HOST.fullmatch(host) or not all(_PART.fullmatch(part) for part in others):
            return None
        return cls(_REGISTRY if host.lower() in _REGISTRIES else host, *others)

    @property
    def shown(self) -> str:
        """As ``ollama list`` shows it: without the registry and the namespace that go without saying."""
        place = f"{self.host}/" if self.host != _REGISTRY else ""
        if place or self.namespace != _NAMESPACE:
            place += f"{self.namespace}/"
        return f"{place}{self.model}:{self.tag}"


class _Layers(NamedTuple):
    """The digests in one manifest."""

    models: tuple[str, ...]
    projectors: tuple[str, ...]
    adapters: tuple[str, ...]


class _BrokenError(Exception):
    """What is wrong with a manifest, or with a blob that it names."""


class Ollama:
    """Ollama's store, which may be in several places: the user's, and a service's.

    Args:
        places: where to look, asked each time.
    """

    prefix = "ollama:"
    source = "ollama"

    def __init__(self, places: Callable[[], list[Place]] = ollama_places) -> None:
        self._places = places

    def models(self) -> Iterator[Stored]:
        for name, manifest, root in self._manifests():
            found = self._stored(name, manifest, root)
            if found is not None:
                yield found

    def find(self, name: str) -> Stored | None:
        wanted = OllamaName.parse(name)
        if wanted is None:
            return None
        manifests = list(self._manifests())
        for same in (lambda one: one == wanted, lambda one: _folded(one) == _folded(wanted)):
            for found, manifest, root in manifests:
                if same(found):
                    return self._stored(found, manifest, root)
        return None

    def projector_of(self, path: Path) -> Path | None:
        if path.parent.name != "blobs":
            return None
        for name, manifest, root in self._manifests():
            if root == path.parent.parent:
                found = self._stored(name, manifest, root)
                if found is not None and found.path == path and found.projector is not None:
                    return found.projector
        return None

    def _manifests(self) -> Iterator[tuple[OllamaName, Path, Path]]:
        """Names, manifests and the stores that they are in; of several with one name, that which Ollama would take."""
        found: dict[OllamaName, tuple[Path, Path]] = {}
        for root, own in self._places():
            for folder in _FOLDERS:
                for parts, path in _below(root / folder, 4, own):
                    host = parts[0].replace("%3A", ":").replace("%3a", ":")
                    name = OllamaName.of([host, *parts[1:]])
                    if name is None:
                        tell_once(f"{path} is no manifest of Ollama: its name cannot be one", logging.DEBUG)
                    elif name not in found or not is_there(found[name][0]):  # a link that has lost its blob
                        found[name] = path, root
        for name, (path, root) in found.items():
            yield name, path, root

    def _stored(self, name: OllamaName, manifest: Path, root: Path) -> Stored | None:
        """The model of a manifest; None if it has none that is a GGUF file."""
        shown = f"{self.prefix}{name.shown}"
        try:
            layers = _layers(manifest, root)
            if not layers.models:
                tell_once(f"{shown} has no GGUF file here: it runs elsewhere, or not on llama.cpp", logging.DEBUG)
                return None
            if len(layers.models) > 1:
                raise _BrokenError(f"it names {len(layers.models)} model files")
            path = _blob(root, layers.models[0])
            projector = _blob(root, layers.projectors[0]) if layers.projectors else None
            adapters = tuple(_blob(root, digest) for digest in layers.adapters)
        except _BrokenError as error:
            return Stored(shown, manifest, self.source, error=f"cannot use Ollama's manifest {manifest}: {error}")
        return Stored(shown, path, self.source, projector, adapters)


def _folded(name: OllamaName) -> tuple[str, ...]:
    return tuple(part.lower() for part in name)


def _below(folder: Path, depth: int, own: bool) -> Iterator[tuple[list[str], Path]]:
    """The files `depth` levels below a folder, with the parts of their paths there. Linked folders are not entered."""
    for entry in entries(folder, own=own):
        if depth == 1:
            if not entry.name.startswith(".") and not entry.is_dir(follow_symlinks=False):
                yield [entry.name], Path(entry.path)
        elif entry.is_dir(follow_symlinks=False):
            for parts, path in _below(Path(entry.path), depth - 1, own):
                yield [entry.name, *parts], path


# Manifests --------------------------------------------------------------------------------------------

_cache: dict[str, tuple[tuple[int, ...], _Layers]] = {}
_cache_lock = threading.Lock()


def _layers(manifest: Path, root: Path) -> _Layers:
    """The layers of a manifest, read again only when it has changed."""
    try:
        status = manifest.stat()
    except OSError as error:
        raise _BrokenError(error.strerror) from None
    stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
    with _cache_lock:
        known = _cache.get(str(manifest))
    if known is not None and known[0] == stamp:
        return known[1]
    if not is_inside(manifest, root):
        raise _BrokenError("it is a link that leads out of the store")
    layers = _layers_of(_read(manifest), root)
    with _cache_lock:
        if len(_cache) >= _MAX_CACHED:
            _cache.clear()
        _cache[str(manifest)] = (stamp, layers)
    return layers


def _read(path: Path) -> dict[str, Any]:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise _BrokenError("it is not a regular file")
        if status.st_size > _MAX_MANIFEST:
            raise _BrokenError(f"it has {status.st_size} bytes, which no manifest has")
        content = loads(path.read_bytes())
    except OSError as error:
        raise _BrokenError(error.strerror) from None
    except ValueError as error:
        raise _BrokenError(f"it is no JSON ({error})") from None
    if not isinstance(content, dict):
        raise _BrokenError("it is no JSON object")
    return content


def _layers_of(manifest: dict[str, Any], root: Path) -> _Layers:
    if manifest.get("mediaType") != _LIST:
        return _own_layers(manifest)
    children = manifest.get("manifests")
    if not isinstance(children, list) or not all(isinstance(child, dict) for child in children):
        raise _BrokenError("its list of manifests is none")
    for runner in _RUNNERS:
        for child in children:
            if str(child.get("runner") or "").lower() != runner:
                continue
            if not child.get("layers") and isinstance(child.get("digest"), str):
                child = _read(_blob(root, child["digest"]))  # noqa: PLW2901 - the same manifest, where it is written
            layers = _own_layers(child)
            if layers.models:
                return layers
    return _Layers((), (), ())


def _own_layers(manifest: dict[str, Any]) -> _Layers:
    listed = manifest.get("layers")
    if listed is None:  # a model that runs elsewhere
        return _Layers((), (), ())
    if not isinstance(listed, list):
        raise _BrokenError("its layers are no list")
    found: dict[str, list[str]] = {_MODEL: [], _PROJECTOR: [], _ADAPTER: []}
    for layer in listed:
        kind, digest = (layer.get("mediaType"), layer.get("digest")) if isinstance(layer, dict) else (None, None)
        if kind in found:
            if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
                raise _BrokenError(f"a layer has the digest {digest!r}")
            found[kind].append(digest)
    return _Layers(*(tuple(found[kind]) for kind in (_MODEL, _PROJECTOR, _ADAPTER)))


def _blob(root: Path, digest: str) -> Path:
    """The file of a layer, which must lie in the store."""
    match = _DIGEST.fullmatch(digest)
    if match is None:
        raise _BrokenError(f"a manifest has the digest {digest!r}")
    path = root / "blobs" / f"sha256-{match[1].lower()}"
    try:
        status = os.lstat(path)
        if stat.S_ISLNK(status.st_mode):
            if not is_inside(path, root, root / "blobs"):
                raise _BrokenError(f"its layer {path.name} is a link that leads out of the store")
            status = path.stat()
    except OSError as error:
        raise _BrokenError(f"its layer {path.name} cannot be read: {error.strerror}") from None
    if not stat.S_ISREG(status.st_mode):
        raise _BrokenError(f"its layer {path.name} is not a regular file")
    return path
