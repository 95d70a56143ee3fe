"""From a GGUF file's vocabulary to a tokenizer that gives exactly llama.cpp's tokens.

Byte-level BPE ("gpt2", "gemma4") runs in the tokenizers library; SentencePiece ("llama") in
:mod:`~lollms_ollama.sentencepiece`. What stands around both (special tokens, the space before a text, BOS and
EOS, bytes back to text) is here.

Source of the rules: llama_vocab::impl in src/llama-vocab.cpp of https://github.com/ggml-org/llama.cpp.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, Protocol

from lollms_core import CapabilityNotSupported
from lollms_ollama.kinds import kind_of, pre_tokenizer_of
from lollms_ollama.special_tokens import CONTROL, USER_DEFINED, SpecialTokens
from lollms_ollama.vocabulary_data import BYTE, NORMAL, Vocabulary

__all__ = ["VocabularyTokenizer", "vocabulary_tokenizer"]

SPACE: Final = "\u2581"
"""What SentencePiece writes for a space."""


class _Words(Protocol):
    """Turns a text without special tokens into tokens."""

    def encode(self, text: str) -> list[int]: ...


def vocabulary_tokenizer(metadata: Mapping[str, Any]) -> VocabularyTokenizer:
    """The tokenizer for a model.

    Args:
        metadata: the keys of the model's GGUF file with their values, arrays included, as ``model_info`` of
            /api/show has them with ``verbose``.

    Raises:
        CapabilityNotSupported: the vocabulary is of a kind whose tokens are not known exactly.
        ProtocolError: it is damaged.
    """
    return VocabularyTokenizer(Vocabulary(metadata))


class VocabularyTokenizer:
    """Texts to tokens and back; may be used from any thread."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        metadata = vocabulary.metadata
        pre = pre_tokenizer_of(metadata)
        spm = metadata.get("tokenizer.ggml.model") == "llama"
        if pre is None and not spm:
            raise CapabilityNotSupported(
                f"the vocabulary {kind_of(metadata)} is of a kind whose tokens are not known exactly"
            )
        self._vocabulary = vocabulary
        self._special = SpecialTokens(vocabulary)
        self._escapes = spm or (pre is not None and not pre.bytes_as_letters)
        self._adds_space = spm and vocabulary.flag("add_space_prefix", default=True)
        adds_bos = spm or (pre is not None and pre.adds_bos)
        self._bos = vocabulary.token_id("bos_token_id", 1 if spm else 11 if pre is not None and pre.has_bos else None)
        self._eos = vocabulary.token_id("eos_token_id", 2 if spm else 11)
        if not vocabulary.flag("add_bos_token", default=adds_bos) and metadata.get("tokenizer.ggml.model") != "gemma4":
            self._bos = None
        if not vocabulary.flag("add_eos_token", default=False):
            self._eos = None
        self._words: _Words
        if pre is None:
            from lollms_ollama.sentencepiece import SentencePiece

            self._words = SentencePiece(vocabulary)
        else:
            from lollms_ollama.byte_pairs import BytePairs

            self._words = BytePairs(vocabulary, pre)
        self._pieces: dict[int, bytes] = {}

    def __len__(self) -> int:
        return len(self._vocabulary.tokens)

    def encode(self, text: str, *, add_special: bool = False, parse_special: bool = False) -> list[int]:
        """The tokens of `text`.

        Args:
            text: any text.
            add_special: whether the tokens that the model wants at the ends of a document are added.
            parse_special: whether special-token text becomes that token. What the vocabulary calls
                user-defined always does, as in llama.cpp.

        Raises:
            ValueError: `text` holds a lone surrogate.
        """
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"the text has a lone surrogate at character {error.start}") from None
        tokens = [self._bos] if add_special and self._bos is not None else []
        after_special = True
        for part in self._special.split(text, control=parse_special):
            if isinstance(part, int):
                tokens.append(part)
                after_special = True
                continue
            if self._adds_space and after_special:
                part = " " + part  # noqa: PLW2901
            tokens += self._words.encode(part.replace(" ", SPACE) if self._escapes else part)
            after_special = False
        if add_special and self._eos is not None:
            tokens.append(self._eos)
        return tokens

    def decode(self, tokens: Iterable[int]) -> str:
        """The text of `tokens`, special ones included; bytes that are no character become U+FFFD.

        Raises:
            TypeError, ValueError: a token is no int, or not in the vocabulary.
        """
        data = b"".join(map(self._piece, _checked(tokens, len(self))))
        if self._adds_space and data[:1] == b" ":
            data = data[1:]
        return data.decode("utf-8", "replace")

    def _piece(self, token: int) -> bytes:
        piece = self._pieces.get(token)
        if piece is None:
            piece = self._pieces[token] = self._new_piece(token)
        return piece

    def _new_piece(self, token: int) -> bytes:
        text, kind = self._vocabulary.tokens[token], self._special.kind(token)
        if kind & (CONTROL | USER_DEFINED):
            return text.encode()
        if kind == BYTE:
            return bytes([int(text[3:5], 16)])
        if kind != NORMAL:
            return b""
        if self._escapes:
            return text.replace(SPACE, " ").encode()
        from lollms_ollama.byte_pairs import bytes_of

        return bytes_of(text)


def _checked(tokens: object, count: int) -> Iterator[int]:
    if isinstance(tokens, (str, bytes)) or not isinstance(tokens, Iterable):
        raise TypeError(f"tokens must be a list of int, not {type(tokens).__name__}")
    for token in tokens:
        if isinstance(token, bool) or not hasattr(token, "__index__"):
            raise TypeError(f"a token must be an int, not {token!r}")
        number = token.__index__()
        if not 0 <= number < count:
            raise ValueError(f"{number} is no token of this model, which has the tokens 0 to {count - 1}")
        yield number
