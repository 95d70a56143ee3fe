"""How fast it generates: one stream, eight at once, with a busy thread beside it, in a process of its own."""

from __future__ import annotations

from bench.cases import Case, Column, Contestant, Kit, Target
from bench.engine.contestants import SLOTS, bare, has_option, llama, llama_server, ours
from bench.figures import Result

__all__ = ["speed_cases"]

_OURS, _LLAMA, _SERVER, _BARE = "lollms-llamacpp", "Llama", "llama-server", "bare loop"
_SPEED = Column("speed", "tokens/s")
_FIRST = Column("first", "first token of the last one, ms", 0, 1000)
_TOKENS = Column("tokens", "tokens generated", 0)
_READ = Column("prompt_tokens", "tokens of prompts", 0)
_CLIENT = Column("client", "CPU time of the clients, %", 1, 100)

_FAIR = (
    "The same file, two threads, a context of 8,192 tokens, greedy, prompts that nobody has anything remembered of; "
    "the model does not end its answer before it is told to. The bare loop computes the same batches with "
    "llama-cpp-python's C-level functions and nothing else: no text, no requests, nobody who reads."
)


def speed_cases(kit: Kit) -> list[Case]:
    """Of tokens in a second."""
    return [_one(kit), _eight(kit, streamed=True), _eight(kit, streamed=False), _busy(kit), _isolated(kit), _exact(kit)]


def _one(kit: Kit) -> Case:
    task = {"do": "answer", "requests": 1, "n_predict": 64 if kit.quick else 256}
    return Case(
        "engine-one-stream",
        "One stream",
        f"One request for {task['n_predict']} tokens, read as it comes, from the request to its last token. {_FAIR}",
        (
            ours(kit, _OURS, task),
            llama(kit, _LLAMA, task),
            llama_server(kit, _SERVER, task),
            bare(kit, _BARE, task),
        ),
        (_SPEED, _FIRST, _TOKENS, _READ, _CLIENT),
        (Target(_OURS, ">=", 1.2, _LLAMA),),
        rounds=3 if kit.quick else 9,
        reason=_by_the_floor,
    )


def _eight(kit: Kit, *, streamed: bool) -> Case:
    task = {"do": "answer", "requests": SLOTS, "n_predict": 32 if kit.quick else 128}
    who = f"{_OURS}, threads"
    if streamed:
        contestants: tuple[Contestant, ...] = (
            ours(kit, who, {**task, "how": "threads"}),
            ours(kit, f"{_OURS}, event loop", {**task, "how": "tasks"}),
            llama(kit, _LLAMA, task),
            llama_server(kit, _SERVER, task),
            bare(kit, _BARE, task),
        )
    else:
        contestants = (
            ours(kit, who, {**task, "how": "whole"}),
            llama(kit, _LLAMA, task),
            llama_server(kit, _SERVER, {**task, "stream": False}),
            bare(kit, _BARE, task),
        )
    # The event loop is held to what the threads are.
    mine = [one.name for one in contestants if one.module == "ours"]
    return Case(
        "engine-eight-streams" if streamed else "engine-eight-answers",
        "Eight streams at once" if streamed else "Eight answers at once, not streamed",
        f"{SLOTS} requests for {task['n_predict']} tokens each, sent together; all tokens over the time until the last "
        f"one. `Llama` serves them in turn, which is all it can; llama-server has {SLOTS} slots and one KV cache for "
        "all. Its clients are one thread in another process, on plain sockets: it takes what comes and looks into it "
        "when all is over; the table has the CPU time that it needs.",
        contestants,
        (_SPEED, _FIRST, _TOKENS, _READ, _CLIENT) if streamed else (_SPEED, _TOKENS, _READ, _CLIENT),
        tuple(
            target for name in mine for target in (Target(name, ">=", 1.0, _SERVER), Target(name, ">=", 1.8, _LLAMA))
        ),
        rounds=3 if kit.quick else 7,
        reason=_by_the_floor,
    )


