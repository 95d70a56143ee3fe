"""From an answer's text to the calls in it.

The text comes in pieces of any size, and where they are cut makes no difference: what may begin a call is held
back until it is clear. Nothing that the model wrote is lost: what begins like a call and is none is given out as
text; of a call whose arguments are broken, these go to the caller as they stand.
"""

from __future__ import annotations

import json
import re
import secrets
import string
from collections.abc import Collection
from typing import Any, Final

from lollms_core import Event, TextDelta, ToolCall
from lollms_llamacpp.tool_format import ToolFormat

__all__ = ["CallScanner"]

_DECODER: Final = json.JSONDecoder(strict=False)
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
_MAX_NAME: Final = 128  # characters from an opening to the end of the name, where the name is not in JSON
_LETTERS: Final = string.ascii_letters + string.digits
# What models write though their template says otherwise.
_NAME_KEYS: Final = ("name",)
_ARGUMENT_KEYS: Final = ("arguments", "parameters")
_BETWEEN_BARE: Final = " \t\r\n;,"


class CallScanner:
    """Finds calls in the text of an answer.

    Args:
        form: how the model writes them.
        names: of the tools. A call without any marks, just a JSON object, must have one of them.
    """

    def __init__(self, form: ToolFormat, names: Collection[str]) -> None:
        self._form = form
        self._names = names
        self._held = ""
        self._state = self._text if form.opening else self._first
        self._value = _JsonEnd()
        self._called = False  # whether a call has just ended
        self._call_begin = ""  # what stands before the JSON of the call that is read
        self._name: str | None = None

    def feed(self, text: str) -> list[Event]:
        """What `text` makes certain."""
        self._held += text
        return self._run(final=False)

    def flush(self) -> list[Event]:
        """The rest; no more text comes."""
        events = self._run(final=True)
        rest, self._held = self._call_begin + self._held, ""
        self._call_begin = ""
        if self._called and not rest.strip():
            rest = ""
        return [*events, TextDelta(rest)] if rest else events

    def _run(self, *, final: bool) -> list[Event]:
        events: list[Event] = []
        # A state gives what is certain and whether something may follow from what is held.
        while True:
            found, again = self._state(final)
            events += found
            if not again:
                return _joined(events)

    # The states -------------------------------------------------------------------------------------------

    def _first(self, final: bool) -> tuple[list[Event], bool]:
        """A call that is bare JSON can only stand at the beginning, or after another."""
        begun = self._held.lstrip(_BETWEEN_BARE if self._called else None)
        if not begun:
            return [], False
        if begun[0] in "{[":
            blanks = len(self._held) - len(begun)
            self._call_begin, self._held = self._held[:blanks], begun
            self._begin_value()
            return [], True
        self._state = self._rest
        return [], True

    def _rest(self, final: bool) -> tuple[list[Event], bool]:
        """Nothing but text."""
        return self._give(len(self._held)), False

    def _text(self, final: bool) -> tuple[list[Event], bool]:
        """Text, until a call is opened."""
        opening = self._form.opening
        at = self._held.find(opening)
        if at >= 0:
            events = self._give(len(self._held[:at].rstrip()))
            begin = self._held.index(opening) + len(opening)
            self._call_begin, self._held = self._held[:begin], self._held[begin:]
            if self._form.keys is None:
                self._state = self._named
            else:
                self._begin_value()
            return events, True
        if final:
            return self._give(len(self._held)), False
        keep = next((n for n in range(len(opening) - 1, 0, -1) if self._held.endswith(opening[:n])), 0)
        # Blanks before a call are no part of the text, so they wait too.
        return self._give(len(self._held[: len(self._held) - keep].rstrip())), False

    def _named(self, final: bool) -> tuple[list[Event], bool]:
        """The name, where it stands before the JSON."""
        between = self._form.between.strip()
        at = self._held.find(between)
        if at < 0:
            if final or len(self._held) > _MAX_NAME:
                return self._no_call()
            return [], False
        name = self._held[:at].strip()
        if not _NAME.fullmatch(name):
            return self._no_call()
        end = at + len(between)
        self._name = name
        self._call_begin, self._held = self._call_begin + self._held[:end], self._held[end:]
        self._begin_value()
        return [], True

    def _json(self, final: bool) -> tuple[list[Event], bool]:
        """The JSON of a call, until it is complete."""
        if self._value.end is None and not self._value.fits(self._held):
            return self._no_call()
        closing = self._form.closing
        self._value.scan(self._held, closing)
        if self._value.end is not None:
            raw, rest = self._held[: self._value.end], self._held[self._value.end :]
        elif self._value.closed is not None or (final and self._held.strip()):
            # Brackets that don't match up, or the answer ends in the middle.
            cut = len(self._held) if self._value.closed is None else self._value.closed
            raw, rest = self._held[:cut], self._held[cut:]
        elif final:
            return self._no_call()
        else:
            return [], False
        calls = self._calls(raw.strip())
        if not calls:
            return self._no_call()
        self._held, self._call_begin, self._called = rest, "", True
        self._state = self._end
        return list(calls), True

    def _end(self, final: bool) -> tuple[list[Event], bool]:
        """What follows a call."""
        closing = self._form.closing
        begun = self._held.lstrip()
        if closing and not final and closing.startswith(begun) and begun != closing:
            return [], False
        if closing and begun.startswith(closing):
            self._held = begun[len(closing) :]
        self._state = self._between
        return [], True

    def _between(self, final: bool) -> tuple[list[Event], bool]:
        """Blanks after a call, which are nobody's text."""
        begun = self._held.lstrip()
        if not begun:
            return [], False
        self._held = begun
        self._state = self._text if self._form.opening else self._first
        return [], True

    # ----------------------------------------------------------------------------------------------------

    def _begin_value(self) -> None:
        self._value = _JsonEnd()
        self._state = self._json

    def _no_call(self) -> tuple[list[Event], bool]:
        """What has begun like a call is text."""
        given, self._call_begin, self._name = self._call_begin, "", None
        self._called = False
        self._state = self._text if self._form.opening else self._rest
        return [TextDelta(given)] if given else [], True

    def _give(self, count: int) -> list[Event]:
        given, self._held = self._held[:count], self._held[count:]
        if not given:
            return []
        self._called = False
        return [TextDelta(given)]

    def _calls(self, raw: str) -> list[ToolCall]:
        """The calls in the JSON `raw`; none if it has no name of a tool."""
        if self._name is not None:
            name, self._name = self._name, None
            return [ToolCall(_new_id(), name, raw)]
        spans = _items(raw)
        calls = [call for begin, end in spans if (call := self._call(raw[begin:end])) is not None]
        return calls if len(calls) == len(spans) else []

    def _call(self, raw: str) -> ToolCall | None:
        assert self._form.keys is not None
        name_key, arguments_key = self._form.keys
        members = _members(raw)
        if members is None:
            return self._salvaged(raw)
        wrapped = next((one for key, one in members.items() if key == "function" and one.startswith("{")), None)
        if wrapped is not None:
            members |= _members(wrapped) or {}
        name = next((members[key] for key in (name_key, *_NAME_KEYS) if key in members), None)
        name = None if name is None else _decoded(name)
        if not isinstance(name, str) or not self._is_tool(name):
            return None
        arguments = next((members[key] for key in (arguments_key, *_ARGUMENT_KEYS) if key in members), "{}")
        return ToolCall(_new_id(), name, _as_json(arguments))

    def _salvaged(self, raw: str) -> ToolCall | None:
        """A call in JSON that is broken, if the name can be read: the arguments are what follows their key."""
        assert self._form.keys is not None
        name = re.search(rf'"(?:{re.escape(self._form.keys[0])}|name)"\s*:\s*"([^"\\]*)"', raw)
        keys = "|".join(map(re.escape, (self._form.keys[1], *_ARGUMENT_KEYS)))
        arguments = re.search(rf'"(?:{keys})"\s*:\s*', raw)
        if name is None or arguments is None or not self._is_tool(name[1]):
            return None
        text = raw[arguments.end() :]
        # The last bracket is that of the call, if all that were opened are closed.
        return ToolCall(_new_id(), name[1], text[:-1].rstrip() if _JsonEnd.of(raw) == len(raw) else text)

    def _is_tool(self, name: str) -> bool:
        return name in self._names or (bool(self._form.opening) and _NAME.fullmatch(name) is not None)


