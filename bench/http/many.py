"""A thousand streams at once in one process, and what they leave behind."""

from __future__ import annotations

from typing import Final

from bench.cases import Case, Column, Contestant, Kit, Target
from bench.contestants.http.answers import model
from bench.figures import Result
from bench.http.contestants import OURS, RAW, SDK, contestants, loopback

__all__ = ["many_cases"]

_STREAMS: Final = 1000
_OTHERS: Final = ("langchain-openai", "any-llm-sdk", "aisuite", "litellm", "llm", "lollms-client")
_KIB: Final = 1 / 1024


def many_cases(kit: Kit) -> list[Case]:
    """Of many streams."""
    words = 50 if kit.quick else 100
    task = {"do": "many", "streams": _STREAMS, "words": words, "model": model(words)}
    mine, sdk = OURS["openai"], SDK["openai"]
    who: tuple[Contestant, ...] = contestants("openai", task, without=_OTHERS)
    return [
        Case(
            "http-many-streams",
            "1,000 streams at once",
            f"{_STREAMS:,} streams of {words} chunks in one process on asyncio. The server answers none before all are "
            "asked for, and then sends a tenth of each in turn, so all are open at the same time. The time is that of "
            "a first wave, connecting included; then comes a second, equal one. Memory is that of the process, above "
            "what it had before the first wave; what allocators keep for later makes it rise and fall. What finished "
            "streams leave behind is told by Python's count of the memory blocks in use "
            "(`sys.getallocatedblocks()`): how many more there are after the second wave. Each round has new "
            "processes, which have asked one plain question before. httpx is told to allow as many connections; the "
            "SDK does by itself.",
            who,
            (
                Column("seconds", "s", 2),
                Column("second", "second wave, s", 2),
                Column("client", "CPU time of the client, %", 0, 100),
                Column("peak", "peak memory above the start, MiB", 1, _KIB * _KIB),
                Column("grown", "resident after the second wave over after the first, MiB", 1, _KIB * _KIB),
                Column("left", "blocks left by each stream of the second wave", 2),
            ),
            (Target(mine, "<=", 0.5, sdk), Target(mine, "<=", 1.0, column="left")),
            rounds=1 if kit.quick else 3,
            fresh=True,
            beside=lambda: loopback(kit, together=_STREAMS),
            reason=_by_the_floor,
        )
    ]


def _by_the_floor(result: Result, target: Target) -> str:
    if target.against is None:
        floor_left = result.spread(RAW, target.column)
        return "" if floor_left is None else f"{RAW} leaves {floor_left.median:.2f}"
    floor, ours = result.ratio(RAW, target.against, target.column), result.ratio(target.who, RAW, target.column)
    return f"{RAW} without any check takes {floor.median:.2f}x of {target.against}; ours is {ours.median:.2f}x of that"
