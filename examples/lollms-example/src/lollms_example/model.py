"""The backend: an n-gram language model that is trained on one short text. It knows nothing of lollms-core.

The tokens are the words of its text, each with the space before it, and beside them the 256 bytes, so that every text
has tokens and comes back from them.
"""

from __future__ import annotations

import hashlib
import math
import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from itertools import count

__all__ = ["ORDERS", "LanguageModel", "Sampling", "embedding", "load", "model_names"]

ORDERS = range(1, 4)
"""How many tokens, the next one included, the model can look at: 1 is words alone, 3 what follows two words."""

_PIECE = re.compile(r" ?\w+| ?[^\w\s]|\s")  # takes every text apart into pieces that join to it again
_BYTES = 256
_ATTENTION = 4.0  # so much likelier is a word that the prompt has
_FREQUENT = 0.01  # words that make up this much of the text or more ("the") say nothing of what it is about


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is chosen.

    Attributes:
        temperature: 0 takes the likeliest.
        top_k: only the so many likeliest; 0 is off.
        top_p: only the likeliest that make up this probability; 1 is off.
        seed: same seed, same answer; None is random.
        order: one of :data:`ORDERS`.
    """

    temperature: float = 0.6
    top_k: int = 40
    top_p: float = 0.95
    seed: int | None = None
    order: int = ORDERS[-1]


class LanguageModel:
    """An interpolated n-gram model with Witten-Bell smoothing (Witten and Bell 1991, "The zero-frequency problem"),
    and a bonus for the rarer words of the prompt, a cache model (Kuhn and De Mori 1990). Nothing of it changes once
    it is made, so any number of threads may use it.

    Args:
        text: paragraphs, separated by empty lines; after each the model learns to end.

    Attributes:
        end: the token by which the model ends its answer; no text has it.
        size: the number of tokens.
    """

    def __init__(self, text: str) -> None:
        paragraphs = [_PIECE.findall(" ".join(part.split())) for part in text.split("\n\n") if part.strip()]
        words = sorted({piece for pieces in paragraphs for piece in pieces})
        self._words = words
        self._ids = {word: number for number, word in enumerate(words, _BYTES)}
        self.end = _BYTES + len(words)
        self.size = self.end + 1
        # What followed each context, for contexts of no, one and two tokens.
        followers: defaultdict[tuple[int, ...], Counter[int]] = defaultdict(Counter)
        for pieces in paragraphs:
            tokens = [self.end, *(self._ids[piece] for piece in pieces), self.end]
            for place in range(1, len(tokens)):
                for length in range(min(place + 1, len(ORDERS))):
                    followers[tuple(tokens[place - length : place])][tokens[place]] += 1
        self._followers = dict(followers)
        self._words_alone = self._followers[()]
        self._total = self._words_alone.total()

    # Tokens ---------------------------------------------------------------------------------------------

    def tokenize(self, text: str) -> list[int]:
        """The tokens of `text`: its known words, and of what is no known word the bytes in UTF-8."""
        tokens: list[int] = []
        for piece in _PIECE.findall(text):
            known = self._ids.get(piece)
            tokens += piece.encode("utf-8") if known is None else (known,)
        return tokens

    def detokenize(self, tokens: Iterable[int]) -> str:
        """The text of `tokens`; bytes that are no character become U+FFFD, the end is no text."""
        return b"".join(map(self._bytes_of, tokens)).decode("utf-8", "replace")

    def _bytes_of(self, token: int) -> bytes:
        if token < _BYTES:
            return bytes((token,))
        return b"" if token == self.end else self._words[token - _BYTES].encode("utf-8")

    # Text -----------------------------------------------------------------------------------------------

    def generate(self, prompt: Sequence[int], sampling: Sampling) -> Iterator[str]:
        """The texts of the tokens that follow `prompt`, until the model ends its answer.

        A prompt that ends with a whole sentence is followed by a new paragraph, any other is continued.
        """
        generator = random.Random(sampling.seed)  # noqa: S311 - to choose words, not keys
        attention = frozenset(token for token in prompt if self._words_alone[token] < _FREQUENT * self._total)
        anew = self.detokenize(prompt[-1:]).strip() in {"", ".", "!", "?"}
        context = [self.end] if anew else list(prompt)
        for written in count():
            likely = self._next(context, sampling.order, attention)
            if written == 0:  # the first token opens a paragraph, or is a word at least
                first = self._followers[self.end,] if anew else self._ids.values()
                likely = {token: likely[token] for token in first}
            token = _sampled(likely, sampling, generator)
            if token == self.end:
                return
            yield self._words[token - _BYTES]
            context.append(token)

    def _next(self, context: Sequence[int], order: int, attention: frozenset[int]) -> dict[int, float]:
        """The probability of each token that may come next."""
        likely = {token: seen / self._total for token, seen in self._words_alone.items()}
        for length in range(1, order):
            followers = self._followers.get(tuple(context[-length:])) if length <= len(context) else None
            if followers is None:
                break
            # As many parts for what the shorter context says as there are different followers of this one.
            share = len(followers) / (len(followers) + followers.total())
            likely = {token: share * probability for token, probability in likely.items()}
            for token, seen in followers.items():
                likely[token] += seen / (len(followers) + followers.total())
        for token in attention & likely.keys():
            likely[token] *= _ATTENTION
        return likely


def _sampled(likely: dict[int, float], sampling: Sampling, generator: random.Random) -> int:
    """One of the tokens: top_k and top_p choose among them, the temperature between those that are left."""
    ranked = sorted(likely.items(), key=lambda entry: (-entry[1], entry[0]))
    if sampling.temperature == 0:
        return ranked[0][0]
    if sampling.top_k:
        ranked = ranked[: sampling.top_k]
    if sampling.top_p < 1:
        wanted = sampling.top_p * sum(probability for _, probability in ranked)
        kept, found = 0, 0.0
        while kept < len(ranked) and (found < wanted or not kept):
            found += ranked[kept][1]
            kept += 1
        ranked = ranked[:kept]
    most = math.log(ranked[0][1])
    weights = [math.exp((math.log(probability) - most) / sampling.temperature) for _, probability in ranked]
    return generator.choices([token for token, _ in ranked], weights)[0]


def embedding(text: str, size: int) -> list[float]:
    """The vector of a text: counts of its character trigrams in `size` places (feature hashing), of length 1.

    Texts that share words and parts of words are near each other; it knows nothing of meaning.
    """
    counts = [0.0] * size
    padded = f" {' '.join(text.casefold().split())} "
    for place in range(max(1, len(padded) - 2)):
        digest = hashlib.blake2b(padded[place : place + 3].encode("utf-8", "surrogatepass"), digest_size=8).digest()
        counts[int.from_bytes(digest) % size] += 1.0
    length = math.hypot(*counts)
    return [number / length for number in counts]


def model_names() -> list[str]:
    """The names of the texts that come with this package."""
    files = (resources.files("lollms_example") / "texts").iterdir()
    return sorted(file.name.removesuffix(".txt") for file in files if file.name.endswith(".txt"))


@cache
def load(name: str) -> LanguageModel:
    """The model that is trained on the text of that name, which is one of :func:`model_names`."""
    return LanguageModel((resources.files("lollms_example") / "texts" / f"{name}.txt").read_text("utf-8"))
