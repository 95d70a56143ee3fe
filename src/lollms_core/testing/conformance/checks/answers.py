"""Completions, streams and their async twins."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, get_args

from lollms_core.capabilities import Capability
from lollms_core.events import Completion, Event, Finish, FinishReason
from lollms_core.middleware import Middleware
from lollms_core.testing.conformance import expecting
from lollms_core.testing.conformance.check import check
from lollms_core.testing.conformance.subject import Subject, hooked, texts

_REASONS = set(get_args(FinishReason)) - {"cancelled", "error"}


@check(Capability.CHAT)
def completion(subject: Subject) -> None:
    """What chat and its kin give is a whole Completion, whose message goes on the conversation."""
    binding = subject.new()
    for name, way in subject.ways(binding).items():
        found = way(binding, subject.settings.prompt, **subject.fields(binding))
        assert isinstance(found, Completion), f"{name} gives a {type(found).__name__}"
        expecting.text(found.text, name)
        assert found.finish_reason in _REASONS, f"{name}: finish_reason {found.finish_reason!r}"
        for figure in ("prompt_tokens", "completion_tokens", "cached_tokens"):
            count = getattr(found.usage, figure)
            assert count is None or (type(count) is int and count >= 0), f"{name}: {figure} is {count!r}"
        made = found.usage.completion_tokens
        assert made is None or made > 0, f"{name}: a text of no tokens"
        assert found.timings.total, f"{name}: no time"
        turns = [
            {"role": "user", "content": subject.settings.prompt},
            found.message,
            {"role": "user", "content": "On."},
        ]
        expecting.text(way(binding, turns, **subject.fields(binding)).text, f"{name} with the conversation going on")


@check(Capability.CHAT, Capability.STREAM)
def stream_events(subject: Subject) -> None:
    """A stream gives events whose text is the completion's, with one Finish at the end, and is read once."""
    binding = subject.new()
    stream = binding.stream(subject.settings.prompt, **subject.fields(binding))
    events = list(stream)
    wrong: list[Any] = [event for event in map(_anything, events) if not isinstance(event, Event)]
    assert not wrong, f"the stream gives {wrong[0]!r}, which is no event"
    assert texts(events) == stream.completion.text, "the events' text is not the completion's"
    ends = [place for place, event in enumerate(events) if isinstance(event, Finish)]
    assert ends == [len(events) - 1], f"Finish comes at the places {ends} of {len(events)} events"
    expecting.raises(RuntimeError, lambda: list(stream), "reading a stream twice")


@check(Capability.CHAT, Capability.STREAM)
def streamed_or_not(subject: Subject) -> None:
    """Streamed or not, sync or async, the same seeded request gives the same text."""
    binding = subject.new()
    subject.use(binding, "seed")
    answers = {
        name: way(binding, subject.settings.prompt, **subject.fields(binding)).text
        for name, way in subject.ways(binding).items()
    }
    assert len(set(answers.values())) == 1, f"the ways of asking give different texts: {answers}"


@check(Capability.CHAT, Capability.STREAM)
def break_ends_stream(subject: Subject) -> None:
    """A reader that leaves keeps the text so far, as a cancelled completion, and the next request works."""
    binding = subject.new()
    stream = binding.stream(subject.settings.prompt, **subject.fields(binding))
    seen: list[Event] = []
    for event in stream:
        seen.append(event)
        if texts(seen):
            break
    assert texts(seen) == stream.completion.text, "the completion does not hold the text so far"
    assert stream.completion.finish_reason == "cancelled", f"finish_reason {stream.completion.finish_reason!r}"
    expecting.text(subject.chat(binding).text, "the next request")


def _anything(event: Any) -> Any:
    """`event`, of which the types promise more than is checked here."""
    return event


class _Recorder(Middleware):
    """Notes what it sees of a request."""

    def __init__(self, seen: list[tuple[str, Any]]) -> None:
        self._seen = seen

    def on_request(self, request: Any) -> Any:
        self._seen.append(("request", request))
        return request

    def on_event(self, event: Event) -> tuple[Event, ...]:
        self._seen.append(("event", event))
        return (event,)

    def on_finish(self, completion: Any, error: Any) -> None:
        self._seen.append(("finish", completion))


@check(Capability.TEXT, Capability.CHAT)
def hooks_see_each_request_once(subject: Subject) -> None:
    """A middleware sees each request once, whatever methods call each other inside, with all its events."""
    binding = subject.new()
    seen: list[tuple[str, Any]] = []
    hooked(binding, lambda: _Recorder(seen))
    prompt, fields = subject.settings.prompt, subject.fields(binding)
    calls: dict[str, Callable[..., Any]] = {name: partial(way, binding) for name, way in subject.ways(binding).items()}
    calls["generate_text"] = binding.generate_text
    for name, call in calls.items():
        seen.clear()
        answer = str(call(prompt, **fields))
        kinds = [kind for kind, _ in seen]
        for kind in ("request", "finish"):
            assert kinds.count(kind) == 1, f"{name}: the middleware got on_{kind} {kinds.count(kind)} times"
        shown = texts([event for kind, event in seen if kind == "event"])
        assert shown == answer, f"{name}: the middleware saw {shown!r} of the answer {answer!r}"
