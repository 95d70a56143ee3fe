"""What a list of models says of each file, remembered while the file stays as it is.

Reading a header takes some milliseconds, and somebody may have hundreds of models; so what was read is kept, in this
process and, in a small file in the user's cache directory, for the next. What is kept is for lists alone: whoever loads
a model reads its header anew.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

from lollms_core import LollmsError
from lollms_core.files import write_whole
from lollms_llamacpp.gguf_strings import SeenStrings
from lollms_llamacpp.model_file import Stamp, read_model_file, stamp_of
from lollms_llamacpp.stores.stored import is_there

__all__ = ["Facts", "Listing", "listing"]

_log = logging.getLogger(__name__)

Facts: TypeAlias = dict[str, Any] | None
"""As :meth:`ModelFile.facts` gives them, without the path; None for a file that only accompanies a model."""

_Entry: TypeAlias = "tuple[Stamp, Facts]"

_FORMAT: Final = 1
_MOST: Final = 4096  # files
_MAX_ENTRY: Final = 2000  # characters, without the path
_MAX_BYTES: Final = 32 << 20

_TEXTS: Final = frozenset({"title", "architecture", "quantization", "tokenizer"})
_NUMBERS: Final = frozenset({"size", "parameters", "ctx_size", "embedding_length", "layers"})
_FLAGS: Final = frozenset({"chat_template"})


class Listing:
    """Facts by file.

    Args:
        file: where they are kept for the next process; None is ``llamacpp-models.json`` in the user's cache directory.
    """

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._known: dict[str, _Entry] = {}
        self._loaded = False

    def facts(self, paths: Sequence[Path]) -> list[Facts | LollmsError]:
        """Of the model in each file what is shown, or why it cannot be used; in the order of `paths`."""
        found: list[Facts | LollmsError] = []
        new, seen = False, SeenStrings()
        for path in paths:
            try:
                stamp = stamp_of(path)
                known = self._remembered(path, stamp)
                if known is None:
                    known = self._read(path, stamp, seen)
                    new = True
                found.append(known[1])
            except LollmsError as error:
                found.append(error)
        if new:
            self._save(recent={_key(path) for path in paths})
        return found

    def _remembered(self, path: Path, stamp: Stamp) -> _Entry | None:
        with self._lock:
            if not self._loaded:
                self._known = {**self._load(), **self._known}
                self._loaded = True
            known = self._known.get(_key(path))
        return known if known is not None and known[0] == stamp else None

    def _read(self, path: Path, stamp: Stamp, seen: SeenStrings) -> _Entry:
        file = read_model_file(path, stamp, seen)
        facts: Facts = None
        if file.companion is None:
            file.check()
            facts = file.facts()
            del facts["path"]
        with self._lock:
            self._known[_key(path)] = (stamp, facts)
        return stamp, facts

    # On disk ----------------------------------------------------------------------------------------------

    def _load(self) -> dict[str, _Entry]:
        """What an earlier process has kept; nothing if there is none, or it is damaged."""
        file = self._path()
        try:
            if file.stat().st_size > _MAX_BYTES:
                raise ValueError("it is too large")
            content = json.loads(file.read_bytes())
            if not isinstance(content, dict) or content.get("format") != _this_format():
                return {}
            return {path: entry for path, kept in content["files"].items() if (entry := _checked(kept)) is not None}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            _log.info("the list of models kept in %s cannot be used and is made anew: %s", file, error)
            return {}

    def _save(self, recent: set[str]) -> None:
        with self._lock:
            known = dict(self._known)
        others = [path for path in known if path not in recent and is_there(Path(path))]
        kept = [*(path for path in known if path in recent), *reversed(others)][:_MOST]
        with self._lock:
            self._known = {path: known[path] for path in kept}
        # A file may call itself by a name of any length; what is that long is read again.
        encoded = {path: json.dumps(known[path], separators=(",", ":")) for path in kept}
        files = ",".join(f"{json.dumps(path)}:{text}" for path, text in encoded.items() if len(text) <= _MAX_ENTRY)
        file = self._path()
        try:
            write_whole(file, f'{{"format":{json.dumps(_this_format())},"files":{{{files}}}}}'.encode())
        except OSError as error:
            _log.info("the list of models cannot be kept in %s: %s", file, error)

    def _path(self) -> Path:
        if self._file is None:
            import platformdirs

            self._file = Path(platformdirs.user_cache_dir("lollms", appauthor=False)) / "llamacpp-models.json"
        return self._file


def _key(path: Path) -> str:
    return str(path if path.is_absolute() else path.absolute())


def _this_format() -> list[Any]:
    """What another version has kept may say other things."""
    from lollms_llamacpp import __version__

    return [_FORMAT, __version__]


def _checked(kept: Any) -> _Entry | None:
    """An entry as it must be; None for one that is not."""
    stamps, facts = kept if isinstance(kept, list) and len(kept) == 2 else (None, None)
    if not isinstance(stamps, list) or not stamps:
        return None
    for stamp in stamps:
        if not isinstance(stamp, list) or len(stamp) != 3 or not all(type(one) is int for one in stamp):
            return None
    if facts is not None:
        if not isinstance(facts, dict) or facts.keys() != _TEXTS | _NUMBERS | _FLAGS:
            return None
        for names, kinds in ((_TEXTS, (str, type(None))), (_NUMBERS, (int, type(None))), (_FLAGS, (bool,))):
            if any(type(facts[name]) not in kinds for name in names):
                return None
    return tuple((changed, size, inode) for changed, size, inode in stamps), facts


listing: Final = Listing()
"""That of this process."""
