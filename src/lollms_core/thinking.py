"""The thinking of models that write it into their answer: ``<think>...</think>`` at the answer's beginning.

Servers that know the model cut it out themselves; others pass it on as text. It is cut out here, for every
binding alike, so that the answer is the answer. Tags elsewhere in the text are text: a model that explains
what ``<think>`` means does not think.
"""

from __future__ import annotations

from typing import Final

from lollms_core.events import Event, ReasoningDelta, TextDelta

__all__ = ["ThinkSplitter"]

_OPEN: Final = "<think>"
_CLOSE: Final = "</think>"


class ThinkSplitter:
    """Cuts the thinking out of text that comes in pieces of any size.

    Args:
        inside: whether the answer begins within the thinking, as with chat templates that open it themselves.
    """

    def __init__(self, *, inside: bool = False) -> None:
        self._inside = inside
        self._held = ""
        self._thought = False  # whether any thinking has been given out
        self._after = False  # the thinking is over, and blanks before the answer are not yet
        self.settled = False
        """Whether all that follows is the answer, so that it need not come here."""

    def feed(self, text: str) -> list[Event]:
        """What `text` makes certain; a tag's beginning is held back until it is clear that it is none."""
        if self.settled:
            return [TextDelta(text)] if text else []
        self._held += text
        events: list[Event] = []
        if not (self._inside or self._after):
            begun = self._held.lstrip()
            if _OPEN.startswith(begun):  # "" and a part of the tag too
                if begun != _OPEN:
                    return events
                self._held, self._inside = "", True
            elif begun.startswith(_OPEN):
                self._held, self._inside = begun[len(_OPEN) :], True
            else:
                return self._settle(self._held)
        if self._inside:
            events += self._think()
        if self._after:
            answer = self._held.lstrip()
            self._held = ""
            if answer:
                events += self._settle(answer)
        return events

    def flush(self) -> list[Event]:
        """What was held back; no more text comes."""
        held, self._held = self._held, ""
        if self._inside:
            return [ReasoningDelta(held)] if held.strip() else []
        return self._settle(held)

    def _think(self) -> list[Event]:
        if not self._thought:
            # Templates and models put a line end after the tag, which nobody thought.
            self._held = self._held.lstrip()
        thinking, close, rest = self._held.partition(_CLOSE)
        if close:
            self._inside, self._after, self._held = False, True, rest
            thinking = thinking.rstrip()
        else:
            keep = _length_held_back(thinking)
            self._held = thinking[len(thinking) - keep :]
            thinking = thinking[: len(thinking) - keep]
        if not thinking:
            return []
        self._thought = True
        return [ReasoningDelta(thinking)]

    def _settle(self, text: str) -> list[Event]:
        self.settled, self._held = True, ""
        return [TextDelta(text)] if text else []


def _length_held_back(text: str) -> int:
    """How much of the end of `text` may belong to what ends the thinking: blanks, and a part of the tag."""
    for length in range(min(len(_CLOSE) - 1, len(text)), 0, -1):
        if text.endswith(_CLOSE[:length]):
            break
    else:
        length = 0
    before = text[: len(text) - length]
    return length + len(before) - len(before.rstrip())
