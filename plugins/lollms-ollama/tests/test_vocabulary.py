"""Tokens are llama.cpp's. Small vocabularies here; the real ones are compared in tests/real."""

from __future__ import annotations

from typing import Any

import pytest
from ollama_wire import vocabulary

from lollms_core import CapabilityNotSupported, ProtocolError
from lollms_ollama.kinds import PRE_TOKENIZERS, is_supported
from lollms_ollama.vocabulary import vocabulary_tokenizer

PHI_TOKENS = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]


def pieces(text: str, **changes: Any) -> list[str]:
    metadata = vocabulary(**changes)
    return [metadata["tokenizer.ggml.tokens"][token] for token in vocabulary_tokenizer(metadata).encode(text)]


def test_merging() -> None:
    assert pieces("the the then") == ["the", "\u0120the", "\u0120the", "n"]
    assert pieces("") == []
    assert pieces("é") == ["\u00c3", "\u00a9"]


def test_special_text_is_text_unless_asked_for() -> None:
    tokenizer = vocabulary_tokenizer(vocabulary())
    text = "a<|im_end|>the<tool>"
    plain = tokenizer.encode(text)
    assert 258 not in plain
    assert plain[-1] == 259  # user-defined: always parsed, as in llama.cpp
    assert tokenizer.encode(text, parse_special=True) == [97, 258, 261, 259]
    assert tokenizer.decode(plain) == tokenizer.decode([97, 258, 261, 259]) == text


def test_ends_of_a_document() -> None:
    assert vocabulary_tokenizer(vocabulary()).encode("the", add_special=True) == [261]
    both = vocabulary(tokenizer__ggml__add_bos_token=True, tokenizer__ggml__add_eos_token=True)
    assert vocabulary_tokenizer(both).encode("the", add_special=True) == [256, 261, 258]
    llama3 = vocabulary(tokenizer__ggml__pre="llama-bpe")
    assert vocabulary_tokenizer(llama3).encode("the", add_special=True) == [256, 261]
    nameless = vocabulary(
        tokenizer__ggml__pre="glm4", tokenizer__ggml__add_bos_token=True, tokenizer__ggml__bos_token_id=None
    )
    assert vocabulary_tokenizer(nameless).encode("the", add_special=True) == [261]


def test_whole_words_beat_merges() -> None:
    tokens = [*vocabulary()["tokenizer.ggml.tokens"], "zz"]
    changes: dict[str, Any] = {"tokenizer__ggml__tokens": tokens, "tokenizer__ggml__token_type": [1] * len(tokens)}
    assert pieces("zz", **changes) == ["z", "z"]
    assert pieces("zz", tokenizer__ggml__pre="llama-bpe", **changes) == ["zz"]


def test_merges_to_what_is_no_token_are_spelled() -> None:
    """llama.cpp merges "q" and "u" though "qu" is no token, and then writes the bytes, "u" not merging with "e"."""
    tokens = [*vocabulary()["tokenizer.ggml.tokens"], "ue"]
    changes: dict[str, Any] = {
        "tokenizer__ggml__tokens": tokens,
        "tokenizer__ggml__token_type": [1] * len(tokens),
        "tokenizer__ggml__merges": ["q u", "u e"],
    }
    assert pieces("que", **changes) == ["q", "u", "e"]
    assert pieces("ue", **changes) == ["ue"]


def test_a_byte_without_a_token_is_dropped_and_keeps_its_neighbours_apart() -> None:
    tokens = vocabulary()["tokenizer.ggml.tokens"]
    without = [token if token != "\u0100" else "none" for token in tokens]  # the letter for the byte 0
    assert pieces("t\x00h", tokenizer__ggml__tokens=without) == ["t", "h"]


def test_later_unicode_is_not_known_to_llama_cpp() -> None:
    """Letters and digits of Unicode 16 are neither, those of 15.1 are; also if tokenizers learns newer tables."""
    from tokenizers import Regex, pre_tokenizers

    (pattern,) = PRE_TOKENIZERS["gpt-2"].patterns
    split = pre_tokenizers.Split(Regex(pattern), "isolated")
    assert [piece for piece, _ in split.pre_tokenize_str("a\U0002ebf0b")] == ["a\U0002ebf0b"]
    assert [piece for piece, _ in split.pre_tokenize_str("a\u1c89b")] == ["a", "\u1c89", "b"]
    for later in ("\u088f", "\U00016ea0", "\U000323b0"):  # letters of Unicode 17
        assert [piece for piece, _ in split.pre_tokenize_str(f"a{later}b")] == ["a", later, "b"]


@pytest.mark.parametrize("name", sorted(PRE_TOKENIZERS))
def test_every_known_kind_can_be_built(name: str) -> None:
    changes: dict[str, Any] = {"tokenizer__ggml__pre": name}
    if name == "gemma4":
        changes = {"tokenizer__ggml__model": "gemma4", "tokenizer__ggml__pre": None}
    metadata = vocabulary(**changes)
    assert is_supported(metadata)
    vocabulary_tokenizer(metadata).encode("It's 12345 théâtres,\n\n  中文。")


@pytest.mark.parametrize(
    ("model", "pre"),
    [("bert", "bert-bge"), ("t5", "default"), ("gpt2", "kimi-k2"), ("gpt2", "gemma4"), ("rwkv", None), (None, None)],
)
def test_other_kinds_raise(model: Any, pre: Any) -> None:
    metadata = vocabulary(tokenizer__ggml__model=model, tokenizer__ggml__pre=pre)
    assert not is_supported(metadata)
    with pytest.raises(CapabilityNotSupported, match=str(model or "unknown")):
        vocabulary_tokenizer(metadata)


