"""Vocabularies, kept in memory and on disk by the model's digest."""

from __future__ import annotations

import hashlib
import json
import logging
import threading
import zlib
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from lollms_core import LollmsError
from lollms_core.files import write_whole

__all__ = ["VocabularyStore"]

_log = logging.getLogger(__name__)

_FORMAT: Final = 1
_KEPT_IN_MEMORY: Final = 4
_PREFIX: Final = "tokenizer.ggml."
_NAME_KEYS: Final = ("general.architecture", "general.name")  # special tokens of some models depend on them
_MAX_BYTES: Final = 512 * 1024 * 1024


class VocabularyStore:
    """Tokenizers by model digest.

    Args:
        folder: where they are kept on disk; None is the user's cache directory.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self.fetching = threading.Lock()
        """For whoever fetches one: it may be 30 MB, so nobody shall fetch a second one meanwhile."""
        self._recent: OrderedDict[str, Any] = OrderedDict()

    def in_memory(self, digest: str) -> Any:
        """The tokenizer for `digest` if it was used lately, else None."""
        with self._lock:
            tokenizer = self._recent.get(digest)
            if tokenizer is not None:
                self._recent.move_to_end(digest)
            return tokenizer

    def on_disk(self, digest: str) -> Any:
        """The tokenizer for `digest` if its vocabulary is on disk and whole, else None."""
        path = self._path(digest)
        try:
            metadata = _read(path)
            tokenizer = None if metadata is None else _built(metadata)
        except (LollmsError, OSError, ValueError, TypeError, KeyError, zlib.error) as error:
            _log.info("the vocabulary in %s cannot be used and is fetched again: %s", path, error)
            return None
        if tokenizer is not None:
            self._remember(digest, tokenizer)
        return tokenizer

    def new(self, digest: str | None, metadata: Mapping[str, Any]) -> Any:
        """The tokenizer for a vocabulary that has just been fetched; it is kept if `digest` is known.

        Raises:
            CapabilityNotSupported: its kind cannot be done exactly.
            ProtocolError: it is damaged.
        """
        kept = {key: value for key, value in metadata.items() if key.startswith(_PREFIX) or key in _NAME_KEYS}
        tokenizer = _built(kept)
        if digest is not None:
            self._remember(digest, tokenizer)
            path = self._path(digest)
            try:
                _write(path, kept)
            except OSError as error:
                _log.info("the vocabulary cannot be kept in %s: %s", path, error)
        return tokenizer

    def _remember(self, digest: str, tokenizer: Any) -> None:
        with self._lock:
            self._recent[digest] = tokenizer
            while len(self._recent) > _KEPT_IN_MEMORY:
                self._recent.popitem(last=False)

    def _path(self, digest: str) -> Path:
        folder = self._folder
        if folder is None:
            import platformdirs

            folder = Path(platformdirs.user_cache_dir("lollms", appauthor=False)) / "ollama-vocabularies"
        # The server's text is no file name.
        return folder / f"{hashlib.sha256(digest.encode('utf-8', 'replace')).hexdigest()}.v{_FORMAT}.json.z"


def _built(metadata: Mapping[str, Any]) -> Any:
    from lollms_ollama.vocabulary import vocabulary_tokenizer

    return vocabulary_tokenizer(metadata)


def _read(path: Path) -> Mapping[str, Any] | None:
    """The metadata in `path`, None if there is no such file.

    Raises:
        OSError, ValueError, zlib.error: it cannot be read, or is damaged.
    """
    try:
        packed = path.read_bytes()
    except FileNotFoundError:
        return None
    unpacker = zlib.decompressobj()
    text = unpacker.decompress(packed, _MAX_BYTES)
    if not unpacker.eof:
        raise ValueError("it is cut short or too large")
    found = json.loads(text)  # zlib has checked its sum
    if not isinstance(found, dict):
        raise ValueError("it holds no vocabulary")  # noqa: TRY004 - data, not an argument
    return found


def _write(path: Path, metadata: Mapping[str, Any]) -> None:
    write_whole(path, zlib.compress(json.dumps(metadata, ensure_ascii=True, separators=(",", ":")).encode(), 1))
