"""What stands between an application and a binding: the manager, and what may hang on to requests."""

from __future__ import annotations

from typing import Any, Final

from bench.cases import Case, Column, Contestant, Kit, Target
from bench.environments import CHECKOUT
from bench.figures import Result

__all__ = ["cost_cases"]

_GENERATION: Final = Column("generation", "a generation, µs", 1, 1e6)
_EVENT: Final = Column("event", "an event, µs", 3, 1e6)
_MORE: Final = (
    Column("generation_more", "a generation more than without, µs", 1, 1e6),
    Column("event_more", "an event more than without, µs", 3, 1e6),
)

_DIRECT, _AGAIN, _NONE, _ONE = "without a manager", "without a manager, again", "no middleware", "one pass-through"


def cost_cases(kit: Kit) -> list[Case]:
    """Of time that is the core's own."""
    return [_create(kit), _middleware(kit)]


def _create(kit: Kit) -> Case:
    constructor, opened, created = "the constructor", "open_binding", "create_binding"
    return Case(
        "core-create",
        "Making a binding",
        "A binding of lollms-ollama, its class loaded: by calling the class, and by the manager, which looks up the "
        "name, asks the hooks (there are none) and guards against what a constructor may raise. Many are made, and "
        "closed when the time is taken.",
        (_creates(constructor, "constructor"), _creates(opened, opened), _creates(created, created)),
        (Column("seconds", "µs", 1, 1e6),),
        tuple(Target(who, "<=", 30, constructor, beyond=True) for who in (opened, created)),
        rounds=5 if kit.quick else 15,
    )


def _creates(name: str, how: str) -> Contestant:
    setting = {
        "how": how,
        "name": "ollama",
        "distribution": "lollms-ollama",
        "arguments": {"model_name": "a-model", "host_address": "http://127.0.0.1:11434"},
    }
    return Contestant(name, "creating", {"blocks": 25}, setting, CHECKOUT)


def _middleware(kit: Kit) -> Case:
    task = {"generations": 100, "events": 5000}

    def reason(result: Result, target: Target) -> str:
        if target.who != _ONE:
            return ""
        own, without = result.spread(_ONE, "own"), result.spread(_NONE, target.column.removesuffix("_more"))
        assert own is not None
        assert without is not None
        if target.column == "event_more":
            return (
                f"calling the middleware's `on_event` takes {own.median:.2f} µs of it, and the rest of an event "
                f"{without.median:.2f} µs; hooks also have the binding's own code marked at each of its steps, so "
                "that what it calls of itself is not hooked again"
            )
        return f"without it a generation takes {without.median:.1f} µs"

    return Case(
        "core-middleware",
        "Middleware",
        f"Streams of a binding that has its events ready: of one piece of text, and of {task['events']:,}. Made by its "
        "class alone, which no hook can reach, twice, to see what two that are the same differ in; by a manager "
        "without hooks; and by one with a hook that puts a middleware around each request, which gets every event and "
        "passes it on. That process also has a binding without hooks, measured in turn with the other, to see what the "
        "hook adds.",
        (
            _passes(_DIRECT, task, manager=False, hook=False),
            _passes(_AGAIN, task, manager=False, hook=False),
            _passes(_NONE, task, manager=True, hook=False),
            _passes(_ONE, task, manager=True, hook=True),
        ),
        (_GENERATION, _EVENT, *_MORE, Column("own", "of this the middleware's method, µs", 3, 1e6)),
        (
            *(Target(_NONE, "<=", _spread_of(key), _DIRECT, key) for key in ("generation", "event")),
            Target(_ONE, "<=", 20, column="generation_more"),
            Target(_ONE, "<=", 0.3, column="event_more"),
        ),
        rounds=5 if kit.quick else 15,
        reason=reason,
    )


def _spread_of(key: str) -> Any:
    """The most that one of two that are the same took longer than the other in a round."""

    def most(result: Result) -> float:
        spread = result.ratio(_AGAIN, _DIRECT, key)
        return max(spread.most, 1 / spread.least)

    return most


def _passes(name: str, task: dict[str, Any], *, manager: bool, hook: bool) -> Contestant:
    return Contestant(name, "passing", task, {"manager": manager, "hook": hook}, CHECKOUT)
