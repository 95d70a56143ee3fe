"""The facts of a model on disk."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lollms_core import BackendError, Capability, ModelNotFound
from lollms_llamacpp import gguf, model_file
from lollms_llamacpp.gguf_strings import SeenStrings
from lollms_llamacpp.model_file import shard_of

Make = Callable[..., bytes]


def test_facts(tmp_path: Path, make_tiny: Make) -> None:
    """A file's facts are those of its header."""
    file = tmp_path / "tiny.gguf"
    file.write_bytes(make_tiny(tokenizer__chat_template="x", general__file_type=15))
    found = model_file.model_file(file)
    found.check()
    facts = found.facts()
    assert facts["architecture"] == "llama"
    assert facts["title"] == "Tiny"
    assert facts["quantization"] == "Q4_K_M"
    assert facts["ctx_size"] == 256
    assert facts["size"] == file.stat().st_size
    assert facts["parameters"] == 15_584
    assert (facts["embedding_length"], facts["layers"], facts["tokenizer"]) == (32, 1, "gpt-2")
    assert found.capabilities() == model_file.CAPABILITIES - {
        Capability.TOOLS,
        Capability.REASONING,
        Capability.VISION,
    }


def test_quantization_without_a_file_type(tmp_path: Path, make_gguf: Make) -> None:
    """Where the file does not tell, most of its tensors do."""
    file = tmp_path / "a.gguf"
    file.write_bytes(
        make_gguf({}, [("a", (1,), 0, b"\0" * 4), ("b", (32,), 8, b"\0" * 34), ("c", (32,), 8, b"\0" * 34)])
    )
    assert model_file.model_file(file).quantization == "Q8_0"
    file.write_bytes(make_gguf({"x": 1}))
    assert model_file.model_file(file).quantization == "none"


GENERATES = {Capability.TEXT, Capability.STREAM, Capability.JSON_SCHEMA, Capability.LOGPROBS, Capability.TOKENIZE}


@pytest.mark.parametrize(
    ("changes", "able"),
    [
        ({}, {*GENERATES, Capability.EMBED}),
        ({"llama__attention__causal": False}, {Capability.EMBED, Capability.TOKENIZE}),
        ({"llama__pooling_type": 4}, GENERATES),
        ({"tokenizer__chat_template": "x"}, {*GENERATES, Capability.EMBED, Capability.CHAT}),
        (
            {"tokenizer__chat_template": "{{ enable_thinking }}"},
            {*GENERATES, Capability.EMBED, Capability.CHAT, Capability.REASONING},
        ),
    ],
)
def test_capabilities(tmp_path: Path, make_tiny: Make, changes: dict[str, Any], able: set[Capability]) -> None:
    """No template, no chat; a model that reads both ways doesn't generate; a reranker gives no vectors."""
    file = tmp_path / "tiny.gguf"
    file.write_bytes(make_tiny(**changes))
    assert model_file.model_file(file).capabilities() == able


def test_length_of_vectors(tmp_path: Path, make_gguf: Make) -> None:
    """Where a last matrix makes other vectors of those inside, its length counts; what nothing makes is refused."""
    sizes = {"context_length": 8, "embedding_length": 4, "block_count": 1, "embedding_length_out": 2}
    metadata: dict[str, Any] = {"general.architecture": "lfm2", "tokenizer.ggml.model": "gpt2"}
    metadata |= {f"lfm2.{fact}": size for fact, size in sizes.items()}
    (tmp_path / "a.gguf").write_bytes(make_gguf(metadata, [("dense_2.weight", (4, 2), 0, bytes(32))]))
    found = model_file.model_file(tmp_path / "a.gguf")
    found.check()
    assert (found.embedding_length, found.output_length) == (4, 2)
    (tmp_path / "b.gguf").write_bytes(make_gguf(metadata, [("token_embd.weight", (4, 2), 0, bytes(32))]))
    with pytest.raises(BackendError, match="embedding_length_out is 2"):
        model_file.model_file(tmp_path / "b.gguf").check()


@pytest.mark.parametrize(
    ("tokenizer", "tokens", "told"),
    [
        ("gpt2", ["a", "b", "a"], "'a', is in the vocabulary twice"),
        ("gpt2", ["a\0b", "a\0c"], "twice"),
        ("gpt2", ["x" * 5000], "5000 bytes"),
        ("llama", ["a", "b"], "no token for the byte 1"),
        ("llama", [f"<0x{byte:02X}>" for byte in range(255)], "no token for the byte 255"),
        ("rwkv", ["a", "\\n", "\\x00"], "no token for the byte 1"),
        ("gpt2", ["", "", "a", "b"], None),
        ("llama", [f"<0x{byte:02X}>" for byte in range(256)], None),
        ("llama", [chr(byte) if byte < 128 else f"<0x{byte:02X}>" for byte in range(1, 256)], None),
        ("rwkv", [f"\\x{byte:02x}" for byte in range(256) if byte not in {10, 65}] + ["\\n", "A", "AB"], None),
    ],
)
def test_vocabularies(tmp_path: Path, make_gguf: Make, tokenizer: str, tokens: list[str], told: str | None) -> None:
    """Tokens that llama.cpp would die of, at once or with the first text that holds a certain byte."""
    file = tmp_path / "m.gguf"
    metadata = {"general.architecture": "llama", "tokenizer.ggml.model": tokenizer, "tokenizer.ggml.tokens": tokens}
    file.write_bytes(make_gguf(metadata))
    found = model_file.model_file(file)
    found.check()
    if told is None:
        found.check(tokens=True)
    else:
        with pytest.raises(BackendError, match=told):
            found.check(tokens=True)


