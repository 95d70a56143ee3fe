"""Plain calls: an answer that is not streamed."""

from __future__ import annotations

from typing import Final

from bench.cases import Case, Column, Kit, Target
from bench.figures import Result
from bench.http.contestants import OURS, RAW, SDK, Dialect, contestants, loopback, measured

__all__ = ["plain_cases"]

_WORDS: Final = 100
_STREAMED: Final = (
    " Without `stream=False` it asks for a stream all the same, so that it notices a server that falls silent and "
    "keeps what has come: all are there once more with streams that nobody reads in pieces."
)


def plain_cases(kit: Kit) -> list[Case]:
    """Of milliseconds a call."""
    return [_case(kit, dialect) for dialect in OURS]


def _case(kit: Kit, dialect: Dialect) -> Case:
    streamed = dialect == "ollama"
    service = {"openai": "OpenAI", "ollama": "Ollama"}[dialect]
    return Case(
        f"http-{dialect}-call",
        f"{service} plain call",
        f"A prompt, and its answer of {_WORDS} words, again and again in each round, over one connection, which is "
        "open already; nobody reads it in pieces. Ours is `chat(..., stream=False)`." + (_STREAMED if streamed else ""),
        contestants(dialect, measured("ask", _WORDS, 0.2 if kit.quick else 0.7), streamed=streamed),
        (
            Column("call", "ms a call", 3, 1000),
            Column("cpu", "CPU time of the client, ms", 3, 1000),
            Column("server", "CPU time of the server, %", 1, 100),
            Column("times", "calls in a round", 0),
        ),
        (Target(OURS[dialect], "<=", 1.0, SDK[dialect]),),
        rounds=2 if kit.quick else 9,
        beside=lambda: loopback(kit),
        reason=_by_the_floor,
    )


def _by_the_floor(result: Result, target: Target) -> str:
    assert target.against is not None
    floor = result.ratio(RAW, target.against).median
    return f"{RAW}, without any check, takes {floor:.2f}x of {target.against}"
