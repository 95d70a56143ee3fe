"""Tokens and vectors."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

from lollms_core.capabilities import Capability
from lollms_core.testing.conformance import expecting
from lollms_core.testing.conformance.check import check
from lollms_core.testing.conformance.subject import Subject

TEXTS = (
    "Hello, world!",
    "The sky is blue.",
    " a leading space, and a trailing one ",
    "two  spaces\tand a tab\nand lines\n\n",
    "na\u00efve caf\u00e9, \u4f60\u597d, \u041f\u0440\u0438\u0432\u0435\u0442",
    "\U0001f30d\u2713 \U0001f469\u200d\U0001f680",
    "<|im_start|>user</s><s>",
    "",
)


@check(Capability.TOKENIZE)
def tokens_round_trip(subject: Subject) -> None:
    """What tokenize took, detokenize gives back, special-token text as plain text."""
    binding = subject.new()
    for text in TEXTS:
        tokens = binding.tokenize(text)
        assert isinstance(tokens, list), f"tokenize gives a {type(tokens).__name__}"
        back = binding.detokenize(tokens)
        assert back == text, f"{text!r} comes back as {back!r}"


@check(Capability.TOKENIZE)
def tokens_are_counted(subject: Subject) -> None:
    """What count_tokens gives is the number of tokens; none are added, and something else than a text is an error."""
    binding = subject.new()
    for text in TEXTS:
        count = binding.count_tokens(text)
        assert count == len(binding.tokenize(text)), f"count_tokens({text!r}) is {count}"
    assert binding.tokenize("") == [], f"tokenize('') gives {binding.tokenize('')!r}: tokens are added at the ends"
    expecting.raises(Exception, lambda: binding.tokenize(5), "tokenize(5)")  # type: ignore[arg-type]


@check(Capability.EMBED)
def embed(subject: Subject) -> None:
    """A text gives a vector, a list of texts as many in their order, of one size, sync and async."""
    binding = subject.new()
    texts = ["The cat sat on the mat.", "Quantum chromodynamics", "x"]
    one = binding.embed(texts[0])
    assert isinstance(one, list), f"embed of a text gives {one!r}"
    assert one, "embed of a text gives an empty vector"
    assert all(type(number) is float and math.isfinite(number) for number in one), (
        "a vector holds something else than floats"
    )
    many = binding.embed(texts)
    assert [len(vector) for vector in many] == [len(one)] * 3, "the vectors are of different sizes"
    swapped = binding.embed(texts[::-1])
    for place, vector in enumerate(many):
        assert near(vector, swapped[2 - place]), "the vectors do not follow the order of the texts"
    assert near(one, many[0]), "a text alone has another vector than in a list"
    assert not near(many[0], many[1]), "different texts have the same vector"
    assert binding.embed([]) == [], "embed([]) gives something"
    assert near(subject.awaited(binding.aembed(texts[0])), one), "aembed gives another vector"


@check(Capability.EMBED)
def embed_misuse(subject: Subject) -> None:
    """Something else than texts is a TypeError or ValueError of embed."""
    binding = subject.new()
    anything: tuple[Any, ...] = (5, [5], None)
    for wrong in anything:
        expecting.raises((TypeError, ValueError), partial(binding.embed, wrong), f"embed({wrong!r})")


def near(one: list[float], other: list[float]) -> bool:
    """Whether two vectors are the same but for rounding, which another order of sums brings."""
    size = max(1e-6, math.sqrt(sum(number * number for number in one)))
    distance = math.sqrt(sum((a - b) ** 2 for a, b in zip(one, other, strict=True)))
    return distance <= 0.05 * size
