"""From what the server sends to events: a whole answer, or a stream cut into pieces anywhere.

Both kinds have the same records. Servers differ in what they leave out: ``choices`` may be empty, ``content``
null, the role alone, the usage in a last chunk without choices, the thinking called ``reasoning_content`` or
``reasoning`` (https://platform.openai.com/docs/api-reference/chat/streaming and the pages named in
:mod:`~lollms_openai.presets`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from json.decoder import scanstring  # type: ignore[attr-defined]  # typeshed leaves it out
from typing import Any, Final

from lollms_core import (
    BackendError,
    Event,
    Finish,
    ProtocolError,
    ReasoningDelta,
    StreamInterrupted,
    TextDelta,
    ToolCall,
    Usage,
)
from lollms_core.events import FinishReason
from lollms_core.framing import ServerSentEvent, SseDecoder
from lollms_core.responses import error_of_message
from lollms_openai.server import Server

__all__ = ["Records", "StreamReader", "usage_of"]

_REASONS: Final[Mapping[str, FinishReason]] = {
    "stop": "stop",
    "eos": "stop",
    "length": "length",
    "max_tokens": "length",
    "model_length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}
# With these the server says that it gave up.
_FAILED: Final = frozenset({"error", "abort", "insufficient_system_resource"})


class Records:
    """The records of one answer, whole or in pieces, as events.

    Args:
        server: whose they are.
        who: server and model, for messages.
        model: the model that was asked for.
    """

    def __init__(self, server: Server, who: str, model: str | None) -> None:
        self._server = server
        self.who = who
        self._reason: FinishReason | None = None
        self._id: str | None = None
        self._answered_by: str | None = model
        self._tools: dict[Any, dict[str, str]] = {}
        self._raw: Any = None

    @property
    def complete(self) -> bool:
        """Whether the server has said why the answer ends."""
        return self._reason is not None

    def events(self, record: Any) -> Iterator[Event]:
        """The events of one record.

        Raises:
            BackendError: it reports an error.
            ProtocolError: it is no record of the protocol.
        """
        if not isinstance(record, Mapping):
            raise ProtocolError(f"{self.who} sent a record that is no JSON object")
        if record.get("error"):
            raise error_of_message(record["error"], who=self.who, secrets=self._server.secrets)
        if record.get("object") == "error":
            raise error_of_message(record, who=self.who, secrets=self._server.secrets)
        self._raw = record
        self._id = _str(record.get("id")) or self._id
        self._answered_by = _str(record.get("model")) or self._answered_by
        choices = record.get("choices")
        # Only the first choice: n > 1 can only come from backend_options, and there is one text to give.
        if isinstance(choices, list) and choices and isinstance(choices[0], Mapping):
            yield from self._choice(choices[0])
        usage = usage_of(record)
        if usage is not None:
            yield usage

    def end(self, reason: FinishReason | None = None) -> Iterator[Event]:
        """The tool calls, and the Finish."""
        for number, call in enumerate(self._tools.values()):
            if call["name"]:
                yield ToolCall(call["id"] or f"call_{number}", call["name"], call["arguments"] or "{}")
        self._tools.clear()
        yield Finish(self._reason or reason or "stop", model=self._answered_by, id=self._id, raw=self._raw)

    def _choice(self, choice: Mapping[str, Any]) -> Iterator[Event]:
        if choice.get("index"):
            return
        message = choice.get("delta") or choice.get("message")
        if isinstance(message, Mapping):
            thought = message.get("reasoning_content") or message.get("reasoning")
            if isinstance(thought, str) and thought:
                yield ReasoningDelta(thought)
            yield from _content(message.get("content"))
            refusal = message.get("refusal")
            if isinstance(refusal, str) and refusal:
                yield TextDelta(refusal)
            self._tool_deltas(message.get("tool_calls"))
        else:
            yield from _content(choice.get("text"))
        reason = choice.get("finish_reason")
        if isinstance(reason, str) and reason:
            if reason in _FAILED:
                raise BackendError(f"{self.who} gave up the answer ({reason})")
            self._reason = _REASONS.get(reason, "stop")

    def _tool_deltas(self, deltas: Any) -> None:
        for delta in deltas if isinstance(deltas, list) else ():
            if not isinstance(delta, Mapping):
                continue
            call = self._tools.setdefault(delta.get("index", len(self._tools)), {"id": "", "name": "", "arguments": ""})
            function = delta.get("function")
            function = function if isinstance(function, Mapping) else {}
            call["id"] = _str(delta.get("id")) or call["id"]
            call["name"] = _str(function.get("name")) or call["name"]
            call["arguments"] += _str(function.get("arguments")) or ""


def _content(content: Any) -> Iterator[Event]:
    """The events of a ``content``, which is text, null or, at Mistral's, a list of parts."""
    if isinstance(content, str):
        if content:
            yield TextDelta(content)
    elif isinstance(content, list):
        for part in content:
            if not isinstance(part, Mapping):
                continue
            if part.get("type") == "thinking":
                for event in _content(part.get("thinking")):
                    yield ReasoningDelta(event.text) if isinstance(event, TextDelta) else event
            elif isinstance(part.get("text"), str) and part["text"]:
                yield TextDelta(part["text"])


