"""From the text of an answer to its parts: thinking, text, calls."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from lollms_core import Event, Finish, ReasoningDelta, TextDelta, ToolCall
from lollms_core.thinking import ThinkSplitter
from lollms_llamacpp.native import Model
from lollms_llamacpp.thinking import Thinking
from lollms_llamacpp.tool_calls import CallScanner

__all__ = ["AnswerReader", "Showing"]


class AnswerReader:
    """Turns the events of plain text into those that the caller gets.

    Args:
        thinking: what the template knows of it.
        inside: whether the answer begins within the thinking.
        calls: finds the calls; None if there are no tools.
    """

    def __init__(self, thinking: Thinking, *, inside: bool = False, calls: CallScanner | None = None) -> None:
        self._thinking = thinking
        # Calls that a model thinks about are none, so thinking is cut out first.
        self._splitter = ThinkSplitter(inside=inside)
        self._calls = calls
        self._reasoning: list[str] = []
        self._called = False

    def feed(self, event: Event) -> Iterable[Event]:
        """What `event` makes certain."""
        if isinstance(event, TextDelta):
            return self._taken(self._splitter.feed(event.text))
        if isinstance(event, Finish):
            return self._end(event)
        return (event,)

    def _end(self, finish: Finish) -> Iterator[Event]:
        yield from self._taken(self._splitter.flush())
        if self._calls is not None:
            yield from self._noted(self._calls.flush())
        if self._called and finish.reason == "stop":
            finish = replace(finish, reason="tool_calls")
        data = self._thinking.data("".join(self._reasoning))
        yield finish if data is None else replace(finish, provider=data)

    def _taken(self, events: Iterable[Event]) -> Iterator[Event]:
        for event in events:
            if isinstance(event, ReasoningDelta):
                self._reasoning.append(event.text)
                yield event
            elif isinstance(event, TextDelta) and self._calls is not None:
                yield from self._noted(self._calls.feed(event.text))
            else:
                yield event

    def _noted(self, events: Iterable[Event]) -> Iterator[Event]:
        for event in events:
            self._called = self._called or isinstance(event, ToolCall)
            yield event


class Showing:
    """Stands for a :class:`Model` some of whose control tokens have text: those that mark calls.

    Control tokens have none otherwise, so that no answer ends with ``<|im_end|>``.
    """

    def __init__(self, model: Model, shown: frozenset[int]) -> None:
        self._model = model
        self._shown = shown

    def piece(self, token: int, *, special: bool) -> bytes:
        """See :meth:`Model.piece`."""
        return self._model.piece(token, special=special or token in self._shown)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)