@pytest.mark.parametrize(
    "changes",
    [
        {"tokenizer__ggml__tokens": None},
        {"tokenizer__ggml__tokens": 5},
        {"tokenizer__ggml__tokens": ["a", "a"], "tokenizer__ggml__token_type": [1, 1]},
        {"tokenizer__ggml__token_type": [1]},
        {"tokenizer__ggml__token_type": ["x"]},
        {"tokenizer__ggml__merges": {"a": "b"}},
    ],
)
def test_damaged_vocabularies(changes: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError):
        vocabulary_tokenizer(vocabulary(**changes))


def test_no_merges() -> None:
    with pytest.raises(CapabilityNotSupported, match="merges"):
        vocabulary_tokenizer(vocabulary(tokenizer__ggml__merges=None))


def test_arguments() -> None:
    tokenizer = vocabulary_tokenizer(vocabulary())
    with pytest.raises(ValueError, match="surrogate"):
        tokenizer.encode("a\ud800")
    for tokens in ("ab", 5, ["a"], [True]):
        with pytest.raises(TypeError):
            tokenizer.decode(tokens)  # type: ignore[arg-type]
    for token in (-1, len(tokenizer)):
        with pytest.raises(ValueError, match="no token"):
            tokenizer.decode([token])
    assert tokenizer.decode([0xC3]) == "\ufffd"  # half a character


def test_what_llama_cpp_takes_for_special_by_its_text() -> None:
    tokens = [*vocabulary()["tokenizer.ggml.tokens"], "<|channel|>", "<EOT>", "<|fim_prefix|>"]
    types = [*vocabulary()["tokenizer.ggml.token_type"], 3, 4, 4]
    tokenizer = vocabulary_tokenizer(vocabulary(tokenizer__ggml__tokens=tokens, tokenizer__ggml__token_type=types))
    channel, eot, prefix = range(len(tokens) - 3, len(tokens))
    assert tokenizer.encode("<|channel|>") == [channel]
    assert eot not in tokenizer.encode("<EOT>")
    assert prefix not in tokenizer.encode("<|fim_prefix|>")
    assert tokenizer.encode("<EOT><|fim_prefix|>", parse_special=True) == [eot, prefix]


# SentencePiece ----------------------------------------------------------------------------------------


def sentencepiece(*tokens: tuple[str, float], **changes: Any) -> dict[str, Any]:
    texts = [*PHI_TOKENS, *(text for text, _ in tokens)]
    metadata: dict[str, Any] = {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": texts,
        "tokenizer.ggml.scores": [0.0] * len(PHI_TOKENS) + [score for _, score in tokens],
        "tokenizer.ggml.token_type": [2, 3, 3, *[6] * 256, *[1] * len(tokens)],
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
    }
    return metadata | {name.replace("__", "."): value for name, value in changes.items()}


LETTERS = [(letter, -100.0) for letter in "\u2581abc->"]


def spm(text: str, *tokens: tuple[str, float], **changes: Any) -> list[str]:
    metadata = sentencepiece(*LETTERS, *tokens, **changes)
    return [metadata["tokenizer.ggml.tokens"][token] for token in vocabulary_tokenizer(metadata).encode(text)]


def test_the_best_score_is_merged_first() -> None:
    assert spm("abc", ("ab", -2.0), ("bc", -1.0)) == ["\u2581", "a", "bc"]
    assert spm("abc", ("ab", -1.0), ("bc", -2.0)) == ["\u2581", "ab", "c"]


def test_of_equal_scores_the_leftmost_goes_first() -> None:
    dashes = [("--", -1.0), ("---", 0.0), ("-->", 0.0)]
    assert spm("--->", *dashes) == ["\u2581", "---", ">"]
    assert spm("---->", *dashes) == ["\u2581", "---", "-", ">"]


def test_spaces_and_bytes() -> None:
    assert spm("a b", ("\u2581a", -1.0)) == ["\u2581a", "\u2581", "b"]
    assert spm("é", tokenizer__ggml__add_space_prefix=False) == ["<0xC3>", "<0xA9>"]
    tokenizer = vocabulary_tokenizer(sentencepiece(*LETTERS))
    assert tokenizer.decode(tokenizer.encode(" a é")) == " a é"
    assert tokenizer.encode("a", add_special=True)[0] == 1
    # The space comes again after a special token.
    assert tokenizer.encode("a</s>a", parse_special=True) == [259, 260, 2, 259, 260]
    assert tokenizer.encode("") == []


def test_long_pieces() -> None:
    assert spm("ab" * 500, ("ab", -1.0)) == ["\u2581", *["ab"] * 500]


def test_a_vocabulary_without_bytes() -> None:
    metadata = sentencepiece(*LETTERS)
    metadata["tokenizer.ggml.tokens"][10] = "gone"
    with pytest.raises(CapabilityNotSupported, match="byte"):
        vocabulary_tokenizer(metadata)


def test_models_whose_special_tokens_swallow_space() -> None:
    phi = vocabulary_tokenizer({**vocabulary(), "general.name": "Phi-3 mini"})
    assert phi.encode("<|im_end|> \n a", parse_special=True) == [258, 97]
    jina = vocabulary(tokenizer__ggml__pre="jina-v2-code")
    tokens = [*jina["tokenizer.ggml.tokens"], "<mask>"]
    jina = {
        **jina,
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [*jina["tokenizer.ggml.token_type"], 3],
    }
    assert vocabulary_tokenizer(jina).encode("a <mask>", parse_special=True) == [97, len(tokens) - 1]
