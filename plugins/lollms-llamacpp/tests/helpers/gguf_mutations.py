"""Damaged GGUF files, several hundred kinds, each with a name and where chance plays a part with its seed.

Every function gives trials for :func:`model_trials.run_trials`, the same at each call.
"""

from __future__ import annotations

import itertools
import math
import os
import random
import socket
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from gguf_files import Tensor, gguf, llama_parts, pack, projector_parts
from gguf_layout import Field, read_layout
from model_trials import Trial

TEMPLATE = "{% for message in messages %}{{ message['role'] + ':' + message['content'] }}{% endfor %}"
HUGE = (0, 1, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**63 - 1, 2**63, 2**64 - 1)
_FORMS = {4: "<I", 8: "<Q"}


def written(name: str, content: bytes) -> Trial:
    return Trial(name, lambda path: path.write_bytes(content))


# Bytes --------------------------------------------------------------------------------------------------------


def patched(content: bytes, start: int, data: bytes) -> bytes:
    return content[:start] + data + content[start + len(data) :]


def flips(content: bytes, count: int) -> Iterator[Trial]:
    """Single bits, and now and then a few bytes, anywhere; as many in the header as in the data."""
    header = read_layout(content).header_end
    for seed in range(count):
        chance = random.Random(seed)  # noqa: S311 - to be the same each time
        changed = bytearray(content)
        for _ in range(chance.choice((1, 1, 1, 3, 9))):
            at = chance.randrange(header) if seed % 4 else chance.randrange(header, len(content))
            changed[at] = changed[at] ^ (1 << chance.randrange(8)) if chance.random() < 0.7 else chance.randrange(256)
        yield written(f"flips, seed {seed}", bytes(changed))


