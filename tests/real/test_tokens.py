"""Exact tokens, text for text, against llama.cpp's own tokenizer."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from gguf_metadata import read_metadata
from token_texts import token_texts

from lollms_core import CapabilityNotSupported, LollmsLLMBinding

if TYPE_CHECKING:
    from .conftest import Backend, Figures, Opener, Scene

REFUSED = {"bert-bge", "nomic-bert-moe"}
"""Vocabularies of kinds (WordPiece, Unigram) that the ollama binding does not claim; it claims all others."""


class LlamaCppTokenizer:
    """llama.cpp's own: no BOS or EOS, special-token text as plain text."""

    def __init__(self, path: Path) -> None:
        self.model: Any = importlib.import_module("llama_cpp").Llama(str(path), vocab_only=True, verbose=False)

    def __call__(self, text: str) -> list[int]:
        tokens: list[int] = self.model.tokenize(text.encode(), add_bos=False, special=False)
        return tokens

    def detokenize(self, tokens: list[int]) -> str:
        raw: bytes = self.model.detokenize(tokens, special=True)
        return raw.decode("utf-8", "replace")


def compare(
    name: str, mine: Callable[[str], list[int]], theirs: Callable[[str], list[int]], figures: Figures | None
) -> None:
    """Fail with the first differences, if there are any."""
    texts = token_texts()
    count = 0
    different = []
    for text in texts:
        expected = theirs(text)
        count += len(expected)
        if mine(text) != expected:
            different.append(text)
    if figures is not None:
        figures.tokens[name] = (len(texts), count, len(different))
    shown = [f"{text[:80]!r}: {mine(text)[:40]} instead of {theirs(text)[:40]}" for text in different[:10]]
    assert not different, f"{len(different)} of {len(texts)} texts differ, such as:\n" + "\n".join(shown)


def test_there_are_enough_texts() -> None:
    """At least 2,000, all different, and the same for everybody."""
    assert len(token_texts()) >= 2000


def test_ollama_served_model(opener: Opener, ollama: str, scene: Scene, figures: Figures) -> None:
    """Through the server: the vocabulary as /api/show gives it."""
    binding = opener("ollama", host_address=ollama, model_name="smollm2")
    compare("served model (smollm2)", binding.tokenize, LlamaCppTokenizer(scene.model), figures)


def test_the_archive_has_the_vocabularies(scene: Scene) -> None:
    """What is to be compared, or refused, is there."""
    names = {vocabulary_name(path) for path in scene.vocabularies.glob("*.gguf")}
    assert names > REFUSED
    assert names > {"llama-spm", "phi-3", "llama-bpe", "qwen2", "gpt-2", "gemma-4"}


def test_ollama_vocabularies(vocabulary: Path, figures: Figures) -> None:
    """Claimed kinds are exact, all others are refused: nothing in between."""
    from lollms_ollama.vocabulary import vocabulary_tokenizer

    name = vocabulary_name(vocabulary)
    metadata = read_metadata(vocabulary)
    if name in REFUSED:
        with pytest.raises(CapabilityNotSupported):
            vocabulary_tokenizer(metadata)
        figures.refused.append(name)
        return
    compare(name, vocabulary_tokenizer(metadata).encode, LlamaCppTokenizer(vocabulary), figures)


def test_tokens(backend: Backend, binding: LollmsLLMBinding, scene: Scene) -> None:
    """Every binding that has tokens has llama.cpp's, and turns them back as it does.

    That is not always the text: this model's vocabulary lacks some control characters.
    """
    texts = token_texts()[::25]
    if not backend.tokenizes:
        for call in (lambda: binding.tokenize("Hello"), lambda: binding.count_tokens("Hello")):
            with pytest.raises(CapabilityNotSupported):
                call()
        return
    theirs = LlamaCppTokenizer(scene.model)
    for text in texts:
        tokens = binding.tokenize(text)
        assert tokens == theirs(text), text
        assert binding.detokenize(tokens) == theirs.detokenize(tokens)
    assert [binding.count_tokens(text) for text in texts[:20]] == [len(theirs(text)) for text in texts[:20]]


def vocabulary_name(path: Path) -> str:
    return path.stem.removeprefix("ggml-vocab-")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "vocabulary" in metafunc.fixturenames:
        import os

        paths = sorted(Path(os.environ["LOLLMS_REAL_VOCABULARIES"]).glob("*.gguf"))
        metafunc.parametrize("vocabulary", paths, ids=vocabulary_name)
