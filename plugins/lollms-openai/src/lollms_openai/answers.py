"""From what the server sends to events: the records of a whole answer, or of a stream.

Both kinds have the same records. Servers differ in what they leave out: ``choices`` may be empty, ``content``
null, the role alone, the usage in a last chunk without choices, the thinking called ``reasoning_content`` or
``reasoning`` (https://platform.openai.com/docs/api-reference/chat/streaming and the pages named in
:mod:`~lollms_openai.presets`).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any, Final

from lollms_core import (
    BackendError,
    Event,
    Finish,
    InvalidOutput,
    Progress,
    ProtocolError,
    ReasoningDelta,
    TextDelta,
    Usage,
)
from lollms_core.events import FinishReason
from lollms_core.responses import error_of_message
from lollms_openai.logprobs import token_logprobs
from lollms_openai.opaque import Opaque
from lollms_openai.server import Server
from lollms_openai.tool_calls import ToolCalls

__all__ = ["Records", "usage_of"]

_log = logging.getLogger(__name__)

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
        logprobs: how many alternatives to each token were asked for, None if no log probabilities were.
        bound: whether the answer is bound to a schema, so that a refusal cannot be the answer.
    """

    def __init__(
        self, server: Server, who: str, model: str | None, *, logprobs: int | None = None, bound: bool = False
    ) -> None:
        self._server = server
        self.who = who
        self._reason: FinishReason | None = None
        self._id: str | None = None
        self._answered_by: str | None = model
        self._calls = ToolCalls()
        self._opaque = Opaque(server)
        self._logprobs = logprobs
        self._measured = False
        self._bound = bound
        self._refusal = ""
        self._raw: Any = None
        self._figures = False

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
            raise error_of_message(record["error"], who=self.who, secrets=self._server.redaction)
        if record.get("object") == "error":
            raise error_of_message(record, who=self.who, secrets=self._server.redaction)
        self._id = _str(record.get("id")) or self._id
        self._answered_by = _str(record.get("model")) or self._answered_by
        choices = record.get("choices")
        # Only the first choice: n > 1 can only come from backend_options, and there is one text to give.
        if isinstance(choices, list) and choices and isinstance(choices[0], Mapping):
            yield from self._choice(choices[0])
        yield from _progress(record.get("prompt_progress"))
        usage = usage_of(record)
        if usage is not None or not self._figures:
            # Figures that have no place in Usage (reasoning tokens, timings) are to be found in it.
            self._raw, self._figures = record, usage is not None
        if usage is not None:
            yield usage

    def end(self, reason: FinishReason | None = None) -> Iterator[Event]:
        """The tool calls, and the Finish.

        Raises:
            InvalidOutput: the model refuses to give what the schema describes.
            ProtocolError: a call is none.
        """
        called = bool(self._calls)
        hide = self._server.redaction.value
        yield from self._calls.events(self.who)
        if self._refusal and self._bound:
            why = f"the model refuses: {self._refusal}"
            raise InvalidOutput(f"{self.who}: {why}", text=self._refusal, reason=why)
        if self._logprobs is not None and not self._measured and not called:
            _log.warning("%s gave no log probabilities, though it was asked for them", self.who)
        yield Finish(
            self._reason or reason or "stop",
            model=hide(self._answered_by),
            id=hide(self._id),
            provider=self._opaque.provider(self._calls.extra),
            raw=hide(self._raw),
        )

    def _choice(self, choice: Mapping[str, Any]) -> Iterator[Event]:
        if choice.get("index"):
            return
        delta = choice.get("delta")
        message = delta or choice.get("message")
        text, thought = "", ""
        if isinstance(message, Mapping):
            found = message.get("reasoning_content") or message.get("reasoning")
            thought = found if isinstance(found, str) else ""
            if thought:
                yield ReasoningDelta(thought)
            for event in _content(message.get("content")):
                if isinstance(event, TextDelta):
                    text += event.text
                yield event
            yield from self._refused(message.get("refusal"))
            self._calls.add(message, whole=not delta)
            self._opaque.take(message, thought)
        else:
            for event in _content(choice.get("text")):
                text = event.text
                yield event
        # What a piece says of its thinking alone is not about the answer.
        if self._logprobs is not None and (text or not thought):
            for token in token_logprobs(choice.get("logprobs"), text, self._logprobs):
                self._measured = True
                yield token
        reason = choice.get("finish_reason")
        if isinstance(reason, str) and reason:
            if reason in _FAILED:
                raise BackendError(f"{self.who} gave up the answer ({reason})")
            self._reason = _REASONS.get(reason, "stop")

    def _refused(self, refusal: Any) -> Iterator[Event]:
        if isinstance(refusal, str) and refusal:
            self._refusal += refusal
            if not self._bound:
                yield TextDelta(refusal)


def _progress(found: Any) -> Iterator[Progress]:
    """How many tokens of the prompt llama-server has read, which it says on request (``return_progress``)."""
    if isinstance(found, Mapping):
        yield Progress("reading the prompt", _int(found.get("processed")), _int(found.get("total")))


def _content(content: Any) -> Iterator[TextDelta | ReasoningDelta]:
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
                    yield ReasoningDelta(event.text)
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
