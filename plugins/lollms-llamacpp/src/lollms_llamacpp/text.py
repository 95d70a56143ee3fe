"""From tokens' bytes to the answer's text: whole characters only, and nothing of a stop string."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from typing import Final

__all__ = ["AnswerText", "StopScanner"]

_DECODER: Final = codecs.getincrementaldecoder("utf-8")


class StopScanner:
    """Finds the end of the answer in text that comes in pieces of any size.

    The stop string that is complete first ends the answer; of two that are complete at the same character,
    the longer one. So where the pieces are cut makes no difference. Text that could be the beginning of a
    stop string is held back until it is clear that it isn't.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._held = ""
        self.stopped = False

    def feed(self, text: str) -> str:
        """What can be given out now, after `text` has come; nothing more once ``stopped``."""
        if self.stopped or not self._stops:
            return "" if self.stopped else text
        text = self._held + text
        begin = self._find(text)
        if begin is not None:
            self.stopped, self._held = True, ""
            return text[:begin]
        keep = len(text) - self._length_held_back(text)
        self._held = text[keep:]
        return text[:keep]

    def flush(self) -> str:
        """What was held back; no more text comes."""
        held, self._held = self._held, ""
        return held

    def _find(self, text: str) -> int | None:
        """Where the stop string begins that ends the answer, None if none is complete."""
        found = [(at + len(stop), at) for stop in self._stops if (at := text.find(stop)) >= 0]
        return min(found)[1] if found else None

    def _length_held_back(self, text: str) -> int:
        """The length of the longest end of `text` with which a stop string begins."""
        longest = 0
        for stop in self._stops:
            at = text.find(stop[0], max(0, len(text) - len(stop) + 1))
            while at >= 0 and len(text) - at > longest:
                if stop.startswith(text[at:]):
                    longest = len(text) - at
                    break
                at = text.find(stop[0], at + 1)
        return longest


class AnswerText:
    """The text of an answer whose tokens come as bytes.

    A character's bytes may come with several tokens; bytes that are none become U+FFFD.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._decoder = _DECODER("replace")
        self._scanner = StopScanner(stops)
        self.read = 0
        """Characters read so far, whether they have been given out or not; an unfinished one is not counted."""
        self.given_out = 0
        """Characters given out so far."""

    @property
    def stopped(self) -> bool:
        """Whether a stop string has ended the answer."""
        return self._scanner.stopped

    @property
    def unfinished(self) -> bool:
        """Whether the bytes so far end within a character."""
        return bool(self._decoder.getstate()[0])

    def feed(self, piece: bytes) -> str:
        """The text that is certain now."""
        text = self._decoder.decode(piece)
        return self._give_out(self._scanner.feed(text), text) if text else ""

    def flush(self) -> str:
        """The rest, when the model has ended."""
        text = self._decoder.decode(b"", final=True)
        return self._give_out(self._scanner.feed(text) + self._scanner.flush(), text)

    def _give_out(self, certain: str, text: str) -> str:
        self.read += len(text)
        self.given_out += len(certain)
        return certain
