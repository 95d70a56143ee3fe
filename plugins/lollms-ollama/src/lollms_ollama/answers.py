"""Answers of Ollama's API, without I/O: records in, events out.

Source: docs/api.md and docs/openapi.yaml (ChatStreamEvent, GenerateStreamEvent, Logprob) of
https://github.com/ollama/ollama.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, get_args

from lollms_core import (
    CapabilityNotSupported,
    Event,
    Finish,
    ProtocolError,
    ReasoningDelta,
    TextDelta,
    TokenLogprob,
    ToolCall,
    Usage,
)
from lollms_core.events import FinishReason
from lollms_core.redaction import Redaction
from lollms_http import Reader
from lollms_http.answer import quoted
from lollms_ollama.records import whole_number

__all__ = ["PROVIDER", "AnswerReader"]

PROVIDER: Final = "ollama"
"""The key of our own data in a message's ``provider``."""

_NOTHING: Final = Redaction()
_REASONS: Final = frozenset(get_args(FinishReason))


class AnswerReader(Reader):
    """The events of one streamed answer of /api/chat or /api/generate.

    Args:
        who: binding and host, for messages.
        model: the model that was asked for, for messages.
        redaction: takes out what must not appear in messages.
        logprobs: whether log probabilities were asked for.
    """

    def __init__(self, who: str, model: str | None, redaction: Redaction = _NOTHING, *, logprobs: bool = False) -> None:
        self._who = who
        self._model = model
        self._redaction = redaction
        self._logprobs = _Logprobs() if logprobs else None
        self._calls = 0
        self._spoke = False
        self._thinking: list[str] = []

    def feed(self, record: Any) -> Iterable[Event]:
        message = record.get("message")
        # A piece of text and nothing else: nearly every record is one.
        if type(message) is dict and len(message) == 2 and "role" in message and self._logprobs is None:
            text = message.get("content")
            if text and not record.get("done"):
                self._spoke = True
                return (TextDelta(text),)
        return self._events(record)

    def _events(self, record: Any) -> Iterator[Event]:
        message = record.get("message")
        if isinstance(message, dict):
            text, thinking = message.get("content"), message.get("thinking")
        else:
            message = {}
            text, thinking = record.get("response"), record.get("thinking")
        if thinking:
            self._thinking.append(thinking)
            yield ReasoningDelta(thinking)
        if text:
            self._spoke = True
            yield TextDelta(text)
        calls = message.get("tool_calls")
        if calls:
            yield from map(self._tool_call, calls)
        if self._logprobs is not None:
            found = self._token_logprobs(record.get("logprobs"))
            yield from self._logprobs.of_answer(found, text or "", is_call=bool(calls), is_thought=bool(thinking))
        if record.get("done"):
            yield from self._end(record)
        elif not message and "response" not in record and "thinking" not in record:
            raise ValueError("neither a piece of an answer nor its end")

    def _end(self, record: Mapping[str, Any]) -> Iterator[Event]:
        yield Usage(whole_number(record, "prompt_eval_count"), whole_number(record, "eval_count"))
        if self._spoke and self._logprobs is not None and not self._logprobs.seen:
            raise CapabilityNotSupported(
                f"{self._who} gave no log probabilities with the answer of the model {self._model!r}; "
                "ask without logprobs"
            )
        yield self._finish(record)

    def _finish(self, record: Mapping[str, Any]) -> Finish:
        said = record.get("done_reason")
        # "load" and "unload" answer an empty prompt; older servers give no reason at all.
        reason: Any = said if said in _REASONS else "stop"
        if self._calls:
            reason = "tool_calls"
        return Finish(
            reason,
            model=record.get("model"),
            # In a loop of tool calls the model wants to see what it thought (docs/capabilities/streaming.mdx).
            provider={PROVIDER: {"thinking": "".join(self._thinking)}} if self._thinking else None,
            # "context" is the whole conversation as tokens, which nobody wants in a log.
            raw={name: value for name, value in record.items() if name != "context"},
        )

    def _tool_call(self, call: Any) -> ToolCall:
        function = call.get("function") if isinstance(call, Mapping) else None
        if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
            raise ProtocolError(f"{self._who} sent a tool call without a function's name")
        arguments = function.get("arguments")
        self._calls += 1
        return ToolCall(
            # Older servers give none. A number would be the same in the answer of the next turn.
            str(call.get("id") or f"call_{os.urandom(8).hex()}"),
            function["name"],
            arguments if isinstance(arguments, str) else json.dumps(arguments or {}, ensure_ascii=False),
        )

    def _token_logprobs(self, found: Any) -> list[TokenLogprob]:
        if not found:
            return []
        try:
            return [_token_logprob(entry) for entry in found]
        except (AttributeError, KeyError, TypeError, ValueError):
            raise ProtocolError(
                f"{self._who} sent log probabilities that are none: {quoted(found, self._redaction)}"
            ) from None


def _token_logprob(entry: Mapping[str, Any]) -> TokenLogprob:
    """One entry of ``logprobs``.

    Raises:
        AttributeError, KeyError, TypeError, ValueError: `entry` is none.
    """
    token, logprob = _pair(entry)
    top = tuple(map(_pair, entry.get("top_logprobs") or ()))
    found = bytes(entry.get("bytes") or ())
    # Given only where they say more than the text.
    return TokenLogprob(token, logprob, top, found if found and found != token.encode("utf-8", "replace") else None)


def _pair(entry: Mapping[str, Any]) -> tuple[str, float]:
    token, logprob = entry["token"], entry["logprob"]
    if not isinstance(token, str) or type(logprob) not in (int, float):
        raise TypeError("no token with its log probability")
    return token, float(logprob)


class _Logprobs:
    """Which of the log probabilities are those of the answer's tokens.

    A server gives one for every token that the model made: also of its thinking, of the tags around it, and, in
    records without any text, of text that it holds back because it may become a tool call.
    """

    def __init__(self) -> None:
        self._held: list[TokenLogprob] = []
        self.seen = False

    def of_answer(
        self, found: Sequence[TokenLogprob], text: str, *, is_call: bool, is_thought: bool
    ) -> Sequence[TokenLogprob]:
        """Those to give out after a record.

        Args:
            found: the record's own.
            text: its part of the answer.
            is_call: whether it has a tool call.
            is_thought: whether it has thinking.
        """
        self.seen = self.seen or bool(found)
        held, self._held = self._held, []
        if text and "".join(one.token for one in found).endswith(text):
            return found  # what was held back belongs to no text: it was a tag
        if text or is_call:
            return [*held, *found]
        if not is_thought:
            self._held = [*held, *found]
        return ()
