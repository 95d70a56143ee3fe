"""Streams of 5,000 chunks, read by a thread and by an event loop."""

from __future__ import annotations

from typing import Final

from bench.cases import Case, Column, Kit, Target
from bench.figures import Result
from bench.http.contestants import CALLBACK, OURS, RAW, SDK, Dialect, contestants, loopback, measured

__all__ = ["stream_cases"]

_GATHERED: Final = 64
_SPEED: Final = Column("speed", "chunks/s", 0)
_EACH: Final = Column("each", "µs a chunk", 2, 1e6)
_FIRST: Final = Column("first", "first text, ms", 2, 1000)
_CLIENT: Final = Column("client", "CPU time of the client, %", 0, 100)
_SERVER: Final = Column("server", "CPU time of the server, %", 1, 100)

_FAIR: Final = (
    "All ask the same loopback server, in a process of its own, whose answers are ready as bytes and go out in large "
    "writes; the table has the CPU time that it needs. All have one connection, which is open already, ask for the "
    "same model with the same prompt, put the texts of the chunks into a list, and have to get every one of them. "
    "The chunks have the fields of the real services."
)
_LEFT_OUT: Final = (
    "lollms-client has its binding `litellm` here, which speaks the protocol over requests and checks nothing; its "
    "binding `openai` takes the openai package, which it does not come with. In 0.17.0 that is the only one."
)
_NO_ASYNC: Final = ("lollms-client",)


def stream_cases(kit: Kit) -> list[Case]:
    """Of chunks in a second."""
    return [
        _case(kit, dialect, gathered=gathered, asynchronous=asynchronous)
        for dialect in OURS
        for gathered in (False, True)
        for asynchronous in (False, True)
    ]


def _case(kit: Kit, dialect: Dialect, *, gathered: bool, asynchronous: bool) -> Case:
    service = {"openai": "OpenAI", "ollama": "Ollama"}[dialect]
    words = 1000 if kit.quick else 5000
    task = measured("astream" if asynchronous else "stream", words, 0.2 if kit.quick else 0.5)
    without = _NO_ASYNC if asynchronous else ()
    callback = not (asynchronous or gathered)
    return Case(
        f"http-{dialect}-{'astream' if asynchronous else 'stream'}{'-gathered' if gathered else ''}",
        f"{service} stream{', on asyncio' if asynchronous else ''}{', gathered' if gathered else ''}",
        _about(dialect, words, gathered=gathered, asynchronous=asynchronous),
        contestants(dialect, task, callback=callback, without=without),
        (_SPEED, _EACH, _FIRST, _CLIENT, _SERVER),
        _targets(dialect, callback=callback),
        rounds=2 if kit.quick else 7,
        beside=lambda: loopback(kit, gathered=_GATHERED if gathered else 1),
        reason=_by_the_floor,
    )


def _about(dialect: Dialect, words: int, *, gathered: bool, asynchronous: bool) -> str:
    how = (
        f"as a proxy sends them that gathers what it gets: {_GATHERED} of them in each chunk of HTTP"
        if gathered
        else "each in a chunk of HTTP of its own, as servers send them"
    )
    who = ""
    if dialect == "openai":
        who = " lollms-client has no async form." if asynchronous else f" {_LEFT_OUT}"
    return f"An answer of {words:,} chunks, {how}, again and again in each round. {_FAIR}{who}"


def _targets(dialect: Dialect, *, callback: bool) -> tuple[Target, ...]:
    least = {"openai": 15.0, "ollama": 1.0}[dialect]
    mine = [OURS[dialect], *([CALLBACK[dialect]] if callback else [])]
    return tuple(
        target for who in mine for target in (Target(who, ">=", least, SDK[dialect]), Target(who, ">=", 0.6, RAW))
    )


def _by_the_floor(result: Result, target: Target) -> str:
    """How much of a miss is httpx's own."""
    assert target.against is not None
    if target.against == RAW:
        mine, floor = result.spread(target.who, "each"), result.spread(RAW, "each")
        return "" if mine is None or floor is None else f"{mine.median - floor.median:.2f} µs a chunk more than that"
    floor_of_it = result.ratio(RAW, target.against).median
    ours = result.ratio(target.who, RAW).median
    return f"{RAW} without any check reaches {floor_of_it:.2f}x of {target.against}; ours is {ours:.2f}x of that"
