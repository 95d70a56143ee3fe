"""Two hundred GGUF files as a collector of models has them: real sizes and headers, and nothing in their tensors.

The weights are holes in the files, so that they take no room on the disk.
"""

from __future__ import annotations

import random
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from gguf_files import pack, text

__all__ = ["COUNT", "make_models"]

COUNT: Final = 200

_F16, _F32 = 1, 0
_ALIGNED: Final = 32


class _Kind(NamedTuple):
    """A family: its vocabulary, and the sizes of its members."""

    name: str
    tokenizer: str
    pre: str
    n_vocab: int
    sizes: tuple[tuple[int, int, int], ...]  # layers, embedding, feed-forward


# Vocabularies and shapes of published models.
_KINDS: Final = (
    _Kind("smollm", "gpt2", "smollm", 49152, ((30, 576, 1536), (32, 960, 2560), (24, 2048, 8192))),
    _Kind("llama", "gpt2", "llama-bpe", 128256, ((16, 2048, 8192), (28, 3072, 8192), (32, 4096, 14336))),
    _Kind("qwen2", "gpt2", "qwen2", 151936, ((24, 896, 4864), (28, 1536, 8960), (28, 3584, 18944))),
    _Kind("mistral", "llama", "default", 32768, ((32, 4096, 14336),)),
)
_TEMPLATE: Final = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def make_models(folder: Path) -> None:
    """Make them if they are not there: some 600 MB of headers."""
    if folder.is_dir():
        return
    building = folder.with_name(f"{folder.name}-building")
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir(parents=True)
    vocabularies = {kind.name: _vocabulary(kind) for kind in _KINDS}
    for number in range(COUNT):
        kind = _KINDS[number % len(_KINDS)]
        below = building / f"{kind.name}-{number % 10}"
        below.mkdir(exist_ok=True)
        _write(below / f"{kind.name}-{number:03}-f16.gguf", kind, number, vocabularies[kind.name])
    building.rename(folder)


def _write(path: Path, kind: _Kind, number: int, vocabulary: bytes) -> None:
    layers, n_embd, n_ff = kind.sizes[number // len(_KINDS) % len(kind.sizes)]
    architecture = "qwen2" if kind.name == "qwen2" else "llama"
    before: dict[str, Any] = {
        "general.architecture": architecture,
        "general.type": "model",
        "general.name": f"{kind.name} {number}",
        "general.license": "apache-2.0",
        "general.languages": ["en", "fr", "de"],
        f"{architecture}.block_count": layers,
        f"{architecture}.context_length": 32768,
        f"{architecture}.embedding_length": n_embd,
        f"{architecture}.feed_forward_length": n_ff,
        f"{architecture}.attention.head_count": n_embd // 64,
        f"{architecture}.attention.head_count_kv": n_embd // 64,
        f"{architecture}.rope.freq_base": 1e6,
        f"{architecture}.attention.layer_norm_rms_epsilon": 1e-5,
        "general.file_type": 1,
    }
    after: dict[str, Any] = {
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.add_bos_token": False,
        "tokenizer.chat_template": _TEMPLATE,
        "general.quantization_version": 2,
    }
    tensors = list(_tensors(layers, n_embd, n_ff, kind.n_vocab))
    n_keys = len(before) + len(after) + 5
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), n_keys)
    head += _packed(before) + vocabulary + _packed(after)
    offset = 0
    for name, shape, tensor_type in tensors:
        head += text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, tensor_type, offset)
        size = struct.calcsize("e" if tensor_type == _F16 else "f")
        for length in shape:
            size *= length
        offset += -(-size // _ALIGNED) * _ALIGNED
    head += b"\0" * (-len(head) % _ALIGNED)
    with path.open("wb") as file:
        file.write(head)
        file.truncate(len(head) + offset)


def _packed(metadata: dict[str, Any]) -> bytes:
    return b"".join(text(key) + pack(value) for key, value in metadata.items())


def _vocabulary(kind: _Kind) -> bytes:
    """The five entries of a vocabulary: its kind, how texts are cut, tokens, their types, what joins or weighs them."""
    chance = random.Random(kind.n_vocab)  # noqa: S311 - the same files each time
    letters = "etaoinshrdlucmfwypvbgkjqxz"
    space = "Ġ" if kind.tokenizer == "gpt2" else "▁"
    tokens = ["<unk>", "<s>", "</s>"]
    known = set(tokens)
    while len(tokens) < kind.n_vocab:
        word = "".join(chance.choices(letters, k=chance.randint(1, 9)))
        word = space + word if chance.random() < 0.5 else word  # as many begin a word as don't
        if word not in known:
            known.add(word)
            tokens.append(word)
    types = [3, 3, 3, *[1] * (kind.n_vocab - 3)]
    entries = {
        "tokenizer.ggml.model": pack(kind.tokenizer),
        "tokenizer.ggml.pre": pack(kind.pre),
        "tokenizer.ggml.tokens": pack(tokens),
        "tokenizer.ggml.token_type": pack(types, "i32"),
    }
    if kind.tokenizer == "gpt2":
        entries["tokenizer.ggml.merges"] = pack([f"{one[:-1]} {one[-1]}" for one in tokens[3:] if len(one) > 1])
    else:
        entries["tokenizer.ggml.scores"] = pack([float(-number) for number in range(kind.n_vocab)], "f32")
    return b"".join(text(key) + value for key, value in entries.items())


def _tensors(layers: int, n_embd: int, n_ff: int, n_vocab: int) -> Iterator[tuple[str, tuple[int, ...], int]]:
    yield "token_embd.weight", (n_embd, n_vocab), _F16
    for layer in range(layers):
        yield f"blk.{layer}.attn_norm.weight", (n_embd,), _F32
        yield f"blk.{layer}.ffn_norm.weight", (n_embd,), _F32
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            yield f"blk.{layer}.{name}.weight", (n_embd, n_embd), _F16
        for name in ("ffn_gate", "ffn_up"):
            yield f"blk.{layer}.{name}.weight", (n_embd, n_ff), _F16
        yield f"blk.{layer}.ffn_down.weight", (n_ff, n_embd), _F16
    yield "output_norm.weight", (n_embd,), _F32