def test_vocabulary_only(tmp_path: Path, make_gguf: Make) -> None:
    """A file without weights can only tokenize."""
    file = tmp_path / "vocab.gguf"
    file.write_bytes(make_gguf({"general.architecture": "llama", "tokenizer.ggml.model": "gpt2"}))
    found = model_file.model_file(file)
    found.check()
    assert found.capabilities() == {Capability.TOKENIZE}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"general__architecture": None}, "architecture"),
        ({"general__architecture": 7}, "architecture"),
        ({"tokenizer__ggml__model": None}, "tokenizer"),
        ({"llama__block_count": None}, "block_count is None"),
        ({"llama__block_count": 1000}, "block_count is 1000"),
        ({"llama__embedding_length": 0}, "embedding_length is 0"),
        ({"llama__attention__head_count_kv": 4}, "head_count_kv is 4"),
        ({"llama__attention__head_count": 1000}, "head_count is 1000"),
        ({"general__architecture": "clip"}, "projector"),
        ({"general__type": "adapter"}, "LoRA"),
    ],
)
def test_no_model(tmp_path: Path, make_tiny: Make, changes: dict[str, Any], told: str) -> None:
    """What llama.cpp would die of, or could do nothing with, is refused by us."""
    file = tmp_path / "tiny.gguf"
    file.write_bytes(make_tiny(**changes))
    with pytest.raises(BackendError, match=told):
        model_file.model_file(file).check()


def test_headers_are_read_once(tmp_path: Path, make_tiny: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file is read again only if it has changed."""
    file = tmp_path / "tiny.gguf"
    file.write_bytes(make_tiny())
    reads = []

    def counted(path: Path, seen: SeenStrings | None = None) -> gguf.Header:
        reads.append(path)
        return gguf.read_header(path, seen)

    monkeypatch.setattr(model_file, "read_header", counted)
    assert model_file.model_file(file) is model_file.model_file(file)
    file.write_bytes(make_tiny(general__name="Another"))
    os.utime(file, ns=(1, 1))
    assert model_file.model_file(file).title == "Another"
    assert reads == [file, file]


def test_shards(tmp_path: Path, make_gguf: Make) -> None:
    """A split model is known by its first file, whichever is named, and all its files count."""
    names = [f"big-0000{number}-of-00003.gguf" for number in (1, 2, 3)]
    for number, name in enumerate(names):
        metadata = {"split.no": number, "split.count": 3, "general.architecture": "llama"}
        (tmp_path / name).write_bytes(make_gguf(metadata, [(f"t{number}", (8,), 0, b"\0" * 32)]))
    for name in names:
        found = model_file.model_file(tmp_path / name)
        assert found.path.name == names[0]
        assert (len(found.tensors), found.n_params) == (3, 24)
        assert found.size == sum((tmp_path / one).stat().st_size for one in names)
    (tmp_path / names[1]).unlink()
    with pytest.raises(ModelNotFound, match="00002-of-00003"):
        model_file.model_file(tmp_path / names[0])


def test_renamed_shard(tmp_path: Path, make_gguf: Make) -> None:
    """One file of several under another name cannot find the others, and says so."""
    file = tmp_path / "part.gguf"
    file.write_bytes(make_gguf({"split.count": 3}))
    with pytest.raises(BackendError, match="one of 3 files"):
        model_file.model_file(file)


def test_names_of_shards() -> None:
    """Only llama.cpp's own form of a split file's name is one."""
    assert shard_of(Path("a/m-00002-of-00003.gguf")) == ("m", 2, 3)
    assert shard_of(Path("m-2-of-3.gguf")) is None
    assert shard_of(Path("m.gguf")) is None


def test_recommended_sampling(tmp_path: Path, make_tiny: Make) -> None:
    """What a file recommends is known under our names; what is no number is left out."""
    file = tmp_path / "tiny.gguf"
    file.write_bytes(
        make_tiny(general__sampling__temp=0.5, general__sampling__top_k=7, general__sampling__top_p=float("nan"))
    )
    assert model_file.model_file(file).sampling == {"temperature": 0.5, "top_k": 7}