class _JsonEnd:
    """Where a JSON object or array ends, found without looking at a character twice."""

    def __init__(self) -> None:
        self.end: int | None = None
        self.closed: int | None = None  # where a closing mark stands in the midst of it
        self._at = 0
        self._depth = 0
        self._in_string = self._escaped = False

    @classmethod
    def of(cls, text: str) -> int | None:
        found = cls()
        found.scan(text, "")
        return found.end

    def fits(self, text: str) -> bool:
        """Whether `text` can be the beginning of one."""
        return text.lstrip()[:1] in ("", "{", "[")

    def scan(self, text: str, closing: str) -> None:
        """Look at what is new in `text`, which is all that there is until now."""
        if self.end is not None:
            return
        for at in range(self._at, len(text)):
            self._at = at
            character = text[at]
            if self._escaped:
                self._escaped = False
            elif self._in_string:
                self._escaped = character == "\\"
                self._in_string = character != '"'
            elif character == '"':
                self._in_string = True
            elif character in "{[":
                self._depth += 1
            elif character in "}]":
                self._depth -= 1
                if self._depth <= 0:
                    self.end = at + 1
                    return
            elif closing and self._depth and character == closing[0]:
                if text.startswith(closing, at):
                    self.closed = at
                    return
                if closing.startswith(text[at:]):
                    return  # more of it may come
        self._at = len(text)


