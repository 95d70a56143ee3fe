"""Where everything stands in a GGUF file: the map by which tests damage it in chosen places.

For sound files of our own choice: nothing is checked. Source of the format: docs/gguf.md of
https://github.com/ggml-org/ggml.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_STRING = 8
_ARRAY = 9


@dataclass(frozen=True)
class Field:
    """One piece of a header.

    Attributes:
        kind: ``count`` (of tensors, keys, bytes, elements, dimensions), ``type``, ``text``, ``value``, ``shape``,
            ``offset``, ``magic`` or ``version``.
        of: whose it is: a key, a tensor, or ``header``.
        start, size: its place, in bytes.
    """

    kind: str
    of: str
    start: int
    size: int

    @property
    def end(self) -> int:
        return self.start + self.size


@dataclass
class Layout:
    """The fields of a header in their order, and the places where its parts end."""

    fields: list[Field] = field(default_factory=list)
    metadata_start: int = 24
    tensors_start: int = 0
    header_end: int = 0

    def of_kind(self, *kinds: str) -> list[Field]:
        return [one for one in self.fields if one.kind in kinds]


def read_layout(content: bytes, *, elements: int = 3) -> Layout:
    """The layout of the file that begins with `content`; of a long array only the first `elements` are fields."""
    return _Reader(content, elements).read()


class _Reader:
    def __init__(self, content: bytes, elements: int) -> None:
        self._content, self._elements, self._at = content, elements, 0
        self._found = Layout()

    def read(self) -> Layout:
        self._add("magic", "header", 4)
        self._add("version", "header", 4)
        n_tensors, n_keys = self._number("count", "header", "<Q"), self._number("count", "header", "<Q")
        for _ in range(n_keys):
            key = self._text("key")
            self._value(key)
        self._found.tensors_start = self._at
        for _ in range(n_tensors):
            name = self._text("tensor")
            for _ in range(self._number("count", name, "<I")):
                self._number("shape", name, "<Q")
            self._number("type", name, "<I")
            self._number("offset", name, "<Q")
        self._found.header_end = self._at
        return self._found

    def _add(self, kind: str, of: str, size: int) -> bytes:
        self._found.fields.append(Field(kind, of, self._at, size))
        self._at += size
        return self._content[self._at - size : self._at]

    def _number(self, kind: str, of: str, form: str) -> int:
        (value,) = struct.unpack(form, self._add(kind, of, struct.calcsize(form)))
        return int(value)

    def _text(self, of: str) -> str:
        length = self._number("count", of, "<Q")
        return self._add("text", of, length).decode()

    def _value(self, key: str) -> None:
        kind = self._number("type", key, "<I")
        if kind == _STRING:
            self._text(key)
            return
        if kind != _ARRAY:
            self._add("value", key, _SIZES[kind])
            return
        kind = self._number("type", key, "<I")
        count = self._number("count", key, "<Q")
        for index in range(count):
            if index == self._elements and kind != _STRING:
                self._at += (count - index) * _SIZES[kind]
                return
            if index >= self._elements:
                (length,) = struct.unpack_from("<Q", self._content, self._at)
                self._at += 8 + length
            elif kind == _STRING:
                self._text(key)
            else:
                self._add("value", key, _SIZES[kind])
