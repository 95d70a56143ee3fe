"""How a backend writes its answers, so that the same faults can be played in its own language.

An author's dialect subclasses :class:`SseDialect` or :class:`NdjsonDialect`, or one of those that are known:
:class:`~lollms_core.testing.OpenAIDialect`, :class:`~lollms_core.testing.OllamaDialect`. The five abstract methods are
enough for the faults; the others say how a server that behaves well reads requests and writes all that answers hold.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from lollms_core.testing.parrot import Said, Wanted
from lollms_core.testing.wire import Framing, Part, Wire, response

if TYPE_CHECKING:
    from lollms_core.testing.fault_server import Asked

__all__ = ["PIECES", "TEXT", "Dialect", "NdjsonDialect", "SseDialect"]

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

    # A server that behaves well ----------------------------------------------------------------------------

    def wanted(self, body: bytes) -> Wanted:
        """What the request with this body asks of the model; here by the usual names of fields, of texts alone."""
        fields = json.loads(body)
        options = {**fields, **(fields.get("options") or fields.get("parameters") or {})}
        messages = fields.get("messages")
        prompt = fields.get("prompt", fields.get("inputs", ""))
        return Wanted(
            messages=messages if isinstance(messages, list) else [{"role": "user", "content": prompt}],
            model=str(fields.get("model") or ""),
            n_predict=next((options[name] for name in _LENGTHS if options.get(name) is not None), None),
            stop=_texts(options.get("stop")),
        )

    def said(self, said: Said, *, stream: bool) -> bytes:
        """The response that carries an answer; here its text alone."""
        if stream:
            return self.stream(*self.pieces(*said.pieces), *self.ending()).data
        return response(self.whole(said.text))

    def knows(self, model: str) -> bool:
        """Whether the server has this model; "" stands for whichever it has."""
        return model in ("", self.model)

    def routes(self) -> Mapping[str, Callable[[Asked], bytes]]:
        """What it answers at other paths than that of generations, beside :attr:`places`."""
        return {}

    @staticmethod
    def _with_text(part: Part, text: str) -> Part:
        return Part(part.data, text, needed=part.complete)


_LENGTHS = ("max_tokens", "max_completion_tokens", "n_predict", "num_predict", "max_new_tokens", "max_length")


def _texts(stop: Any) -> Sequence[str]:
    return (stop,) if isinstance(stop, str) else tuple(stop or ())


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
