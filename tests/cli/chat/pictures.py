"""The smallest picture."""

from __future__ import annotations

from lollms_core.messages import Image

__all__ = ["PNG"]

PNG = Image(
    bytes.fromhex(
        "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d4944415478da63fcffff3f030005fe02fe"
        "a79a815c0000000049454e44ae426082"
    ),
    "image/png",
)
