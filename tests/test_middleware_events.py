"""What a middleware makes of an event in the middle of a stream, when most of those before went past it unchanged."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from samples import Events, Hooks

from lollms_core.errors import Refused
from lollms_core.events import Event, Finish, ReasoningDelta, TextDelta
from lollms_core.middleware import Middleware
from lollms_core.request import GenerationRequest

WORDS = [f"{number} " for number in range(8)]
MIDDLE = "4 "


class Words(Events):
    def _events(self, request: GenerationRequest) -> Iterator[Event]:
        for word in WORDS:
            yield TextDelta(word)
        yield Finish("stop")


class InTheMiddle(Middleware):
    """Passes everything on but the middle word, for which it does what it is told."""

    def __init__(self, what: Callable[[Event], Any], seen: list[Event]) -> None:
        self._what = what
        self._seen = seen

    def on_event(self, event: Event) -> Any:
        self._seen.append(event)
        return self._what(event) if event == TextDelta(MIDDLE) else (event,)


class Listens(Middleware):
    """Wants to see every event, and leaves it."""

    def on_event(self, event: Event) -> list[Event]:
        return [event]


class LooksAway(Middleware):
    """Wants to see no event."""


def fail(event: Event) -> Any:
    raise OSError("it broke")


def refuse(event: Event) -> Any:
    raise Refused("not this word")


OTHERS: list[Sequence[type[Middleware]]] = [(), (Listens,), (LooksAway,), (LooksAway, Listens)]


def ask(what: Callable[[Event], Any], others: Sequence[type[Middleware]]) -> tuple[list[Event], int]:
    """What the caller gets, and how many events the middleware saw."""
    seen: list[Event] = []
    binding = Words()
    binding._hooks = Hooks(*others, lambda: InTheMiddle(what, seen))
    stream = binding.stream("x")
    got = list(stream)
    said = "".join(event.text for event in got if isinstance(event, TextDelta))
    assert stream.completion.text == said
    return got, len(seen)


@pytest.mark.parametrize("others", OTHERS)
@pytest.mark.parametrize(
    ("what", "left"),
    [
        (lambda event: [event], [TextDelta(MIDDLE)]),
        (lambda event: (TextDelta("four "),), [TextDelta("four ")]),
        (lambda event: (), []),
        (lambda event: [TextDelta("fo"), TextDelta("ur ")], [TextDelta("fo"), TextDelta("ur ")]),
        (lambda event: iter([TextDelta("four ")]), [TextDelta("four ")]),
        (lambda event: (ReasoningDelta("four?"),), [ReasoningDelta("four?")]),
    ],
    ids=["a list", "another text", "nothing", "two", "an iterator", "thoughts"],
)
def test_what_it_gives(what: Callable[[Event], Any], left: list[Event], others: Sequence[type[Middleware]]) -> None:
    words: list[Event] = [TextDelta(word) for word in WORDS]
    got, seen = ask(what, others)
    assert got == [*words[:4], *left, *words[5:], Finish("stop")]
    assert seen == 9


@pytest.mark.parametrize("others", OTHERS)
@pytest.mark.parametrize(
    "what",
    [fail, lambda event: None, lambda event: event, lambda event: "four ", lambda event: ["four "]],
    ids=["raises", "None", "an event", "a text", "a list of texts"],
)
def test_one_that_fails_is_left_out_from_there_on(
    what: Callable[[Event], Any], others: Sequence[type[Middleware]], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        got, seen = ask(what, others)
    assert got == [*map(TextDelta, WORDS), Finish("stop")]
    assert seen == 5
    assert [record.message.split(" (")[0] for record in caplog.records] == ["on_event of the middleware InTheMiddle"]


@pytest.mark.parametrize("others", OTHERS)
def test_a_refusal_ends_the_stream_with_what_came_before(others: Sequence[type[Middleware]]) -> None:
    with pytest.raises(Refused, match="not this word") as refused:
        ask(refuse, others)
    assert refused.value.partial == "0 1 2 3 "


@pytest.mark.parametrize("others", OTHERS)
def test_ctrl_c_in_it_goes_through_to_the_user(others: Sequence[type[Middleware]]) -> None:
    def interrupted(event: Event) -> Any:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ask(interrupted, others)
