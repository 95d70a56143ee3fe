"""The metadata of a GGUF file with all its arrays, as Ollama's /api/show gives it when asked for everything.

For files of our own choice only: nothing is checked. (The llamacpp binding's reader checks everything and leaves the
vocabulary out.) Source of the format: docs/gguf.md of https://github.com/ggml-org/ggml.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any, BinaryIO

_FORMATS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING = 8
_ARRAY = 9


def read_metadata(path: Path) -> dict[str, Any]:
    """Every key of the file's header and its value."""
    with path.open("rb") as file:
        magic, _version, _tensors, keys = _take(file, "4sIQQ")
        assert magic == b"GGUF", path
        metadata = {}
        for _ in range(keys):
            key = _string(file)
            (kind,) = _take(file, "I")
            metadata[key] = _value(file, kind)
        return metadata


def _take(file: BinaryIO, form: str) -> tuple[Any, ...]:
    packed = struct.Struct(f"<{form}")
    return packed.unpack(file.read(packed.size))


def _string(file: BinaryIO) -> str:
    (length,) = _take(file, "Q")
    return file.read(length).decode("utf-8", "replace")


def _value(file: BinaryIO, kind: int) -> Any:
    if kind == _STRING:
        return _string(file)
    if kind != _ARRAY:
        return _take(file, _FORMATS[kind])[0]
    kind, count = _take(file, "IQ")
    if kind == _STRING:
        return [_string(file) for _ in range(count)]
    return list(_take(file, f"{count}{_FORMATS[kind]}"))