def _busy(kit: Kit) -> Case:
    task = {"do": "answer", "requests": 1, "n_predict": 64 if kit.quick else 256}
    beside = {**task, "beside": "thread"}
    spare, spare_busy = "a CPU is left, alone", "a CPU is left, beside a busy thread"
    quiet, thread, process = "all CPUs, alone", "all CPUs, beside a busy thread", "all CPUs, beside a busy process"

    def reason(result: Result, _target: Target) -> str:
        floor = result.ratio(process, quiet).median
        return (
            f"the same loop in another process, which wants a CPU and no lock of ours, leaves {floor:.2f}x; "
            "three threads on two CPUs have two thirds of what two have at best"
        )

    return Case(
        "engine-busy-host",
        "Beside a busy thread",
        "One stream, while another thread of the process computes in Python without a pause and wants the "
        "interpreter's lock all the time. Where the engine leaves a CPU to that thread (`n_threads=1`), what is lost "
        "is lost to the lock; where it takes both, they also share a CPU. The last one shares the CPU, but no lock: "
        "the same loop in another process.",
        (
            ours(kit, spare, task, n_threads=1),
            ours(kit, spare_busy, beside, n_threads=1),
            ours(kit, quiet, task),
            ours(kit, thread, beside),
            ours(kit, process, {**task, "beside": "process"}),
        ),
        (_SPEED, _FIRST, _TOKENS),
        (Target(spare_busy, ">=", 0.8, spare), Target(thread, ">=", 0.8, quiet)),
        rounds=3 if kit.quick else 7,
        reason=reason,
    )


def _exact(kit: Kit) -> Case:
    n_predict = 32 if kit.quick else 128
    one, eight = {"do": "answer", "requests": 1}, {"do": "answer", "requests": SLOTS}
    tasks = {"1 stream": one, f"{SLOTS} streams": eight}
    return Case(
        "engine-exact",
        "What exactness costs",
        "With `cache_prompt=False` the same seed gives the same text, alone and in company, to the last bit; for that, "
        "steps are computed in ways that llama.cpp is slower in, most of all where a stream is alone.",
        tuple(
            ours(kit, f"{name}{how}", {**task, "n_predict": n_predict, "exact": bool(how)})
            for name, task in tasks.items()
            for how in ("", ", exact")
        ),
        (_SPEED, _FIRST, _TOKENS),
        rounds=3 if kit.quick else 5,
    )


def _isolated(kit: Kit) -> Case:
    task = {"do": "answer", "requests": SLOTS, "n_predict": 32 if kit.quick else 128}
    there = has_option("isolate")
    within, again, child = "in this process", "in this process, again", "isolate=True"

    def reason(result: Result, _target: Target) -> str:
        itself = result.ratio(again, within)
        return (
            f"the engine in this process, measured twice in each round, has {itself.median:.2f}x of itself "
            f"({itself.least:.2f}x to {itself.most:.2f}x)"
        )

    return Case(
        "engine-isolated",
        "In a process of its own",
        f"{SLOTS} streams at once, with the engine in this process and, with `isolate=True`, in a child of it. The "
        "first is measured twice in each round: what two of the same differ by is the machine.",
        (ours(kit, within, task), ours(kit, again, task), ours(kit, child, task, isolate=True)),
        (_SPEED, _FIRST, _TOKENS),
        (Target(child, ">=", 0.95, within),),
        rounds=3 if kit.quick else 11,
        missing="" if there else "lollms-llamacpp has no option `isolate` yet",
        reason=reason,
    )


def _by_the_floor(result: Result, target: Target) -> str:
    """How much of a miss is llama.cpp's own."""
    assert target.against is not None
    floor = result.ratio(_BARE, target.against).median
    ours = result.ratio(target.who, _BARE).median
    return (
        f"the bare loop, which only computes, reaches {floor:.2f}x of {target.against} on the same llama.cpp; "
        f"ours is {ours:.2f}x of that loop"
    )
