"""GGUF headers, read by ourselves: no numpy, no trust in any count, no reading of what nobody asks for.

A GGUF file is a header (metadata and the table of tensors) followed by the tensors' data. Every count and
size in the header is checked against the size of the file before anything is read or allocated for it, so
that a damaged header costs one clear error; and the table of tensors is checked against the file's end, so
that a download cut short is noticed before llama.cpp is asked to load it.

Source of the format: docs/gguf.md of https://github.com/ggml-org/ggml.
"""

from __future__ import annotations

import math
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple, TypeAlias

from lollms_core import BackendError, ModelNotFound
from lollms_llamacpp.gguf_strings import SeenStrings, step_over
from lollms_llamacpp.gguf_tables import TENSOR_TYPES

__all__ = [
    "BOOL",
    "FLOAT",
    "INT32",
    "STRING",
    "UINT32",
    "Array",
    "Header",
    "Tensor",
    "Value",
    "read_header",
    "read_strings",
]

Value: TypeAlias = "int | float | bool | str | tuple[int | float | bool | str, ...]"

_MAGIC: Final = b"GGUF"
_VERSIONS: Final = (2, 3)
_DEFAULT_ALIGNMENT: Final = 32
_LEAST_ALIGNMENT: Final = 32  # TENSOR_ALIGNMENT of ggml-impl.h: llama.cpp ends the process for mapped data off it

# Bounds. Real files stay far below them; they keep a damaged header from costing seconds.
_MAX_KEYS: Final = 100_000
_MAX_TENSORS: Final = 200_000
_MAX_KEY_BYTES: Final = 65_535  # gguf.md
_MAX_NAME_BYTES: Final = 63  # GGML_MAX_NAME - 1
_MAX_DIMENSIONS: Final = 4  # GGML_MAX_DIMS
_MAX_KEPTSTRING: Final = 1 << 20
_MAX_KEPT_ARRAY: Final = 64
_MAX_STRINGS: Final = 4_000_000
_MAX_ELEMENTS: Final = (1 << 63) - 1

_ENOUGH_TO_DIFFER: Final = 4096
_CHUNK: Final = 1 << 17  # larger ones do not stay in the processor's cache while their strings are looked for

_U32: Final = struct.Struct("<I")
_U64: Final = struct.Struct("<Q")
# What comes after the number of a tensor's dimensions: those, the number of its type, the offset of its data.
_TENSOR_FORMS: Final = tuple(struct.Struct(f"<{count}QIQ") for count in range(_MAX_DIMENSIONS + 1))
# The types of values, as far as anybody asks for them (gguf.md, enum gguf_metadata_value_type).
UINT32: Final = 4
INT32: Final = 5
FLOAT: Final = 6
BOOL: Final = 7
STRING: Final = 8
_ARRAY: Final = 9
_SCALARS: Final = {
    0: struct.Struct("<B"),
    1: struct.Struct("<b"),
    2: struct.Struct("<H"),
    3: struct.Struct("<h"),
    4: _U32,
    5: struct.Struct("<i"),
    6: struct.Struct("<f"),
    7: struct.Struct("<?"),
    10: _U64,
    11: struct.Struct("<q"),
    12: struct.Struct("<d"),
}


class Array(NamedTuple):
    """An array in the metadata: the type of its elements, their number, and the file's offset of the first."""

    kind: int
    length: int
    start: int


