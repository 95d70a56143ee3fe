"""GGUF files that are written here: tiny models, projectors and adapters with weights from a fixed seed."""

from __future__ import annotations

import math
import random
import struct
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

_TYPES = {
    "u8": 0,
    "i8": 1,
    "u16": 2,
    "i16": 3,
    "u32": 4,
    "i32": 5,
    "f32": 6,
    "bool": 7,
    "u64": 10,
    "i64": 11,
    "f64": 12,
}
_FORMS = dict(zip(_TYPES, ["<B", "<b", "<H", "<h", "<I", "<i", "<f", "<?", "<Q", "<q", "<d"], strict=True))

Tensor = tuple[str, Sequence[int], int, bytes]


def text(value: str) -> bytes:
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def pack(value: Any, kind: str | None = None) -> bytes:
    """A GGUF value with its type: an int is a u32, a float an f32, unless `kind` says otherwise."""
    if isinstance(value, str):
        return struct.pack("<I", 8) + text(value)
    if isinstance(value, (list, tuple)):
        parts = [pack(one, kind) for one in value]
        of = parts[0][:4] if parts else struct.pack("<I", _TYPES[kind or "u32"])
        return struct.pack("<I", 9) + of + struct.pack("<Q", len(parts)) + b"".join(part[4:] for part in parts)
    kind = kind or ("bool" if isinstance(value, bool) else "u32" if isinstance(value, int) else "f32")
    return struct.pack("<I", _TYPES[kind]) + struct.pack(_FORMS[kind], value)


def gguf(metadata: Mapping[str, Any], tensors: Sequence[Tensor] = (), *, version: int = 3) -> bytes:
    """A GGUF file. A metadata value may be packed bytes; a tensor is name, shape, type number, data."""
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(metadata))
    for key, value in metadata.items():
        head += text(key) + (value if isinstance(value, bytes) else pack(value))
    data = b""
    for name, shape, kind, content in tensors:
        head += text(name) + struct.pack("<I", len(shape)) + struct.pack(f"<{len(shape)}Q", *shape)
        head += struct.pack("<IQ", kind, len(data))
        data += content + b"\0" * (-len(content) % 32)
    return head + b"\0" * (-len(head) % 32 if tensors else 0) + data