def cuts(content: bytes, count: int) -> Iterator[Trial]:
    """The file ends early: behind each field (of the many alike only some), and at `count` places by chance."""
    layout = read_layout(content)
    ends = {0, *(one.end for one in layout.fields[:12]), layout.tensors_start, layout.header_end, len(content) - 1}
    ends.update(one.end for one in layout.fields[:: max(1, len(layout.fields) // 40)])
    chance = random.Random(count)  # noqa: S311
    ends.update(chance.randrange(len(content)) for _ in range(count))
    for end in sorted(ends):
        yield written(f"cut at byte {end}", content[:end])


def counts(content: bytes) -> Iterator[Trial]:
    """Counts, shapes and offsets that are huge, zero, or one off."""
    seen: dict[tuple[str, str], int] = {}
    for one in read_layout(content).of_kind("count", "shape", "offset"):
        seen[one.kind, one.of] = seen.get((one.kind, one.of), 0) + 1
        if one.of != "header" and seen[one.kind, one.of] > 2:
            continue
        yield from _numbers(content, one)


def _numbers(content: bytes, one: Field) -> Iterator[Trial]:
    form = _FORMS[one.size]
    (old,) = struct.unpack_from(form, content, one.start)
    most = 2 ** (8 * one.size) - 1
    for value in dict.fromkeys((*HUGE, old - 1, old + 1, old * 2)):
        if 0 <= value <= most and value != old:
            name = f"the {one.kind} of {one.of} at byte {one.start} is {value}"
            yield written(name, patched(content, one.start, struct.pack(form, value)))


def types(content: bytes) -> Iterator[Trial]:
    """Values and tensors under other types' numbers, also those that are none."""
    layout = read_layout(content)
    for one in layout.of_kind("type"):
        tensor = one.start >= layout.tensors_start
        for value in (*((0, 1, 3, 8, 24, 27, 36, 99) if tensor else range(13)), 2**31, 2**32 - 1):
            data = struct.pack("<I", value)
            if content[one.start : one.end] != data:
                yield written(f"the type of {one.of} at byte {one.start} is {value}", patched(content, one.start, data))


def texts(content: bytes) -> Iterator[Trial]:
    """Names and texts that are no UTF-8, hold NUL, or are another's."""
    layout = read_layout(content)
    for one in layout.of_kind("text"):
        if one.size:
            for data in (b"\xff", b"\0", b"\xc3"):
                changed = patched(content, one.start, data)
                yield written(f"a text of {one.of} at byte {one.start} begins with {data!r}", changed)
    tensors = [one for one in layout.of_kind("text") if one.start >= layout.tensors_start]
    for first, second in itertools.pairwise(tensors):
        if first.size == second.size:
            data = content[first.start : first.end]
            yield written(f"two tensors are called {data!r}", patched(content, second.start, data))


def versions(content: bytes) -> Iterator[Trial]:
    for value in (0, 1, 4, 2**16, 0x03000000, 2**32 - 1):
        yield written(f"version {value}", patched(content, 4, struct.pack("<I", value)))
    for magic in (b"GGJT", b"FUGG", b"\0\0\0\0"):
        yield written(f"magic {magic!r}", patched(content, 0, magic))


def _packed(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The values as bytes, so that long ones are packed once for all files."""
    return {key: value if isinstance(value, bytes) else pack(value) for key, value in metadata.items()}


# Meaning -------------------------------------------------------------------------------------------------------

_NUMBERS = (0, 1, 3, 7, 511, 513, 2**16, 2**31 - 1, 2**31, 2**32 - 1)
_STRANGE: Mapping[str, Any] = {
    "a text": "x",
    "an empty text": "",
    "true": True,
    "-1": pack(-1, "i32"),
    "a u64": pack(2**63, "u64"),
    "1.5": 1.5,
    "nan": math.nan,
    "inf": math.inf,
    "0.0": 0.0,
    "an array of none": pack([], "u32"),
    "an array of one": [1],
    "an array of two": [1, 2],
    "an array of 600": [1] * 600,
    "an array of texts": ["x", "y"],
}


def values(parts: tuple[Mapping[str, Any], Sequence[Tensor]], keys: Sequence[str] = ()) -> Iterator[Trial]:
    """Each key missing, and with values of all kinds; some further `keys` added."""
    metadata, tensors = _packed(parts[0]), parts[1]
    for key in (*metadata, *keys):
        if key in metadata:
            without = {other: value for other, value in metadata.items() if other != key}
            yield written(f"{key} is missing", gguf(without, tensors))
        strange = {**{str(number): number for number in _NUMBERS}, **_STRANGE}
        for name, value in strange.items():
            yield written(f"{key} is {name}", gguf({**metadata, key: value}, tensors))


SPECIAL = tuple(
    f"tokenizer.ggml.{name}_token_id"
    for name in ("unknown", "seperator", "padding", "eot", "eom", "mask", "fim_pre", "fim_rep", "prefix", "cls")
)
FURTHER = (
    *SPECIAL,
    "tokenizer.ggml.scores",
    "tokenizer.ggml.token_type_count",
    "tokenizer.ggml.precompiled_charsmap",
    "tokenizer.ggml.suppress_tokens",
    "tokenizer.ggml.add_eos_token",
    "tokenizer.ggml.add_sep_token",
    "tokenizer.ggml.remove_extra_whitespaces",
    "tokenizer.chat_template",
    "general.alignment",
    "general.type",
    "llama.vocab_size",
    "llama.expert_count",
    "llama.expert_used_count",
    "llama.expert_group_count",
    "llama.attention.key_length",
    "llama.attention.value_length",
    "llama.attention.causal",
    "llama.attention.sliding_window",
    "llama.attention.clamp_kqv",
    "llama.rope.freq_base",
    "llama.rope.scaling.type",
    "llama.rope.scaling.factor",
    "llama.rope.scaling.original_context_length",
    "llama.pooling_type",
    "llama.nextn_predict_layers",
    "llama.embedding_length_out",
    "llama.classifier.output_labels",
    "llama.leading_dense_block_count",
    "llama.use_parallel_residual",
    "llama.expert_weights_scale",
    "llama.logit_scale",
    "split.count",
    "split.no",
    "split.tensors.count",
)


def vocabularies() -> Iterator[Trial]:
    """Lists of tokens, their kinds, scores and merges that do not fit together, with each tokenizer."""
    metadata, tensors = llama_parts()
    tokens = metadata["tokenizer.ggml.tokens"]
    ids = {"tokenizer.ggml.bos_token_id": 256, "tokenizer.ggml.eos_token_id": 258}
    lists: dict[str, list[Any]] = {
        "one token less": tokens[:-1],
        "one token more": [*tokens, "more"],
        "no tokens": [],
        "one token": ["a"],
        "empty tokens": [""] * len(tokens),
        "the same token": ["a"] * len(tokens),
        "no bytes": [f"token{number}" for number in range(len(tokens))],
        "one byte missing": [*tokens[:97], "longer", *tokens[98:]],
        "long tokens": [*tokens[:-1], "x" * 100_000],
        "tokens with NUL": [*tokens[:-1], "a\0b"],
        "numbers": list(range(len(tokens))),
    }
    models = ("gpt2", "llama", "bert", "t5", "rwkv", "plamo2", "none", "no_vocab", "gemma4", "unheard", "")
    for model in models:
        for name, words in lists.items():
            changed = {**metadata, **ids, "tokenizer.ggml.model": model}
            changed["tokenizer.ggml.tokens"] = words or pack(["x"])[:8] + struct.pack("<Q", 0)
            changed["tokenizer.ggml.scores"] = pack([0.0] * len(words), "f32") if words else pack([], "f32")
            changed["tokenizer.ggml.token_type"] = pack([1] * len(words), "i32")
            yield written(f"tokenizer {model!r} with {name}", gguf(changed, tensors))
    for model in models:
        few = {key: value for key, value in metadata.items() if not key.startswith("tokenizer.ggml.")}
        few |= {"tokenizer.ggml.model": model, "tokenizer.ggml.tokens": tokens[:20], "tokenizer.ggml.merges": ["t h"]}
        few |= {f"tokenizer.ggml.add_{name}": True for name in ("bos_token", "eos_token", "sep_token", "space_prefix")}
        few |= {"tokenizer.ggml.scores": [0.5] * 20}
        table = [(tensors[0][0], (32, 20), 0, tensors[0][3][: 32 * 20 * 4]), *tensors[1:]]
        yield written(f"tokenizer {model!r} with 20 tokens and no special ones", gguf(few, table))
    for name, kinds in {
        "one less": pack([1] * 259, "i32"),
        "one more": pack([1] * 261, "i32"),
        "all control": pack([3] * 260, "i32"),
        "all unknown": pack([2] * 260, "i32"),
        "all unused": pack([5] * 260, "i32"),
        "all bytes": pack([6] * 260, "i32"),
        "out of range": pack([77] * 260, "i32"),
        "negative": pack([-1] * 260, "i32"),
        "u32": pack([1] * 260, "u32"),
        "i64": pack([1] * 260, "i64"),
        "u8": pack([1] * 260, "u8"),
        "texts": ["x"] * 260,
    }.items():
        for model in ("gpt2", "llama"):
            changed = {**metadata, "tokenizer.ggml.model": model, "tokenizer.ggml.token_type": kinds}
            yield written(f"token types {name}, tokenizer {model!r}", gguf(changed, tensors))
    for name, merges in {
        "no blank": ["th"],
        "two blanks": ["t h e"],
        "only a blank": [" "],
        "empty": [""],
        "none": pack(["x"])[:8] + struct.pack("<Q", 0),
        "numbers": [1, 2],
        "of unknown tokens": ["zz yy", "q\0 r"],
        "the same": ["t h"] * 1000,
        "no UTF-8": pack(["t h"]).replace(b"t h", b"\xff \xfe"),
    }.items():
        yield written(f"merges: {name}", gguf({**metadata, "tokenizer.ggml.merges": merges}, tensors))
    for kind in ("u8", "u16", "i16", "u64", "i64", "f32", "i32"):
        changed = {**metadata, "tokenizer.ggml.bos_token_id": pack(250, kind)}
        yield written(f"bos as {kind}", gguf(changed, tensors))


def spm_parts() -> tuple[dict[str, Any], list[Tensor]]:
    """The tiny llama with a SentencePiece vocabulary: unknown, begin, end, 256 bytes and a letter."""
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "\u2581"]
    metadata, tensors = llama_parts()
    metadata |= {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.scores": pack([-float(index) for index in range(len(tokens))], "f32"),
        "tokenizer.ggml.token_type": pack([2, 3, 3, *[6] * 256, 1], "i32"),
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.unknown_token_id": 0,
        "tokenizer.ggml.add_bos_token": True,
    }
    del metadata["tokenizer.ggml.pre"], metadata["tokenizer.ggml.merges"]
    return metadata, tensors


def tables(parts: tuple[Mapping[str, Any], Sequence[Tensor]]) -> Iterator[Trial]:
    """Tensors missing, renamed, of another shape or type, one over the other, one too many."""
    metadata, tensors = _packed(parts[0]), parts[1]
    for index, (name, shape, kind, data) in enumerate(tensors):
        before, after = tensors[:index], tensors[index + 1 :]
        yield written(f"{name} is missing", gguf(metadata, [*before, *after]))
        yield written(f"{name} has another name", gguf(metadata, [*before, ("x" + name, shape, kind, data), *after]))
        elements = math.prod(shape)
        for other in {
            tuple(reversed(shape)),
            (elements,),
            (1, elements),
            (*shape, 1),
            (*shape, 1, 1)[:4],
            (shape[0] // 2, *shape[1:]),
            (shape[0] - 1, *shape[1:]),
            (*shape[:-1], shape[-1] - 1),
            (*shape[:-1], 1),
            (),
            (0, *shape[1:]),
        } - {tuple(shape)}:
            if math.prod(other) <= elements:
                table = [*before, (name, other, kind, data), *after]
                yield written(f"{name} has the shape {other}", gguf(metadata, table))
        for number, bytes_each in ((1, 2), (24, 1), (25, 2), (26, 4), (27, 8), (28, 8), (30, 2)):
            table = [*before, (name, shape, number, (data * 2)[: elements * bytes_each]), *after]
            yield written(f"{name} has the type {number}", gguf(metadata, table))
        if not shape[0] % 32:
            for number, size in ((2, 18), (8, 34), (9, 36), (39, 17)):
                table = [*before, (name, shape, number, (data * 2)[: elements // 32 * size]), *after]
                yield written(f"{name} has the type {number}", gguf(metadata, table))
    yield written("no tensors", gguf(metadata))
    yield written("one tensor too many", gguf(metadata, [*tensors, ("extra.weight", (32,), 0, b"\0" * 128)]))
    yield written("a second layer", gguf(metadata, [*tensors, *_next_layer(tensors)]))
    rope = ("rope_freqs.weight", (8,), 0, struct.pack("<8f", *[0.0] * 8))
    yield written("rope factors of 0", gguf(metadata, [*tensors, rope]))
    yield written("rope factors of another length", gguf(metadata, [*tensors, (rope[0], (4,), 0, rope[3][:16])]))


def _next_layer(tensors: Sequence[Tensor]) -> list[Tensor]:
    return [(name.replace(".0.", ".1."), *rest) for name, *rest in tensors if ".0." in name]  # type: ignore[misc]


def offsets(content: bytes) -> Iterator[Trial]:
    """Data of several tensors at one place, behind the end, and not aligned."""
    layout = read_layout(content)
    places = layout.of_kind("offset")
    for one in places:
        for value in (0, 1, 32, len(content), len(content) + 31 & ~31, 2**63, 2**64 - 32):
            name = f"the data of {one.of} begins at {value}"
            yield written(name, patched(content, one.start, struct.pack("<Q", value)))
    same = bytearray(content)
    for one in places:
        same[one.start : one.end] = bytes(8)
    yield written("all tensors share their data", bytes(same))
    for gap in (1, 64, 4096):
        moved = content[: layout.header_end] + b"\0" * gap + content[layout.header_end :]
        yield written(f"{gap} bytes before the data", moved)


def data(parts: tuple[Mapping[str, Any], Sequence[Tensor]]) -> Iterator[Trial]:
    """NaN, infinity, zeros and random bytes for weights, in each tensor alone and in all."""
    metadata, tensors = _packed(parts[0]), parts[1]
    patterns = {
        "NaN": struct.pack("<f", math.nan),
        "infinity": struct.pack("<f", math.inf),
        "zeros": bytes(4),
        "the largest number": struct.pack("<f", 3e38),
    }
    for name, pattern in patterns.items():
        filled = [(one, shape, kind, pattern * (len(old) // 4)) for one, shape, kind, old in tensors]
        yield written(f"{name} everywhere", gguf(metadata, filled))
        for index, tensor in enumerate(filled):
            table = [*tensors[:index], tensor, *tensors[index + 1 :]]
            yield written(f"{name} in {tensor[0]}", gguf(metadata, table))
    for seed in range(8):
        chance = random.Random(seed)  # noqa: S311
        filled = [(one, shape, kind, chance.randbytes(len(old))) for one, shape, kind, old in tensors]
        yield written(f"random weights, seed {seed}", gguf(metadata, filled))


def architectures() -> Iterator[Trial]:
    """The tiny model under other architectures' names, all its keys renamed."""
    metadata, tensors = llama_parts()
    for name in (
        *("bert", "nomic-bert", "jina-bert-v2", "t5", "t5encoder", "gpt2", "gptj", "falcon", "mpt", "starcoder"),
        *("bloom", "stablelm", "qwen", "qwen2", "qwen2moe", "qwen3", "qwen3moe", "phi2", "phi3", "gemma", "gemma2"),
        *("gemma3", "gemma3n", "mamba", "mamba2", "rwkv6", "rwkv7", "command-r", "dbrx", "olmo", "olmo2", "olmoe"),
        *("deepseek", "deepseek2", "chatglm", "bitnet", "jais", "nemotron", "exaone", "granite", "granitehybrid"),
        *("chameleon", "wavtokenizer-dec", "plm", "dots1", "arcee", "ernie4_5", "hunyuan-moe", "smollm3", "gpt-oss"),
        *("lfm2", "llada", "dream", "clip", "unheard-of", "llama4", "jamba", "grok", "minicpm", "plamo2", "apertus"),
    ):
        renamed = {key.replace("llama.", f"{name}."): value for key, value in metadata.items()}
        yield written(f"architecture {name}", gguf({**renamed, "general.architecture": name}, tensors))


# Files that are none --------------------------------------------------------------------------------------------


def no_files() -> Iterator[Trial]:
    """A directory, a pipe, a socket, devices behind links, links to nowhere and to themselves."""
    yield written("an empty file", b"")
    yield written("a megabyte of zeros", bytes(1 << 20))
    yield Trial("a directory", lambda path: path.mkdir())
    yield Trial("a link to nowhere", lambda path: path.symlink_to("nothing.gguf"))
    yield Trial("a link to itself", lambda path: path.symlink_to(path.name))
    if hasattr(os, "mkfifo"):
        yield Trial("a FIFO", os.mkfifo)
    for device in ("/dev/zero", "/dev/null", "/dev/full", "/dev/urandom"):
        if Path(device).exists():
            yield Trial(f"a link to {device}", lambda path, device=device: path.symlink_to(device))  # type: ignore[misc]
    if hasattr(socket, "AF_UNIX"):
        yield Trial("a socket", _listen)


def _listen(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as ours:
        ours.bind(os.path.relpath(path))  # a socket's path must be short


# A real model ----------------------------------------------------------------------------------------------------


def real(path: Path, count: int) -> Iterator[Trial]:
    """The embedded model with its real header, damaged, and zeros for weights: a file full of holes costs no copy."""
    size = path.stat().st_size
    with path.open("rb") as file:
        header = file.read(8 << 20)
    layout = read_layout(header)
    header = header[: layout.header_end]

    def holed(name: str, head: bytes, length: int = size, noise: tuple[int, bytes] = (0, b"")) -> Trial:
        def make(target: Path) -> None:
            with target.open("wb") as file:
                file.write(head[:length])
                if noise[1]:
                    file.seek(noise[0])
                    file.write(noise[1])
                file.truncate(length)

        return Trial(f"smollm2: {name}", make)

    yield holed("whole, zeros for weights", header)
    for seed in range(count):
        chance = random.Random(seed)  # noqa: S311
        changed = bytearray(header)
        kinds = ("count", "type", "value", "shape", "offset", "text")
        one = chance.choice(layout.of_kind(chance.choice(kinds)))
        if one.size:
            at = chance.randrange(one.start, one.end)
            changed[at] ^= 1 << chance.randrange(8)
            yield holed(f"a bit of the {one.kind} of {one.of}, seed {seed}", bytes(changed))
    for seed in range(count // 4):
        length = random.Random(seed).choice((layout.header_end, size)) - random.Random(seed).randrange(1, 5000)  # noqa: S311
        yield holed(f"cut at byte {length}, seed {seed}", header, length)
        chance = random.Random(seed)  # noqa: S311
        place = chance.randrange(layout.header_end + 4096, size - 100_000)
        noise = (place, chance.randbytes(100_000))
        yield holed(f"100,000 random bytes at {place}, seed {seed}", header, noise=noise)


def everything() -> Iterator[Trial]:
    """All damage to the tiny models."""
    parts, spm = llama_parts(tokenizer__chat_template=TEMPLATE), spm_parts()
    content = gguf(*parts)
    yield from no_files()
    yield from versions(content)
    yield from flips(content, 120)
    yield from cuts(content, 25)
    yield from counts(content)
    yield from types(content)
    yield from texts(content)
    yield from values(parts, FURTHER)
    yield from values(spm, SPECIAL)
    yield from vocabularies()
    yield from tables(parts)
    yield from offsets(content)
    yield from data(parts)
    yield from architectures()


def projectors() -> Iterator[Trial]:
    """All damage to projectors, of two kinds."""
    for kind in ("mlp", "idefics3"):
        parts = projector_parts(n_out=32, kind=kind)
        content = gguf(*parts)
        yield from flips(content, 30)
        yield from counts(content)
        yield from types(content)
        yield from values(parts)
        yield from tables(parts)
        yield from offsets(content)
        yield from data(parts)