class Tensor(NamedTuple):
    """A tensor: its dimensions, the fastest first, and the name of its type, such as ``Q4_K``."""

    shape: tuple[int, ...]
    kind: str

    @property
    def elements(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class Header:
    """What stands before the data of one GGUF file.

    Attributes:
        version: 2 or 3.
        metadata: scalars, strings, and arrays of at most 64 elements; longer values are left out.
        kinds: the type of every value, by its number in the format; of an array that of an array.
        arrays: where every array is, kept or not.
        tensors: the tensors in this file, by name.
        data_end: the offset at which the last tensor ends, in bytes; at most the size of the file.
    """

    version: int
    metadata: dict[str, Value]
    kinds: dict[str, int] = field(default_factory=dict)
    arrays: dict[str, Array] = field(default_factory=dict)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    data_end: int = 0

    def text(self, key: str) -> str | None:
        """The value of `key` if it is a string, else None."""
        value = self.metadata.get(key)
        return value if isinstance(value, str) else None

    def whole(self, key: str) -> int | None:
        """The value of `key` if it is a whole number, or the largest of an array of them, else None."""
        value = self.metadata.get(key)
        if isinstance(value, tuple) and value and all(type(one) is int for one in value):
            return max(one for one in value if isinstance(one, int))
        return value if type(value) is int else None

    def number(self, key: str) -> float | None:
        """The value of `key` if it is a number, else None."""
        value = self.metadata.get(key)
        return value if type(value) in (int, float) else None  # type: ignore[return-value]

    def flag(self, key: str, default: bool) -> bool:
        """The value of `key` if it is a bool, else `default`."""
        value = self.metadata.get(key)
        return value if isinstance(value, bool) else default


class _DamagedError(Exception):
    """What is wrong with the file; :func:`read_header` adds its name."""


def read_header(path: Path, seen: SeenStrings | None = None) -> Header:
    """The header of the GGUF file at `path`, checked against the file's size.

    Args:
        path: the file.
        seen: what was stepped over in other files; many headers are read in less time with it.

    Raises:
        ModelNotFound: there is no such file.
        BackendError: it is no readable regular file, no GGUF file, damaged, or cut short; the text names
            the file and what is wrong.
    """
    with _opened(path) as source:
        source.seen = seen
        return _parse(source)


def read_strings(path: Path, key: str, array: Array) -> list[bytes]:
    """The texts of an `array` of them in the file that its header was read of; `key` is its name for messages.

    Raises:
        ModelNotFound, BackendError: the file has been changed or removed in the meantime.
    """
    what = f"the value of {key!r}"
    with _opened(path) as source:
        source.skip(array.start, what)
        return source.strings(array.length, what)


@contextmanager
def _opened(path: Path) -> Iterator[_Source]:
    try:
        # Looked at before it is opened: opening a FIFO would wait for a writer.
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise _DamagedError("it is a directory, not a GGUF file")
        if not stat.S_ISREG(status.st_mode):
            raise _DamagedError("it is not a regular file")
        with path.open("rb", buffering=0) as file:
            yield _Source(file, status.st_size)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ModelNotFound(f"there is no model file {path}") from error
    except ValueError as error:  # a NUL byte in the path
        raise ModelNotFound(f"there is no model file {str(path)!r}: {error}") from error
    except OSError as error:
        raise BackendError(f"cannot read the model file {path}: {error.strerror or error}") from error
    except _DamagedError as error:
        raise BackendError(f"cannot use the model file {path}: {error}") from None


class _Source:
    """The file as a sequence of bytes, read in chunks; no request goes beyond its end."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._size = size
        self._chunk = b""
        self._start = 0  # the file's offset of the chunk
        self._at = 0  # where we are in the chunk
        self.seen: SeenStrings | None = None

    @property
    def position(self) -> int:
        return self._start + self._at

    @property
    def left(self) -> int:
        return self._size - self.position

    def take(self, count: int, what: str) -> bytes:
        """The next `count` bytes; `what` they are stands in the error."""
        at = self._within(count, what)
        return self._chunk[at : at + count]

    def skip(self, count: int, what: str) -> None:
        self._need(count, what)
        self._at += count  # beyond the chunk is fine: the next read starts there

    def u32(self, what: str) -> int:
        at = self._within(4, what)  # before the chunk is looked at: it may be another one afterwards
        return int(_U32.unpack_from(self._chunk, at)[0])

    def u64(self, what: str) -> int:
        at = self._within(8, what)
        return int(_U64.unpack_from(self._chunk, at)[0])

    def numbers(self, form: struct.Struct, what: str) -> tuple[Any, ...]:
        """The next numbers, of any types."""
        at = self._within(form.size, what)
        return form.unpack_from(self._chunk, at)

    def text(self, limit: int, what: str) -> str:
        """A length-prefixed string of at most `limit` bytes."""
        length = self.u64(what)
        if length > limit:
            raise _DamagedError(f"{what} claims a length of {length} bytes")
        try:
            return self.take(length, what).decode("utf-8")
        except UnicodeDecodeError as error:
            raise _DamagedError(f"{what} is not UTF-8 text") from error

    def strings(self, count: int, what: str) -> list[bytes]:
        """The next `count` length-prefixed strings, of any length."""
        return [self.take(self.u64(what), what) for _ in range(count)]

    def skip_strings(self, count: int, what: str) -> None:
        """Step over `count` length-prefixed strings; a vocabulary has a few hundred thousand."""
        if self.seen is not None and self._step_over_seen(self.seen, count):
            return
        start, left = self.position, count
        while left:
            self._need(8, what)
            if self._at + 8 > len(self._chunk):
                self._read(self.position, _CHUNK, 8)
            passed, self._at = step_over(self._chunk, self._at, left, many=self.seen is not None)
            left -= passed
        self._need(0, what)
        if self.seen is not None and count > _MAX_KEPT_ARRAY:
            self.seen.keep(count, self._between(start, self.position))

    def _step_over_seen(self, seen: SeenStrings, count: int) -> bool:
        """Step over `count` strings if another file has had just these."""
        known = seen.of(count, self._chunk[self._at : self._at + _ENOUGH_TO_DIFFER])
        if known is None or len(known) > self.left:
            return False
        if self._between(self.position, self.position + len(known)) != known:
            return False
        self._at += len(known)
        return True

    def _between(self, start: int, end: int) -> bytes:
        """The file's bytes there; less if it has become shorter."""
        self._file.seek(start)
        return self._file.read(end - start)

    def _within(self, count: int, what: str) -> int:
        """Have the next `count` bytes in the chunk and step over them; where in the chunk they are."""
        at = self._at
        if at + count > len(self._chunk):
            self._need(count, what)
            self._read(self.position, max(count, _CHUNK), count)
            at = 0
        self._at = at + count
        return at

    def _need(self, count: int, what: str) -> None:
        if count > self.left:
            raise _DamagedError(f"it is cut short: the file ends at byte {self._size}, inside {what}")

    def _read(self, position: int, wanted: int, least: int) -> None:
        self._file.seek(position)
        chunk = self._file.read(wanted)
        while len(chunk) < least:
            data = self._file.read(wanted - len(chunk))
            if not data:
                raise _DamagedError("the file became shorter while it was read")
            chunk += data
        self._chunk, self._start, self._at = chunk, position, 0


def _parse(source: _Source) -> Header:
    if not source.left:
        raise _DamagedError("it is empty")
    magic = source.take(min(4, source.left), "the magic bytes")
    if magic != _MAGIC:
        raise _DamagedError(f"it is not a GGUF file (it begins with {magic!r}, not {_MAGIC!r})")
    version = source.u32("the version")
    if version & 0xFFFF == 0 and version:
        raise _DamagedError("it is a big-endian GGUF file; only little-endian ones can be used")
    if version not in _VERSIONS:
        raise _DamagedError(f"it is of GGUF version {version}; versions {_VERSIONS[0]} and {_VERSIONS[1]} can be used")
    n_tensors = source.u64("the number of tensors")
    n_keys = source.u64("the number of metadata keys")
    # The shortest tensor takes 24 bytes of the table, the shortest key with its value 13.
    _check_count(n_tensors, min(_MAX_TENSORS, source.left // 24), "tensors")
    _check_count(n_keys, min(_MAX_KEYS, source.left // 13), "metadata keys")
    metadata: dict[str, Value] = {}
    kinds: dict[str, int] = {}
    arrays: dict[str, Array] = {}
    for index in range(n_keys):
        key = source.text(_MAX_KEY_BYTES, f"the name of metadata key {index}")
        if not key or key in kinds:
            raise _DamagedError(f"metadata key {index} is {'empty' if not key else f'a second {key!r}'}")
        value, kinds[key] = _read_value(source, key, arrays)
        if value is not None:
            metadata[key] = value
    alignment = metadata.get("general.alignment", _DEFAULT_ALIGNMENT)
    if type(alignment) is not int or alignment <= 0 or alignment & (alignment - 1):
        raise _DamagedError(f"its alignment is {alignment!r}, which is no power of two")
    tensors, data_end = _read_tensors(source, n_tensors, alignment)
    return Header(version, metadata, kinds, arrays, tensors, data_end)


def _check_count(count: int, most: int, what: str) -> None:
    if count > most:
        raise _DamagedError(f"it claims to have {count} {what}, which cannot be in a file of its size")


def _read_value(source: _Source, key: str, arrays: dict[str, Array]) -> tuple[Value | None, int]:
    """The value of `key`, None if it is too long to be kept, and the number of its type."""
    what = f"the value of {key!r}"
    kind = source.u32(what)
    if kind == STRING:
        return _read_string(source, what), kind
    if kind != _ARRAY:
        return _read_scalar(source, kind, what), kind
    kind = source.u32(what)
    count = source.u64(what)
    arrays[key] = Array(kind, count, source.position)
    return _read_array(source, key, kind, count), _ARRAY


def _read_array(source: _Source, key: str, kind: int, count: int) -> Value | None:
    what = f"the value of {key!r}"
    if kind == STRING:
        _check_count(count, min(_MAX_STRINGS, source.left // 8), f"strings in {key!r}")
        if count > _MAX_KEPT_ARRAY:
            source.skip_strings(count, what)
            return None
        strings = [_read_string(source, what) for _ in range(count)]
        return tuple(one for one in strings if one is not None)
    size = _scalar(kind, what).size
    _check_count(count, source.left // size, f"elements in {key!r}")
    if count > _MAX_KEPT_ARRAY:
        source.skip(count * size, what)
        return None
    return tuple(_read_scalar(source, kind, what) for _ in range(count))


def _read_string(source: _Source, what: str) -> str | None:
    length = source.u64(what)
    if length > _MAX_KEPTSTRING:
        source.skip(length, what)
        return None
    # Wrong bytes in a description are no reason to refuse a model.
    return source.take(length, what).decode("utf-8", "replace")


def _scalar(kind: int, what: str) -> struct.Struct:
    found = _SCALARS.get(kind)
    if found is None:
        raise _DamagedError(f"{what} has the unknown type {kind}")
    return found


def _read_scalar(source: _Source, kind: int, what: str) -> int | float | bool:
    value: int | float | bool = source.numbers(_scalar(kind, what), what)[0]
    return value


def _read_tensors(source: _Source, count: int, alignment: int) -> tuple[dict[str, Tensor], int]:
    """The table of tensors, which stands where `source` is, and the offset of their data's end in the file."""
    tensors: dict[str, Tensor] = {}
    end = odd = 0
    last = ""
    for index in range(count):
        name = source.text(_MAX_NAME_BYTES, f"the name of tensor {index}")
        if name in tensors:
            raise _DamagedError(f"there are two tensors {name!r}")
        tensors[name], offset, size = _read_tensor(source, name)
        if offset % alignment:
            raise _DamagedError(f"tensor {name!r} is not aligned to {alignment} bytes")
        odd |= offset
        if offset + size > end:
            end, last = offset + size, name
    if not count:
        return tensors, source.position
    data_start = -(-source.position // alignment) * alignment
    if (odd | data_start) % _LEAST_ALIGNMENT:
        raise _DamagedError(f"its tensors are not aligned to {_LEAST_ALIGNMENT} bytes, as llama.cpp needs them")
    missing = data_start + end - source.position - source.left
    if missing > 0:
        raise _DamagedError(f"it is cut short: {missing} bytes are missing at its end, of tensor {last!r}")
    return tensors, data_start + end


def _read_tensor(source: _Source, name: str) -> tuple[Tensor, int, int]:
    """The next tensor, the offset of its data among all tensors', and their size in bytes."""
    what = f"the shape or place of tensor {name!r}"
    n_dimensions = source.u32(what)
    if n_dimensions > _MAX_DIMENSIONS:
        raise _DamagedError(f"tensor {name!r} claims to have {n_dimensions} dimensions")
    *dimensions, number, offset = source.numbers(_TENSOR_FORMS[n_dimensions], what)
    shape = tuple(dimensions)
    elements = math.prod(shape)
    if elements > _MAX_ELEMENTS or max(shape, default=0) > _MAX_ELEMENTS:
        raise _DamagedError(f"tensor {name!r} claims the impossible shape {dimensions}")
    kind = TENSOR_TYPES.get(number)
    if kind is None:
        # A type newer than our table is llama.cpp's business; only its place can be checked.
        return Tensor(shape, f"type {number}"), offset, 0
    row = shape[0] if shape else 1
    if row % kind.block:
        raise _DamagedError(f"tensor {name!r} has rows of {row} elements, which {kind.name} cannot store")
    return Tensor(shape, kind.name), offset, elements // kind.block * kind.size
