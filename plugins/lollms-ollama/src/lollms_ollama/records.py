"""What Ollama's API sends, without I/O: JSON objects, one a line where it streams, and what its errors mean."""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, Final, Generic, TypeVar

from lollms_core import CapabilityNotSupported, Event, LollmsError, ModelNotFound, ProtocolError, StreamInterrupted
from lollms_core.framing import NdjsonDecoder
from lollms_core.redaction import Redaction
from lollms_core.responses import error_of_message

__all__ = ["Records", "known_error", "parse", "quoted", "whole_number"]

_MAX_QUOTED: Final = 60
_NOTHING: Final = Redaction()
# "does not support tools", "think value \"low\" is not supported for this model", and what a server says that
# cannot make a grammar of a schema: routes.go and llm/server.go of https://github.com/ollama/ollama.
_UNSUPPORTED: Final = re.compile(r"does not support|is not supported for this model|invalid JSON schema in format")
_UNKNOWN_MODEL: Final = re.compile(r"model is required|not found, try pulling it")

E_co = TypeVar("E_co", bound=Event, covariant=True)


class Records(ABC, Generic[E_co]):
    """The events of one streamed answer, which a record of its own ends.

    Args:
        who: binding and host, for messages.
        model: the model that was asked for.
        content_type: what the response says it is, for messages.
        redaction: takes out what must not appear in messages.
    """

    def __init__(self, who: str, model: str, content_type: str = "", redaction: Redaction = _NOTHING) -> None:
        self._who = who
        self._model = model
        self._content_type = content_type
        self._redaction = redaction
        self._decoder = NdjsonDecoder()
        self.done = False
        """Whether the record that ends the answer has come."""

    def feed(self, data: bytes) -> Iterator[E_co]:
        """The events that `data` completes; nothing more after the end.

        Raises:
            LollmsError: the server reports an error in the stream.
            ProtocolError: it sends something else than Ollama's records.
        """
        if not self.done:
            for record in self._lines(data):
                yield from self._read(parse(record, self._who, self._content_type, self._redaction))

    def close(self) -> Iterator[E_co]:
        """The events of a last record without a line end.

        Raises:
            StreamInterrupted: the answer is not complete.
            LollmsError: as for :meth:`feed`.
        """
        if self.done:
            return
        rest = self._decoder.close()
        if rest is not None:
            try:
                record = json.loads(rest)
            except (ValueError, RecursionError):
                record = None  # it was cut off
            if isinstance(record, dict):
                yield from self._read(record)
        if not self.done:
            raise StreamInterrupted(f"{self._who}: {self._cut_short()}")

    def _lines(self, data: bytes) -> Iterator[str]:
        try:
            for record in self._decoder.feed(data):
                if self.done:
                    return
                yield record
        except ProtocolError as error:
            raise ProtocolError(f"{self._who}: {error}") from error

    def _read(self, record: Mapping[str, Any]) -> Iterator[E_co]:
        if "error" in record:
            raise self._error(record["error"])
        yield from self._events(record)

    def _error(self, words: Any) -> LollmsError:
        """What an ``{"error": ...}`` record means."""
        return known_error(error_of_message(words, who=self._who, secrets=self._redaction), self._model)

    @abstractmethod
    def _events(self, record: Mapping[str, Any]) -> Iterator[E_co]:
        """The events of a record; the last one sets ``done``."""

    @abstractmethod
    def _cut_short(self) -> str:
        """What to say of a stream that ends without its last record."""


def known_error(error: LollmsError, model: str | None) -> LollmsError:
    """`error`, or a more telling one where Ollama's words are known to mean something particular."""
    words = str(error)
    if type(error).__name__ in {"BadRequest", "BackendError"}:
        if _UNSUPPORTED.search(words):
            return CapabilityNotSupported(f"{words} (model {model!r})" if repr(model) not in words else words)
        if _UNKNOWN_MODEL.search(words):
            return ModelNotFound(words)
    return error


def parse(text: str | bytes, who: str, content_type: str = "", redaction: Redaction = _NOTHING) -> dict[str, Any]:
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
    raise ProtocolError(f"{who} sent something that is not Ollama's protocol{kind}: {quoted(shown, redaction)}")


def whole_number(record: Mapping[str, Any], name: str) -> int | None:
    """A count in `record`, None if it has none."""
    value = record.get(name)
    return value if type(value) is int and value >= 0 else None


def quoted(text: str, redaction: Redaction) -> str:
    """The beginning of `text`, on one line, in quotes and without secrets."""
    line = " ".join(redaction.text(text).split())
    return repr(line if len(line) <= _MAX_QUOTED else line[:_MAX_QUOTED] + "...")
