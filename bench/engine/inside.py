"""Where the engine's time goes, and how much memory it takes."""

from __future__ import annotations

import statistics

from bench.cases import Case, Column, Kit, Table, Target
from bench.engine.contestants import SLOTS, llama, llama_server, ours
from bench.figures import Result

__all__ = ["inside_cases"]


def inside_cases(kit: Kit) -> list[Case]:
    """Of time and memory."""
    return [_time(kit), _memory(kit)]


def _time(kit: Kit) -> Case:
    n_predict = 64 if kit.quick else 256
    task = {"do": "answer", "n_predict": n_predict}
    one, eight = "1 stream", f"{SLOTS} streams"
    return Case(
        "engine-outside-decode",
        "Time outside llama_decode",
        f"The share of the time, from the request to the last token of {n_predict} a stream, in which the engine does "
        "not compute: choosing tokens, making text, handing it over, waiting for the interpreter's lock. A few lines "
        "of C around `llama_decode` take the time inside; they need no lock.",
        (
            ours(kit, one, {**task, "requests": 1}, clock=True),
            ours(kit, eight, {**task, "requests": SLOTS}, clock=True),
        ),
        (
            Column("outside", "outside llama_decode, %", 2, 100),
            Column("steps", "steps", 0),
            Column("per_step", "tokens a step", 2),
            Column("speed", "tokens/s"),
        ),
        tuple(Target(name, "<=", 5.0) for name in (one, eight)),
        rounds=3 if kit.quick else 7,
        reason=_largest,
        tables=_profiles,
    )


def _memory(kit: Kit) -> Case:
    task = {"do": "answer", "requests": SLOTS, "n_predict": 16 if kit.quick else 64}
    drawn = {**task, "temperature": 0.8}
    mine, greedy, server, single = "lollms-llamacpp", "lollms-llamacpp, greedy", "llama-server", "Llama"

    def reason(result: Result, _target: Target) -> str:
        before = result.spread(mine, "before")
        assert before is not None
        return (
            f"before it loads the model, our process has taken {before.median:.0f} MiB: the interpreter, the C "
            "functions of llama-cpp-python, the core and the binding"
        )

    return Case(
        "engine-memory",
        "Memory",
        f"The most that was in memory (VmHWM) of the process that has the model, after {SLOTS} requests at once with a "
        f"temperature of {drawn['temperature']}; the same context, {SLOTS} slots. The file is mapped, and counts. Both "
        "run without their second cache of prompts (`cache_ram=0`). Once more with greedy requests: for them, for "
        "log probabilities and for schemas lollms-llamacpp imports numpy, which it does not need for others.",
        (
            ours(kit, mine, drawn, cache_ram=0),
            ours(kit, greedy, task, cache_ram=0),
            llama_server(kit, server, drawn, cache_ram=0),
            llama(kit, single, drawn),
        ),
        (Column("memory", "MiB", 0, 2**-20), Column("before", "before the model is loaded, MiB", 0, 2**-20)),
        (Target(mine, "<=", 1.0, server),),
        rounds=2 if kit.quick else 5,
        fresh=True,
        reason=reason,
    )


# The profile --------------------------------------------------------------------------------------------

_DECODE, _LOCK, _REST = "llama_decode, inside", "the lock's return after llama_decode", "everything in Python"
_GROUPS = {
    "llama_sampler": "llama.cpp's samplers",
    "llama_get_logits": "reading logits",
    "llama_token_to_piece": "llama_token_to_piece",
    "llama_memory": "the KV cache's bookkeeping",
    "llama_tokenize": "llama_tokenize",
}
_OTHER = "other functions of llama.cpp"


def _parts(answer: dict[str, object]) -> dict[str, float]:
    """Milliseconds a step of one round, by what was done."""
    functions = answer["functions"]
    assert isinstance(functions, dict)
    inside, seconds, steps = (float(str(answer[key])) for key in ("inside", "seconds", "steps"))
    parts = {_DECODE: inside, _LOCK: functions["llama_decode"][1] - inside}
    for name, (_, spent) in functions.items():
        if name != "llama_decode":
            group = next((group for begin, group in _GROUPS.items() if name.startswith(begin)), _OTHER)
            parts[group] = parts.get(group, 0.0) + spent
    parts[_REST] = seconds - sum(parts.values())
    return {name: spent / steps * 1000 for name, spent in parts.items()}


def _medians(answers: list[dict[str, object]]) -> dict[str, float]:
    rounds = [_parts(answer) for answer in answers]
    names = dict.fromkeys(name for one in rounds for name in one)
    return {name: statistics.median([one.get(name, 0.0) for one in rounds]) for name in names}


def _profiles(result: Result) -> list[Table]:
    """For each number of streams, where a step's time goes."""
    found = []
    for who, answers in result.rounds.items():
        parts = _medians(answers)
        whole = sum(parts.values())
        rows = [[name, f"{spent:.3f}", f"{spent / whole:.2%}"] for name, spent in parts.items()]
        found.append(Table(f"A step, {who}", ("what", "ms", "share"), rows))
    return found


def _largest(result: Result, target: Target) -> str:
    """What the time outside is, the largest parts first."""
    parts = _medians(result.rounds[target.who])
    whole = sum(parts.values())
    outside = sorted(((spent, name) for name, spent in parts.items() if name != _DECODE), reverse=True)
    return "mostly " + ", ".join(f"{name} {spent / whole:.1%}" for spent, name in outside[:3])
