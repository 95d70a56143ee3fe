"""SentencePiece vocabularies ("llama"): the pair whose token has the highest score is merged first.

tokenizers merges by a fixed rank of each pair. That is not the same where two tokens have the same score, as
the runs of spaces in Llama's vocabulary do: there the leftmost pair goes first. So it is done here; a text is cut
where no token can reach across, and the pieces, which are words mostly, are remembered.
"""

from __future__ import annotations

import heapq
from functools import lru_cache
from typing import Final

from lollms_core import CapabilityNotSupported
from lollms_ollama.vocabulary_data import Vocabulary

__all__ = ["SentencePiece"]

_REMEMBERED: Final = 65_536
_LONGEST_REMEMBERED: Final = 64


class SentencePiece:
    """Texts, with their spaces escaped, to tokens.

    Raises:
        CapabilityNotSupported: the vocabulary has no token for some byte.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._ids = ids = vocabulary.ids
        self._scores = vocabulary.scores()
        try:
            self._bytes = [ids[f"<0x{byte:02X}>"] for byte in range(256)]
        except KeyError as error:
            raise CapabilityNotSupported(f"the vocabulary has no token for a byte: {error}") from None
        self._joined = {text[at : at + 2] for text in ids for at in range(len(text) - 1)}
        self._remembered = lru_cache(maxsize=_REMEMBERED)(self._merged)

    def encode(self, text: str) -> list[int]:
        """The tokens of `text`."""
        tokens: list[int] = []
        joined, begin = self._joined, 0
        for at in range(1, len(text) + 1):
            if text[at - 1 : at + 1] not in joined:
                piece = text[begin:at]
                tokens += self._remembered(piece) if at - begin <= _LONGEST_REMEMBERED else self._merged(piece)
                begin = at
        return tokens

    def _merged(self, text: str) -> tuple[int, ...]:
        """The tokens of a piece."""
        ids, scores = self._ids, self._scores
        count = len(text)
        if count == 1:
            return self._single(text)
        parts: list[str] = list(text)
        before, after = list(range(-1, count - 1)), list(range(1, count + 1))
        queue: list[tuple[float, int, int, str]] = []

        def offer(left: int, right: int) -> None:
            if left < 0 or right >= count:
                return
            both = parts[left] + parts[right]
            number = ids.get(both)
            if number is not None:
                heapq.heappush(queue, (-scores[number], left, right, both))

        for at in range(1, count):
            offer(at - 1, at)
        while queue:
            _, left, right, both = heapq.heappop(queue)
            # A part that has been merged away is empty; one that has grown makes another text.
            if not parts[left] or not parts[right] or len(parts[left]) + len(parts[right]) != len(both):
                continue
            parts[left], parts[right] = both, ""
            after[left] = after[right]
            if after[right] < count:
                before[after[right]] = left
            offer(before[left], left)
            offer(left, after[left])
        tokens: list[int] = []
        for part in parts:
            if part:
                number = ids.get(part)
                tokens += (number,) if number is not None else self._single(part)
        return tuple(tokens)

    def _single(self, character: str) -> tuple[int, ...]:
        number = self._ids.get(character)
        return (number,) if number is not None else tuple(self._bytes[byte] for byte in character.encode())
