"""How a backend writes its answers, so that the same faults can be played in its own language.

An author's dialect subclasses :class:`SseDialect` or :class:`NdjsonDialect`, or one of the two that are here.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from lollms_core.testing.wire import Framing, Part, Wire, response

__all__ = ["PIECES", "TEXT", "Dialect", "NdjsonDialect", "OllamaDialect", "OpenAIDialect", "SseDialect"]

PIECES = ("Th\u00e9 ", "sky", " is \U0001f30d", "\u2713.")
"""The pieces of the answer that every fault is played with."""

TEXT = "".join(PIECES)
"""That answer."""


class Dialect(ABC):
    """What one backend's requests and answers look like.

    Attributes:
        name: for reports.
        model: the model that is asked for.
        chat_path: the path of a generation, as it stands in the request line.
        address: what comes after the server's URL in ``host_address``.
        content_type: of a stream.
        places: what other paths are always answered with, as JSON.
    """

    name: ClassVar[str]
    model: ClassVar[str] = "m1"
    chat_path: ClassVar[str]
    address: ClassVar[str] = ""
    content_type: ClassVar[str]
    places: ClassVar[Mapping[str, Any]] = {}

    @abstractmethod
    def record(self, payload: Any) -> Part:
        """A record of a stream; `payload` is JSON."""

    @abstractmethod
    def piece(self, text: str) -> Any:
        """The record that carries a piece of the answer."""

    @abstractmethod
    def finish(self) -> Sequence[Any]:
        """The records at the end of a whole answer; with the first of them the answer is complete."""

    @abstractmethod
    def whole(self, text: str) -> Any:
        """The body of an answer that is not streamed."""

    @abstractmethod
    def failure(self, words: str) -> Any:
        """The record by which the server says, in the middle of a stream, that it failed."""

    def refusal(self, words: str) -> Any:
        """The body of a refusal."""
        return {"error": {"message": words}}

    @property
    def marker(self) -> bytes:
        """What stands after the last record."""
        return b""

    # Made of those ---------------------------------------------------------------------------------------

    def pieces(self, *texts: str) -> list[Part]:
        """The records of pieces of an answer."""
        return [self._with_text(self.record(self.piece(text)), text) for text in texts]

    def ending(self) -> list[Part]:
        """The records at the end, and the marker."""
        first, *others = self.finish()
        part = self.record(first)
        parts = [Part(part.data, needed=part.complete, ends=True), *map(self.record, others)]
        return [*parts, Part(self.marker)] if self.marker else parts

    def stream(self, *parts: Part, framing: Framing = "chunked", ended: bool = True, **head: str) -> Wire:
        """A stream of these records; without any, a good one."""
        return Wire(
            parts or (*self.pieces(*PIECES), *self.ending()),
            self.content_type,
            framing,
            ended,
            tuple((name.replace("_", "-"), value) for name, value in head.items()),
        )

    def answer(self, body: bytes, *, text: str = TEXT) -> bytes:
        """The good answer to the request with this body: a stream if it asks for one."""
        if self.streams(body):
            return self.stream(*self.pieces(text), *self.ending()).data
        return response(self.whole(text))

    def streams(self, body: bytes) -> bool:
        """Whether a request asks for a stream."""
        return bool(json.loads(body).get("stream"))

    @staticmethod
    def _with_text(part: Part, text: str) -> Part:
        return Part(part.data, text, needed=part.complete)


def _json(payload: Any) -> bytes:
    # As most servers write it: no spaces, no \u escapes.
    return json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode()


class SseDialect(Dialect):
    """Server-sent events with JSON as their data."""

    content_type = "text/event-stream"

    def record(self, payload: Any) -> Part:
        data = b"data: " + _json(payload)
        return Part(data + b"\n\n", needed=len(data))


class NdjsonDialect(Dialect):
    """A line of JSON for each record."""

    content_type = "application/x-ndjson"

    def record(self, payload: Any) -> Part:
        data = _json(payload)
        return Part(data + b"\n", needed=len(data))


class OpenAIDialect(SseDialect):
    """Chat completions: https://platform.openai.com/docs/api-reference/chat."""

    name = "OpenAI"
    chat_path = "/v1/chat/completions"
    address = "/v1"

    @property
    def marker(self) -> bytes:
        return b"data: [DONE]\n\n"

    def piece(self, text: str) -> Any:
        return self._chunk({"content": text})

    def finish(self) -> Sequence[Any]:
        usage = {"prompt_tokens": 3, "completion_tokens": len(PIECES), "total_tokens": 3 + len(PIECES)}
        return [self._chunk({}, "stop"), {**self._about("chat.completion.chunk"), "choices": [], "usage": usage}]

    def whole(self, text: str) -> Any:
        message = {"role": "assistant", "content": text}
        usage = {"prompt_tokens": 3, "completion_tokens": len(PIECES), "total_tokens": 3 + len(PIECES)}
        choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
        return {**self._about("chat.completion"), "choices": choices, "usage": usage}

    def failure(self, words: str) -> Any:
        return {"error": {"message": words, "code": 500}}

    def _chunk(self, delta: Mapping[str, Any], reason: str | None = None) -> Any:
        return {
            **self._about("chat.completion.chunk"),
            "choices": [{"index": 0, "delta": delta, "finish_reason": reason}],
        }

    def _about(self, kind: str) -> dict[str, Any]:
        return {"id": "chatcmpl-1", "object": kind, "created": 1700000000, "model": self.model}


class OllamaDialect(NdjsonDialect):
    """Ollama's own API: https://github.com/ollama/ollama/blob/main/docs/api.md."""

    name = "Ollama"
    model = "m1:latest"
    chat_path = "/api/chat"
    places: ClassVar[Mapping[str, Any]] = {
        "/api/show": {
            "parameters": "",
            "template": "{{ .Prompt }}",
            "details": {"format": "gguf", "family": "llama", "parameter_size": "8.0B", "quantization_level": "Q4_0"},
            "model_info": {
                "general.architecture": "llama",
                "general.parameter_count": 8030261248,
                "llama.context_length": 8192,
                "llama.embedding_length": 4096,
            },
            "capabilities": ["completion"],
        },
        "/api/tags": {"models": [{"name": "m1:latest", "model": "m1:latest", "modified_at": "2025-05-05T01:37:44Z"}]},
        "/api/ps": {"models": []},
        "/api/version": {"version": "0.20.0"},
    }

    def piece(self, text: str) -> Any:
        return {**self._about(text), "done": False}

    def finish(self) -> Sequence[Any]:
        return [{**self._about(""), "done": True, **self._counts()}]

    def whole(self, text: str) -> Any:
        return {**self._about(text), "done": True, **self._counts()}

    def failure(self, words: str) -> Any:
        return {"error": words}

    def refusal(self, words: str) -> Any:
        return {"error": words}

    def streams(self, body: bytes) -> bool:
        return bool(json.loads(body).get("stream", True))  # its default

    def _about(self, text: str) -> dict[str, Any]:
        message = {"role": "assistant", "content": text}
        return {"model": self.model, "created_at": "2023-08-04T08:52:19.385406455-07:00", "message": message}

    def _counts(self) -> dict[str, Any]:
        return {"done_reason": "stop", "prompt_eval_count": 3, "eval_count": len(PIECES)}
