"""Prompts for SmolLM2: no two begin alike, so that nobody has anything of one remembered from another."""

from __future__ import annotations

import random
from typing import Final

__all__ = ["listing", "listings", "passage"]

_THINGS_TEXT: Final = (
    "apple river stone table window paper silver mountain candle bridge forest island village castle market kitchen "
    "piano violin engine rocket planet comet desert glacier volcano harbor lantern mirror ladder hammer bottle basket "
    "blanket pillow carpet curtain garden orchard meadow valley canyon tunnel tower temple library museum theater "
    "hospital school factory airport station highway railway bicycle tractor helicopter submarine telescope microscope "
    "computer keyboard camera battery magnet"
)
_WORDS_TEXT: Final = (
    "the a one some people often know that old water light house country found small large under between year time "
    "story always never began called together music number work part place world life hand high every near food own "
    "found still should home big give air line set end does another well large must even such because turn here why "
    "ask went men read need land different move try kind picture again change off play spell away animal point page "
    "letter mother answer study learn plant cover sun four thought city tree cross farm hard start might saw far sea"
)
_THINGS: Final = _THINGS_TEXT.split()
_WORDS: Final = _WORDS_TEXT.split()


def listing(number: int) -> str:
    """Some 21 tokens that the model continues, without an end, for some hundred tokens."""
    thing = _THINGS[number % len(_THINGS)]
    return f"{thing.capitalize()}s are found in many places. A list of a hundred facts about the {thing}:\n1."


def listings(round_number: int, count: int) -> list[str]:
    """The prompts of a round: `count` of them, all different from each other and from those of the rounds beside it."""
    return [listing(round_number * count + one) for one in range(count)]


def passage(number: int, n_words: int) -> str:
    """Common words by chance, about a token each; another number is another passage from its first word on."""
    chance = random.Random(number)  # noqa: S311 - the same text each time is what is wanted
    return " ".join([_THINGS[number % len(_THINGS)], *chance.choices(_WORDS, k=n_words)])
