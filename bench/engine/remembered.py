"""What need not be read again: the second turn of a conversation, a system prompt that several requests share."""

from __future__ import annotations

from bench.cases import Case, Column, Kit, Target
from bench.engine.contestants import llama, llama_server, ours

__all__ = ["remembered_cases"]

_FIRST = Column("first", "time to first token, ms", 0, 1000)
_PROMPT = Column("prompt_tokens", "tokens of prompts", 0)
_CACHED = Column("cached", "of these remembered", 0)
_READ = Column("read", "read", 0)


def remembered_cases(kit: Kit) -> list[Case]:
    """Of prompts that begin like earlier ones."""
    return [_second_turn(kit), _shared(kit)]


def _second_turn(kit: Kit) -> Case:
    warm, cold = {"do": "turn", "cached": True}, {"do": "turn", "cached": False}
    mine, again = "lollms-llamacpp", "lollms-llamacpp, all read again"
    return Case(
        "engine-second-turn",
        "The second turn of a conversation",
        "A first turn of some 1,000 tokens and its answer lie behind; the time to the first token of the second "
        "turn's answer. Cold, such a second turn is read from its beginning.",
        (
            ours(kit, mine, warm),
            ours(kit, again, cold),
            llama_server(kit, "llama-server", warm),
            llama_server(kit, "llama-server, all read again", cold),
            llama(kit, "Llama", warm),
            llama(kit, "Llama, all read again", cold),
        ),
        (_FIRST, _PROMPT, _CACHED, _READ),
        (Target(mine, "<=", 0.1, again),),
        rounds=2 if kit.quick else 5,
    )


def _shared(kit: Kit) -> Case:
    task = {"do": "shared", "of": 4, "requests": 4, "cached": True}
    four, alone = "lollms-llamacpp, four", "lollms-llamacpp, one alone"
    return Case(
        "engine-shared-prompt",
        "Four requests with one system prompt",
        "A system prompt of some 1,000 tokens that nobody has seen before, and four short questions with it, asked at "
        "once; the time until all four have begun to answer, against a single such request. Read once for all, four "
        "cost little more than one.",
        (
            ours(kit, four, {**task, "number": 0}),
            ours(kit, alone, {**task, "number": 1, "requests": 1}),
            ours(kit, "lollms-llamacpp, four, `cache_prompt=False`", {**task, "number": 2, "cached": False}),
            llama_server(kit, "llama-server, four", {**task, "number": 3}),
        ),
        (_FIRST, _PROMPT, _CACHED, _READ),
        (Target(four, "<=", 1.25, alone, "read"),),
        rounds=2 if kit.quick else 4,
    )