def _items(raw: str) -> list[tuple[int, int]]:
    """Where the elements of the array `raw` stand; of what is none, all of it."""
    if not raw.startswith("["):
        return [(0, len(raw))]
    spans: list[tuple[int, int]] = []
    at = 1
    while True:
        begin = raw.find("{", at)
        if begin < 0:
            return spans
        length = _JsonEnd.of(raw[begin:])
        at = len(raw) if length is None else begin + length
        spans.append((begin, at))


def _members(raw: str) -> dict[str, str] | None:
    """The members of the JSON object `raw`, each value as it is written; None if it is no JSON object."""
    members: dict[str, str] = {}
    blank = re.compile(r"\s*")
    try:
        if not isinstance(_DECODER.decode(raw), dict):
            return None
        at = blank.match(raw, raw.index("{") + 1).end()  # type: ignore[union-attr]
        while raw[at] != "}":
            key, at = _DECODER.raw_decode(raw, at)
            at = blank.match(raw, raw.index(":", at) + 1).end()  # type: ignore[union-attr]
            _, end = _DECODER.raw_decode(raw, at)
            members[key] = raw[at:end]
            at = blank.match(raw, end).end()  # type: ignore[union-attr]
            if raw[at] == ",":
                at = blank.match(raw, at + 1).end()  # type: ignore[union-attr]
    except (ValueError, IndexError, RecursionError):
        return None
    return members


def _decoded(raw: str) -> Any:
    return _DECODER.decode(raw)


def _as_json(raw: str) -> str:
    """A call's arguments as JSON text; some models write them as a string that holds it."""
    value = _decoded(raw)
    if isinstance(value, str):
        return value or "{}"
    if value is None:
        return "{}"
    try:
        json.loads(raw)
    except ValueError:  # line ends within strings, which JSON doesn't allow
        return json.dumps(value, ensure_ascii=False)
    return raw


def _joined(events: list[Event]) -> list[Event]:
    """`events` with texts that follow each other in one."""
    joined: list[Event] = []
    for event in events:
        last = joined[-1] if joined else None
        if isinstance(event, TextDelta) and isinstance(last, TextDelta):
            joined[-1] = TextDelta(last.text + event.text)
        else:
            joined.append(event)
    return joined


def _new_id() -> str:
    # Nine letters and digits, the only form that Mistral's templates take.
    return "".join(secrets.choice(_LETTERS) for _ in range(9))
