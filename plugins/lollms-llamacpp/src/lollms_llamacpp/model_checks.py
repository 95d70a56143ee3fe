"""What llama.cpp does not survive in a model's file, looked for before it gets there.

llama.cpp answers most of what is wrong with a file by an error. Some of it, though, ends the whole process: an
assertion (GGML_ASSERT), a C++ exception that nobody catches, a read where there is no memory. Each function here says
what is wrong, as the rest of a sentence that names the file, or None.

Sources: load_hparams in https://github.com/ggml-org/llama.cpp/blob/master/src/llama-model.cpp for the keys,
src/llama-vocab.cpp beside it for the vocabulary; for the types of tensors ggml/src/ggml-cpu/ggml-cpu.c (what can be
multiplied) and convert_hf_to_gguf.py (what is stored as F32, whatever the file's type).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from lollms_llamacpp.gguf import STRING, Header, Tensor, read_strings

__all__ = ["NO_WEIGHTS", "SIZES", "key_fault", "tensor_fault", "vocabulary_fault"]

SIZES: Final = {"context_length": 2**31 - 1, "embedding_length": 2**24, "block_count": 512}
"""What every model has, and the most that it can be (LLAMA_MAX_LAYERS is 512)."""

_MAX_EXPERTS: Final = 1024  # LLAMA_MAX_EXPERTS of src/llama-hparams.h
_ROPE_SCALINGS: Final = frozenset({"none", "linear", "yarn", "longrope"})
_POOLINGS: Final = range(5)  # llama.h, enum llama_pooling_type
_UNSPECIFIED: Final = 2**32 - 1

# Types that hold numbers for others to compute with, and no weights.
NO_WEIGHTS: Final = frozenset({"I8", "I16", "I32", "I64", "F64", "Q8_1", "Q8_K"})

_TOKENS: Final = "tokenizer.ggml.tokens"
_MAX_TOKEN_BYTES: Final = 4096
_BYTE: Final = re.compile(rb"<0x([0-9A-F]{2})>")
_RWKV_BYTE: Final = re.compile(rb"\\x([0-9a-f]{2})|\\([tnr\\'\"])|([^\\])", re.DOTALL)
_RWKV_NAMES: Final = {b"t": b"\t", b"n": b"\n", b"r": b"\r"}


# Keys --------------------------------------------------------------------------------------------------------


def key_fault(architecture: str, header: Header, tensors: Mapping[str, Tensor]) -> str | None:
    """What is wrong with the figures of a model with weights."""

    def own(fact: str) -> int | None:
        return header.whole(f"{architecture}.{fact}")

    for fact, most in SIZES.items():
        value = own(fact)
        if value is None or not 1 <= value <= most:
            return f"its {architecture}.{fact} is {value}"
    heads, shared = own("attention.head_count"), own("attention.head_count_kv")
    if heads is not None and not 0 <= heads <= (own("embedding_length") or 0):
        return f"its {architecture}.attention.head_count is {heads}"
    if shared is not None and heads is not None and not 0 <= shared <= heads:
        return f"its {architecture}.attention.head_count_kv is {shared}"
    further = own("nextn_predict_layers")
    if further is not None and not 0 <= further <= (own("block_count") or 0):
        return f"its {architecture}.nextn_predict_layers is {further}"
    if (pooling := own("pooling_type")) not in {None, _UNSPECIFIED, *_POOLINGS}:
        return f"its {architecture}.pooling_type is {pooling}"
    return (
        _text_fault(architecture, header)
        or _expert_fault(architecture, header)
        or _output_fault(architecture, header, tensors)
    )


def _text_fault(architecture: str, header: Header) -> str | None:
    scaling = header.metadata.get(f"{architecture}.rope.scaling.type")
    if isinstance(scaling, str) and scaling not in _ROPE_SCALINGS:
        return f"its {architecture}.rope.scaling.type is {scaling!r}"
    for key in header.metadata:
        value = header.number(key) if key.endswith("epsilon") else None
        if value is not None and not (math.isfinite(value) and value >= 0):
            return f"its {key} is {value}"
    return None


def _expert_fault(architecture: str, header: Header) -> str | None:
    def own(fact: str) -> int:
        return header.whole(f"{architecture}.{fact}") or 0

    experts, used = own("expert_count"), own("expert_used_count")
    groups, groups_used = own("expert_group_count"), own("expert_group_used_count")
    if architecture in {"hunyuan-dense", "hunyuan_vl"} and experts <= 1:
        experts = used = 0  # as llama.cpp reads these
    if not 0 <= experts <= _MAX_EXPERTS:
        return f"its {architecture}.expert_count is {experts}"
    if not (1 <= used <= experts if experts else used == 0):
        return f"its {architecture}.expert_used_count is {used}, of {experts} experts"
    if not (0 <= groups < experts if experts else groups == 0) or (groups > 1 and experts % groups):
        return f"its {architecture}.expert_group_count is {groups}, of {experts} experts"
    if groups > 1 and not 1 <= groups_used < groups:
        return f"its {architecture}.expert_group_used_count is {groups_used}, of {groups} groups"
    return None


def _output_fault(architecture: str, header: Header, tensors: Mapping[str, Tensor]) -> str | None:
    """Vectors that are to come out longer or shorter than any tensor makes them."""
    size = header.whole(f"{architecture}.embedding_length_out")
    made = {one.shape[-1] for name, one in tensors.items() if one.shape and name.startswith(("dense", "cls"))}
    if size and size not in {header.whole(f"{architecture}.embedding_length"), *made}:
        return f"its {architecture}.embedding_length_out is {size}, which no tensor of it makes"
    return None


# Tensors -----------------------------------------------------------------------------------------------------


def tensor_fault(tensors: Mapping[str, Tensor]) -> str | None:
    """A tensor that cannot be computed with in its type."""
    for name, (shape, kind) in tensors.items():
        if not name.endswith((".weight", ".bias")):
            continue
        if len(shape) <= 1 and kind != "F32":
            return f"its tensor {name!r} is of type {kind}; one of a single dimension must be F32"
        if kind in NO_WEIGHTS:
            return f"its tensor {name!r} is of type {kind}, which is none for weights"
    return None


# The vocabulary ----------------------------------------------------------------------------------------------


def vocabulary_fault(path: Path, header: Header) -> str | None:
    """What is wrong with the tokens; they are read from the file.

    Raises:
        ModelNotFound, BackendError: the file cannot be read any more.
    """
    place = header.arrays.get(_TOKENS)
    if place is None or place.kind != STRING:
        return None  # llama.cpp says so
    # C's strings end at the first NUL.
    tokens = [token.partition(b"\0")[0] for token in read_strings(path, _TOKENS, place)]
    seen: set[bytes] = set()
    for number, token in enumerate(tokens):
        if len(token) > _MAX_TOKEN_BYTES:
            return f"its token {number} has {len(token)} bytes"
        if token in seen:
            return f"its token {number}, {token.decode('utf-8', 'replace')!r}, is in the vocabulary twice"
        if token:
            seen.add(token)
    return _byte_fault(header.text("tokenizer.ggml.model"), seen)


def _byte_fault(tokenizer: str | None, tokens: set[bytes]) -> str | None:
    """Bytes that a text may hold and no token stands for; these tokenizers have no way out then."""
    if tokenizer == "llama":
        known = {int(found[1], 16) for token in tokens if (found := _BYTE.fullmatch(token))}
        known |= {token[0] for token in tokens if len(token) == 1}
        wanted = range(1, 256)
    elif tokenizer == "rwkv":
        known = {byte for token in tokens if (byte := _rwkv_byte(token)) is not None}
        wanted = range(256)
    else:
        return None
    missing = next((byte for byte in wanted if byte not in known), None)
    return None if missing is None else f"its vocabulary has no token for the byte {missing}"


def _rwkv_byte(token: bytes) -> int | None:
    """The byte that `token`, written with escapes, stands for, if it is a single one."""
    match = _RWKV_BYTE.fullmatch(token)
    if match is None:
        return None
    digits, escaped, plain = match.groups()
    if digits:
        return int(digits, 16)
    return (plain or _RWKV_NAMES.get(escaped, escaped))[0]
