"""Numpy's file format, version 1.0, for a table of numbers."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

__all__ = ["npy"]

_MAGIC: Final = b"\x93NUMPY\x01\x00"
_ALIGNED: Final = 64
"""The header is filled up so that the data begin at a multiple of it."""


def npy(rows: Sequence[Sequence[float]]) -> bytes:
    """A file that ``numpy.load`` reads as an array of shape (rows, columns): float32, little-endian, C order.

    The format is that of https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html.

    Raises:
        OverflowError: a number is too large for float32.
        struct.error: one is no number, or a row is longer than the first.
    """
    columns = len(rows[0]) if rows else 0
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({len(rows)}, {columns}), }}"
    filled = -(len(_MAGIC) + 2 + len(header) + 1) % _ALIGNED
    text = f"{header}{' ' * filled}\n".encode("ascii")
    row = struct.Struct(f"<{columns}f")
    return b"".join((_MAGIC, struct.pack("<H", len(text)), text, *(row.pack(*numbers) for numbers in rows)))
