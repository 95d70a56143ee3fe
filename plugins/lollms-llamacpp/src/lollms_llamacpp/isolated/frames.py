"""Messages between two processes: JSON, with raw bytes beside it where there are any, each with its length before it.

JSON rather than pickle or marshal: it is quick enough, and whatever comes in, a damaged message is an error and nothing
else.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any, Final

from lollms_core import ProtocolError

__all__ = ["MAX_BYTES", "Frame", "Unpacker", "packed"]

MAX_BYTES: Final = 256 << 20
"""Bytes that one message may have."""

_HEAD: Final = struct.Struct("<II")  # bytes of JSON, bytes beside it

Frame = tuple[list[Any], bytes]
"""A message: what it says, and the bytes beside it."""


def _plain(value: object) -> Any:
    """What callers put into their messages and schemas, as JSON has it."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, AbstractSet):
        return list(value)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    # Numbers of other libraries.
    if hasattr(value, "__index__"):
        return value.__index__()
    if hasattr(value, "__float__"):
        return float(value)
    raise TypeError(f"a value of type {type(value).__name__} cannot be handed to another process")


_encode: Final = json.JSONEncoder(separators=(",", ":"), default=_plain).encode


def packed(items: list[Any], data: bytes = b"") -> bytes:
    """One message as bytes.

    Raises:
        TypeError, ValueError, RecursionError: an item cannot be JSON.
        OverflowError: it has more than :data:`MAX_BYTES`.
    """
    text = _encode(items).encode("ascii")
    if len(text) + len(data) > MAX_BYTES:
        raise OverflowError(f"{len(text) + len(data):,} bytes are too many for one message between two processes")
    return _HEAD.pack(len(text), len(data)) + text + data


class Unpacker:
    """From bytes, cut anywhere, to messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        """The messages that `data` completes.

        Raises:
            ProtocolError: it is none of ours.
        """
        buffer = self._buffer
        buffer += data
        frames = []
        begin = 0
        while len(buffer) - begin >= _HEAD.size:
            n_text, n_data = _HEAD.unpack_from(buffer, begin)
            if n_text + n_data > MAX_BYTES:
                raise ProtocolError(f"a message of {n_text + n_data:,} bytes is announced, which no message has")
            text = begin + _HEAD.size
            end = text + n_text + n_data
            if len(buffer) < end:
                break
            frames.append((_items(buffer[text : text + n_text]), bytes(buffer[text + n_text : end])))
            begin = end
        del buffer[:begin]
        return frames


def _items(text: bytearray) -> list[Any]:
    try:
        items = json.loads(text.decode("ascii"))
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"a message is no JSON: {error}") from error
    if not isinstance(items, list):
        raise ProtocolError(f"a message is no list, but {type(items).__name__}")
    return items
