"""Byte-pair vocabularies ("gpt2", "gemma4"), through the tokenizers library."""

from __future__ import annotations

import re
from functools import cache
from typing import Any, Final

from lollms_core import CapabilityNotSupported
from lollms_ollama.kinds import PreTokenizer
from lollms_ollama.vocabulary_data import Vocabulary

__all__ = ["BytePairs", "bytes_of"]

_NEWLINES: Final = re.compile("(\n+)")


@cache
def _letters() -> dict[str, int]:
    """The byte that each letter of a byte-level vocabulary stands for (encoder.py of GPT-2)."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    found = {chr(byte): byte for byte in plain}
    others = (byte for byte in range(256) if byte not in set(plain))
    return found | {chr(256 + place): byte for place, byte in enumerate(others)}


def bytes_of(token: str) -> bytes:
    """The bytes that a token of a byte-level vocabulary stands for."""
    letters = _letters()
    data = bytearray()
    for letter in token:
        byte = letters.get(letter)
        if byte is None:
            # What llama.cpp writes for a letter that stands for no byte.
            data += b"[UNK_BYTE_0x" + letter.encode().hex().encode() + token.encode() + b"]"
        else:
            data.append(byte)
    return bytes(data)


class BytePairs:
    """Texts to tokens.

    Raises:
        CapabilityNotSupported: the vocabulary has no merges, or lacks a byte.
    """

    def __init__(self, vocabulary: Vocabulary, pre: PreTokenizer) -> None:
        from tokenizers import Regex, Tokenizer, models, pre_tokenizers

        self._ids = vocabulary.ids
        self._letters = pre.bytes_as_letters
        self._known = len(vocabulary.tokens)
        merges = list(dict.fromkeys(vocabulary.merges()))
        if not merges:
            raise CapabilityNotSupported("the vocabulary has no merges")
        ids, self._spelled = self._with_missing(vocabulary.ids, merges)
        model: Any = models.BPE(
            vocab=ids, merges=merges, ignore_merges=pre.whole_words, byte_fallback=not pre.bytes_as_letters
        )
        self._tokenizer = Tokenizer(model)
        steps: list[Any] = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in pre.patterns]
        if pre.bytes_as_letters:
            steps.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False))
        if steps:
            self._tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)

    def encode(self, text: str) -> list[int]:
        """The tokens of `text`."""
        if self._letters:
            return self._run(text)
        tokens: list[int] = []
        for part in _NEWLINES.split(text):
            # Newlines are cut off by hand: a run of them that is a token stays whole.
            if part:
                whole = self._ids.get(part) if part[0] == "\n" else None
                tokens += self._run(part) if whole is None else [whole]
        return tokens

    def _run(self, text: str) -> list[int]:
        found: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        if not self._spelled or max(found, default=0) < self._known:
            return found
        return [token for number in found for token in self._spelled.get(number, (number,))]

    def _with_missing(
        self, ids: dict[str, int], merges: list[tuple[str, str]]
    ) -> tuple[dict[str, int], dict[int, tuple[int, ...]]]:
        """`ids` with numbers for what merging can make without its being a token, and what is put in their place.

        llama.cpp merges those too, and spells in bytes what is no token in the end; of a letter beyond ASCII nothing
        is left then.
        """
        wanted = [text for left, right in merges for text in (left, right, left + right) if text not in ids]
        if self._letters:
            wanted += [letter for letter in _letters() if letter not in ids]
        if not wanted:
            return ids, {}
        ids, spelled = dict(ids), {}
        for text in dict.fromkeys(wanted):
            number = ids[text] = len(ids)
            spelled[number] = tuple(self._spelling(text))
        return ids, spelled

    def _spelling(self, text: str) -> list[int]:
        if self._letters:
            names = [letter for letter in text if letter.isascii()]
        else:
            names = [f"<0x{byte:02X}>" for byte in text.encode()]
        return [self._ids[name] for name in names if name in self._ids]
