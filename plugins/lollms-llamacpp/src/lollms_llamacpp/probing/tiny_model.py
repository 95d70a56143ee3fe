"""A model without meaning, whose matrices are of all the types that ggml multiplies with Intel's AMX."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from functools import cache
from typing import Any, Final

__all__ = ["N_VOCAB", "tiny_model"]

N_VOCAB: Final = 64

# Sizes that reach the AMX kernels (ggml/src/ggml-cpu/amx/amx.cpp): rows of a multiple of 256 for the K types, and a
# multiple of 32 of them.
_WIDTH: Final = 256
_TEXT: Final = 8  # the number of GGUF's string type
_SCALE: Final = struct.pack("<e", 1e-3)

_Bytes = Callable[[int], bytes]

# What a block of each type is made of (ggml/src/ggml-common.h): scales, then weights, any bytes of which will do.
_BLOCKS: Final[dict[int, tuple[int, Callable[[_Bytes], bytes]]]] = {
    2: (32, lambda some: _SCALE + some(16)),  # Q4_0
    3: (32, lambda some: _SCALE + _SCALE + some(16)),  # Q4_1
    8: (32, lambda some: _SCALE + some(32)),  # Q8_0
    12: (256, lambda some: _SCALE + _SCALE + some(12 + 128)),  # Q4_K
    13: (256, lambda some: _SCALE + _SCALE + some(12 + 32 + 128)),  # Q5_K
    14: (256, lambda some: some(128 + 64 + 16) + _SCALE),  # Q6_K
    23: (256, lambda some: _SCALE + some(2 + 4 + 128)),  # IQ4_XS
}
_F32: Final = 0
_MATRICES: Final = {
    "attn_q": 2,
    "attn_k": 3,
    "attn_v": 8,
    "attn_output": 12,
    "ffn_gate": 13,
    "ffn_up": 14,
    "ffn_down": 23,
}


@cache
def tiny_model() -> bytes:
    """A GGUF file: a llama model of one layer, with :data:`N_VOCAB` tokens that have no text."""
    chance = random.Random(1)  # noqa: S311 - weights that mean nothing
    tensors: list[tuple[str, tuple[int, ...], int, bytes]] = [
        ("token_embd.weight", (_WIDTH, N_VOCAB), _F32, _floats([chance.gauss(0, 1) for _ in range(_WIDTH * N_VOCAB)])),
        *(
            (name, (_WIDTH,), _F32, _floats([1.0] * _WIDTH))
            for name in ("output_norm.weight", "blk.0.attn_norm.weight", "blk.0.ffn_norm.weight")
        ),
    ]
    for name, kind in _MATRICES.items():
        elements, block = _BLOCKS[kind]
        blocks = [block(chance.randbytes) for _ in range(_WIDTH * _WIDTH // elements)]
        tensors.append((f"blk.0.{name}.weight", (_WIDTH, _WIDTH), kind, b"".join(blocks)))
    return _file(
        {
            "general.architecture": "llama",
            "general.name": "probe",
            "llama.vocab_size": N_VOCAB,
            "llama.context_length": 128,
            "llama.embedding_length": _WIDTH,
            "llama.block_count": 1,
            "llama.feed_forward_length": _WIDTH,
            "llama.attention.head_count": 4,
            "llama.attention.head_count_kv": 4,
            "llama.attention.layer_norm_rms_epsilon": 1e-5,
            "llama.rope.dimension_count": _WIDTH // 4,
            "tokenizer.ggml.model": "none",
        },
        tensors,
    )


def _file(metadata: dict[str, Any], tensors: list[tuple[str, tuple[int, ...], int, bytes]]) -> bytes:
    """A GGUF file (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md) with texts, u32 and f32 as metadata."""
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(metadata))
    for key, value in metadata.items():
        head += _text(key)
        if isinstance(value, str):
            head += struct.pack("<I", _TEXT) + _text(value)
        else:
            head += struct.pack("<II", 4, value) if isinstance(value, int) else struct.pack("<If", 6, value)
    data = b""
    for name, shape, kind, content in tensors:
        head += _text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, len(data))
        data += content + bytes(-len(content) % 32)
    return head + bytes(-len(head) % 32) + data


def _text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode("ascii")


def _floats(values: list[float]) -> bytes:
    return struct.pack(f"<{len(values)}f", *values)
