"""Responses of Ollama's API, without I/O: bytes in, events, vectors and dicts out."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any, Final, get_args

from lollms_core import (
    CapabilityNotSupported,
    Event,
    Finish,
    LollmsError,
    ModelNotFound,
    ProtocolError,
    ReasoningDelta,
    StreamInterrupted,
    TextDelta,
    ToolCall,
    Usage,
)
from lollms_core.events import FinishReason
from lollms_core.framing import NdjsonDecoder
from lollms_core.responses import error_of_message

__all__ = ["AnswerReader", "known_error", "parse", "vectors"]

_REASONS: Final = frozenset(get_args(FinishReason))
_MAX_QUOTED: Final = 60


class AnswerReader:
    """The events of one streamed answer of /api/chat or /api/generate.

    Args:
        who: binding and host, for messages.
        model: the model that was asked for.
        content_type: what the response says it is, for messages.
        secrets: what must not appear in messages.
    """

    def __init__(self, who: str, model: str, content_type: str = "", secrets: tuple[str | None, ...] = ()) -> None:
        self._who = who
        self._model = model
        self._content_type = content_type
        self._secrets = secrets
        self._decoder = NdjsonDecoder()
        self._calls = 0
        self._thinking: list[str] = []
        self.done = False

    def feed(self, data: bytes) -> Iterator[Event]:
        """The events that `data` completes; nothing more after the record that says ``done``.

        Raises:
            BackendError: the server reports an error in the stream.
            ProtocolError: it sends something else than Ollama's records.
        """
        if self.done:
            return
        for record in self._records(data):
            found = parse(record, self._who, self._content_type)
            yield from self._events(found)
            if found.get("done"):
                return

    def _records(self, data: bytes) -> Iterator[str]:
        try:
            yield from self._decoder.feed(data)
        except ProtocolError as error:
            raise ProtocolError(f"{self._who}: {error}") from error

    def close(self) -> Iterator[Event]:
        """The events of a last record without a line end.

        Raises:
            StreamInterrupted: the answer is not complete.
            BackendError, ProtocolError: as for :meth:`feed`.
        """
        if self.done:
            return
        rest = self._decoder.close()
        if rest is not None:
            try:
                record = json.loads(rest)
            except ValueError:
                record = None
            if isinstance(record, dict):
                yield from self._events(record)
        if not self.done:
            raise StreamInterrupted(
                f"{self._who}: the answer of the model {self._model!r} ended without its end marker (done)"
            )

    def _events(self, record: Mapping[str, Any]) -> Iterator[Event]:
        if "error" in record:
            raise known_error(error_of_message(record["error"], who=self._who, secrets=self._secrets), self._model)
        message = record.get("message")
        if isinstance(message, Mapping):
            text, thinking = message.get("content"), message.get("thinking")
        else:
            message = {}
            text, thinking = record.get("response"), record.get("thinking")
        if thinking:
            self._thinking.append(self._text("thinking", thinking))
            yield ReasoningDelta(thinking)
        if text:
            yield TextDelta(self._text("the answer", text))
        yield from map(self._tool_call, message.get("tool_calls") or ())
        if record.get("done"):
            self.done = True
            yield Usage(_count(record, "prompt_eval_count"), _count(record, "eval_count"))
            yield self._finish(record)
        elif not message and "response" not in record and "thinking" not in record:
            raise ProtocolError(
                f"{self._who} sent a record that is no part of an answer: {_quoted(json.dumps(record))}"
            )

    def _finish(self, record: Mapping[str, Any]) -> Finish:
        said = record.get("done_reason")
        # "load" and "unload" answer an empty prompt; older servers give no reason at all.
        reason: Any = said if said in _REASONS else "stop"
        if self._calls:
            reason = "tool_calls"
        return Finish(
            reason,
            model=record["model"] if isinstance(record.get("model"), str) else None,
            provider={"thinking": "".join(self._thinking)} if self._thinking else None,
            # "context" is the whole conversation as tokens, which nobody wants in a log.
            raw={name: value for name, value in record.items() if name != "context"},
        )

    def _text(self, what: str, value: object) -> str:
        if not isinstance(value, str):
            raise ProtocolError(f"{self._who} sent {what} as {type(value).__name__}, not as text")
        return value

    def _tool_call(self, call: Any) -> ToolCall:
        function = call.get("function") if isinstance(call, Mapping) else None
        if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
            raise ProtocolError(f"{self._who} sent a tool call without a function's name")
        arguments = function.get("arguments")
        self._calls += 1
        return ToolCall(
            str(call.get("id") or f"call_{self._calls}"),
            function["name"],
            arguments if isinstance(arguments, str) else json.dumps(arguments or {}, ensure_ascii=False),
        )


def known_error(error: LollmsError, model: str | None) -> LollmsError:
    """`error`, or a more telling one where Ollama's words are known to mean something particular."""
    words = str(error)
    if type(error).__name__ in {"BadRequest", "BackendError"}:
        if "does not support" in words:
            return CapabilityNotSupported(f"{words} (model {model!r})" if repr(model) not in words else words)
        if "model is required" in words:
            return ModelNotFound(words)
        if "not found, try pulling it" in words:
            return ModelNotFound(words)
    return error


def parse(text: str | bytes, who: str, content_type: str = "") -> dict[str, Any]:
    """The JSON object in `text`.

    Raises:
        ProtocolError: there is none; the text names the content type and quotes the beginning.
    """
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if isinstance(found, dict):
        return found
    shown = text if isinstance(text, str) else text[: _MAX_QUOTED * 4].decode("utf-8", "replace")
    kind = f" ({content_type})" if content_type else ""
    raise ProtocolError(f"{who} sent something that is not Ollama's protocol{kind}: {_quoted(shown)}")


def vectors(answer: Mapping[str, Any], count: int, who: str) -> list[list[float]]:
    """The vectors in an answer of /api/embed.

    Raises:
        ProtocolError: their number is not `count`, or they are no vectors of one size.
    """
    found = answer.get("embeddings")
    if not isinstance(found, list) or len(found) != count:
        got = len(found) if isinstance(found, list) else "no"
        raise ProtocolError(f"{who} answered {count} texts with {got} vectors")
    size = len(found[0]) if found and isinstance(found[0], list) else 0
    for vector in found:
        if not isinstance(vector, list) or len(vector) != size or not size:
            raise ProtocolError(f"{who} sent vectors of different or no size")
        if not all(type(x) is float or type(x) is int for x in vector) or not all(map(math.isfinite, vector)):
            raise ProtocolError(f"{who} sent a vector with something else than numbers")
    return [[float(x) for x in vector] for vector in found]


def _count(record: Mapping[str, Any], name: str) -> int | None:
    value = record.get(name)
    return value if type(value) is int and value >= 0 else None


def _quoted(text: str) -> str:
    line = " ".join(text.split())
    return repr(line if len(line) <= _MAX_QUOTED else line[:_MAX_QUOTED] + "...")