def _str(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def usage_of(record: Mapping[str, Any]) -> Usage | None:
    """The figures that a record carries, None if it has none."""
    usage = record.get("usage")
    if not isinstance(usage, Mapping):
        groq = record.get("x_groq")  # Groq's streams: https://console.groq.com/docs/api-reference
        usage = groq.get("usage") if isinstance(groq, Mapping) else None
    if not isinstance(usage, Mapping):
        return None
    details = usage.get("prompt_tokens_details")
    cached = _int(details.get("cached_tokens")) if isinstance(details, Mapping) else None
    if cached is None:
        cached = _int(usage.get("prompt_cache_hit_tokens"))  # DeepSeek
    figures = Usage(_int(usage.get("prompt_tokens")), _int(usage.get("completion_tokens")), cached)
    return None if figures == Usage() else figures


def _int(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


class StreamReader:
    """A stream of server-sent events, fed as its bytes come."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._decoder = SseDecoder()
        self._template = _Template()
        self._seen = False
        self._done = False

    def done(self) -> bool:
        """Whether the server has said that nothing more follows; what follows all the same is no part of it."""
        return self._done

    @property
    def complete(self) -> bool:
        """Whether the server has said why the answer ends."""
        return self._done or self._records.complete

    def feed(self, data: bytes) -> Iterator[Event]:
        """The events that `data` completes.

        Raises:
            LollmsError: the server reports an error, or sends what the protocol does not allow.
        """
        match = self._template.match
        for sent in self._decoder.feed(data):
            if self.done():
                return
            text = match(sent.data) if sent.event == "message" else None
            if text is None:
                yield from self._sent(sent)
            elif text:
                yield TextDelta(text)

    def close(self, content_type: str = "") -> Iterator[Event]:
        """The events that the end of the stream leaves.

        Raises:
            StreamInterrupted: the answer is not complete.
            ProtocolError: there was no event in all of it.
        """
        if self.done():
            return
        rest = self._decoder.close()
        if rest is not None:
            try:
                if rest.data != "[DONE]":
                    json.loads(rest.data)
            except ValueError:
                pass  # it was cut off
            else:
                yield from self._sent(rest)
        if self.done():
            return
        who = self._records.who
        if not self._records.complete:
            if not self._seen and content_type and content_type != "text/event-stream":
                raise ProtocolError(f"{who} answered with {content_type} instead of a stream of events")
            raise StreamInterrupted(f"{who} ended its stream in the middle of the answer")
        self._done = True
        yield from self._records.end()

    def _sent(self, sent: ServerSentEvent) -> Iterator[Event]:
        data = sent.data
        self._seen = True
        if data.strip() == "[DONE]":
            if not self._records.complete:
                # llama-cpp-python's server sends the marker alone when another request interrupts this one.
                raise StreamInterrupted(
                    f"{self._records.who} ended its stream without a finish_reason: it may be cut off"
                )
            self._done = True
            yield from self._records.end()
            return
        try:
            record = json.loads(data)
        except (ValueError, RecursionError):
            if sent.event == "error":
                record = {"error": data}
            else:
                raise ProtocolError(f"{self._records.who} sent an event that is not JSON") from None
        if sent.event == "error" and not (isinstance(record, Mapping) and record.get("error")):
            record = {"error": record}
        yield from self._records.events(record)
        self._template.learn(data, record)


class _Template:
    """Recognises chunks that differ from an earlier one in nothing but the text.

    Of the many chunks of a stream most are equal around the text. Parsing that text alone is exact, and several
    times as fast as parsing all: if a record is ``P "x" S`` and another ``P "y" S``, with a whole JSON string
    between the same two ends, then they differ in that string alone.
    """

    def __init__(self) -> None:
        self._before = ""
        self._start = 0
        self._after = ""
        self._tries = 3

    def match(self, data: str) -> str | None:
        """The text of the chunk, None if it is of another form."""
        if not self._start or not data.startswith(self._before):
            return None
        try:
            text, end = scanstring(data, self._start)
        except ValueError:
            return None
        return text if data[end:] == self._after else None

    def learn(self, data: str, record: Any) -> None:
        """Take a chunk that was parsed as the form to expect, if it is one of text alone."""
        if not self._tries:
            return
        text = _plain_text(record)
        if text is None:
            return
        self._tries -= 1
        for key in ('"content":"', '"content": "', '"text":"', '"text": "'):
            start = data.find(key) + len(key)
            if start < len(key):
                continue
            found, end = scanstring(data, start)
            # Whether this string is the one that _plain_text found: put another in its place and look.
            if found == text and _plain_text(json.loads(f'{data[:start]}{_PROBE}"{data[end:]}')) == _PROBE:
                self._before, self._start, self._after = data[:start], start, data[end:]
                return


_PROBE: Final = "\u2603probe"


def _plain_text(record: Any) -> str | None:
    """The text of a chunk that carries nothing else, None of any other."""
    if not isinstance(record, Mapping) or _any(record, ("error", "usage", "x_groq")) or record.get("object") == "error":
        return None
    choices = record.get("choices")
    if not (isinstance(choices, list) and len(choices) == 1 and isinstance(choices[0], Mapping)):
        return None
    choice = choices[0]
    if _any(choice, ("finish_reason", "index")):
        return None
    delta = choice.get("delta")
    if delta is None:
        text = None if choice.get("message") else choice.get("text")
    elif isinstance(delta, Mapping) and not _any(delta, delta.keys() - {"content", "role"}):
        text = delta.get("content")
    else:
        return None
    return text if isinstance(text, str) else None


def _any(mapping: Mapping[str, Any], names: Iterable[str]) -> bool:
    return any(mapping.get(name) for name in names)