def byte_characters() -> list[str]:
    """The 256 characters for which a byte-level vocabulary writes the bytes 0 to 255 (GPT-2's encoder.py)."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return [chr(byte) if byte in plain else chr(next(others)) for byte in range(256)]


def llama_parts(*, longer: Sequence[str] = (), **changes: Any) -> tuple[dict[str, Any], list[Tensor]]:
    """Metadata and tensors of a llama model of one layer: a token for each byte and three control tokens.

    The weights are of a fixed seed. `longer` are further tokens, which no text becomes but an answer may have.
    `changes` are metadata with ``__`` for dots; None takes a key out.
    """
    vocabulary = [*byte_characters(), "<|endoftext|>", "<|im_start|>", "<|im_end|>", "th", *longer]
    n_embd, n_ff = 32, 32
    metadata: dict[str, Any] = {
        "general.architecture": "llama",
        "general.name": "Tiny",
        "general.file_type": 0,
        "llama.context_length": 256,
        "llama.embedding_length": n_embd,
        "llama.block_count": 1,
        "llama.feed_forward_length": n_ff,
        "llama.attention.head_count": 2,
        "llama.attention.head_count_kv": 2,
        "llama.attention.layer_norm_rms_epsilon": 1e-5,
        "llama.rope.dimension_count": n_embd // 2,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.tokens": vocabulary,
        "tokenizer.ggml.token_type": pack([1] * 256 + [3, 3, 3, 1] + [1] * len(longer), "i32"),
        "tokenizer.ggml.merges": ["t h"],
        "tokenizer.ggml.bos_token_id": 256,
        "tokenizer.ggml.eos_token_id": 258,
        "tokenizer.ggml.add_bos_token": False,
    }
    shapes = {"token_embd.weight": (n_embd, len(vocabulary)), "output_norm.weight": (n_embd,)}
    for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
        shapes[f"blk.0.{name}.weight"] = (n_embd, n_embd)
    shapes |= {"blk.0.attn_norm.weight": (n_embd,), "blk.0.ffn_norm.weight": (n_embd,)}
    shapes |= {"blk.0.ffn_gate.weight": (n_embd, n_ff), "blk.0.ffn_up.weight": (n_embd, n_ff)}
    shapes["blk.0.ffn_down.weight"] = (n_ff, n_embd)
    chance = random.Random(7)  # noqa: S311 - weights that mean nothing
    tensors: list[Tensor] = []
    for name, shape in shapes.items():
        count = shape[0] * (shape[1] if len(shape) > 1 else 1)
        values = [1.0] * count if len(shape) == 1 else [chance.gauss(0, 0.5) for _ in range(count)]
        tensors.append((name, shape, 0, struct.pack(f"<{count}f", *values)))
    return changed(metadata, **changes), tensors


def tiny_llama(*, longer: Sequence[str] = (), **changes: Any) -> bytes:
    """A whole llama model; see :func:`llama_parts`."""
    return gguf(*llama_parts(longer=longer, **changes))


def windowed_parts(window: int = 32) -> tuple[dict[str, Any], list[Tensor]]:
    """A model of one layer whose attention looks back `window` tokens: gemma3, as src/models/gemma3.cpp reads it."""
    metadata, tensors = llama_parts()
    metadata = {key.replace("llama.", "gemma3."): value for key, value in metadata.items()}
    metadata |= {"general.architecture": "gemma3", "gemma3.attention.sliding_window": window}
    metadata |= {"gemma3.attention.key_length": 16, "gemma3.attention.value_length": 16, "gemma3.rope.freq_base": 1e4}
    ones = {"attn_q_norm": 16, "attn_k_norm": 16, "post_attention_norm": 32, "post_ffw_norm": 32}
    norms = [(f"blk.0.{name}.weight", (size,), 0, struct.pack("<f", 1.0) * size) for name, size in ones.items()]
    return metadata, [*tensors, *norms]


def changed(metadata: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
    """`metadata` with `changes`, which have ``__`` for dots; None takes a key out."""
    after = {**metadata, **{name.replace("__", "."): value for name, value in changes.items()}}
    return {key: value for key, value in after.items() if value is not None}


def projector_parts(*, n_out: int = 576, kind: str = "mlp", **changes: Any) -> tuple[dict[str, Any], list[Tensor]]:
    """A projector of one layer with weights from a fixed seed: 32 x 32 pixels become 16 vectors, as LLaVA has it.

    The keys are those of llama.cpp's tools/mtmd/clip-impl.h. `changes` are metadata with ``__`` for dots; None takes a
    key out.
    """
    n_embd, n_ff, size, patch = 16, 32, 32, 8
    metadata: dict[str, Any] = {
        "general.architecture": "clip",
        "general.type": "mmproj",
        "clip.has_vision_encoder": True,
        "clip.projector_type": kind,
        "clip.use_gelu": True,
        "clip.vision.embedding_length": n_embd,
        "clip.vision.feed_forward_length": n_ff,
        "clip.vision.block_count": 1,
        "clip.vision.projection_dim": n_out,
        "clip.vision.attention.head_count": 2,
        "clip.vision.attention.layer_norm_epsilon": 1e-5,
        "clip.vision.image_size": size,
        "clip.vision.patch_size": patch,
        "clip.vision.image_mean": [0.5, 0.5, 0.5],
        "clip.vision.image_std": [0.5, 0.5, 0.5],
        "clip.vision.projector.scale_factor": 2,
    }
    shapes: dict[str, tuple[int, ...]] = {
        "v.patch_embd.weight": (patch, patch, 3, n_embd),
        "v.patch_embd.bias": (n_embd,),
        "v.position_embd.weight": (n_embd, (size // patch) ** 2),
        "v.post_ln.weight": (n_embd,),
        "v.post_ln.bias": (n_embd,),
        "v.blk.0.ffn_up.weight": (n_embd, n_ff),
        "v.blk.0.ffn_down.weight": (n_ff, n_embd),
        "v.blk.0.ffn_up.bias": (n_ff,),
        "v.blk.0.ffn_down.bias": (n_embd,),
    }
    for name in ("attn_q", "attn_k", "attn_v", "attn_out"):
        shapes |= {f"v.blk.0.{name}.weight": (n_embd, n_embd), f"v.blk.0.{name}.bias": (n_embd,)}
    for name in ("ln1", "ln2"):
        shapes |= {f"v.blk.0.{name}.weight": (n_embd,), f"v.blk.0.{name}.bias": (n_embd,)}
    if kind == "mlp":
        shapes |= {"mm.0.weight": (n_embd, n_embd), "mm.0.bias": (n_embd,)}
        shapes |= {"mm.2.weight": (n_embd, n_out), "mm.2.bias": (n_out,)}
    else:
        shapes["mm.model.fc.weight"] = (n_embd * 4, n_out)
    chance = random.Random(5)  # noqa: S311 - weights that mean nothing
    tensors: list[Tensor] = []
    for name, shape in shapes.items():
        count = math.prod(shape)
        values = [1.0] * count if "ln" in name and "weight" in name else [chance.gauss(0, 0.5) for _ in range(count)]
        tensors.append((name, shape, 0, struct.pack(f"<{count}f", *values)))
    return changed(metadata, **changes), tensors


def tiny_projector(*, n_out: int = 576, kind: str = "mlp", **changes: Any) -> bytes:
    """A whole projector; see :func:`projector_parts`."""
    return gguf(*projector_parts(n_out=n_out, kind=kind, **changes))


def lora_parts(
    model: Sequence[Tensor],
    names: Sequence[str] = ("attn_q.weight", "ffn_down.weight"),
    *,
    rank: int = 4,
    **changes: Any,
) -> tuple[dict[str, Any], list[Tensor]]:
    """A LoRA adapter that changes those of the tensors `model` whose names end as `names`; weights of a fixed seed.

    `changes` are metadata with ``__`` for dots; None takes a key out.
    """
    metadata: dict[str, Any] = {
        "general.architecture": "llama",
        "general.type": "adapter",
        "adapter.type": "lora",
        "adapter.lora.alpha": float(2 * rank),
    }
    chance = random.Random(3)  # noqa: S311 - weights that mean nothing
    tensors: list[Tensor] = []
    for name, shape, *_ in model:
        if not name.endswith(tuple(names)):
            continue
        # Of the embeddings A is looked up by token, and B is not transposed.
        a, b = ((rank, shape[1]), (rank, shape[0])) if "token_embd" in name else ((shape[0], rank), (rank, shape[1]))
        for suffix, plane in (("lora_a", a), ("lora_b", b)):
            size = (*plane, *shape[2:])
            values = [chance.gauss(0, 0.5) for _ in range(math.prod(size))]
            tensors.append((f"{name}.{suffix}", size, 0, struct.pack(f"<{len(values)}f", *values)))
    return changed(metadata, **changes), tensors


def tiny_lora(*names: str, **changes: Any) -> bytes:
    """An adapter for :func:`tiny_llama`; see :func:`lora_parts`."""
    return gguf(*lora_parts(llama_parts()[1], names or ("attn_q.weight", "ffn_down.weight"), **changes))


def png(width: int, height: int, colour: tuple[int, int, int] = (255, 0, 0)) -> bytes:
    """A PNG file of one colour."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = (b"\0" + bytes(colour) * width) * height
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
