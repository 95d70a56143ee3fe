"""One generation as an operation up to the server's first words, and how the rest of its answer is read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from lollms_core import BackendTimeout, Event, GenerationRequest, LollmsError, ProtocolError, StreamInterrupted
from lollms_openai.answers import Records
from lollms_openai.bodies import adapted, is_plain
from lollms_openai.exchange import Ask, Operation, Read, answer_to, json_from
from lollms_openai.limits import policy_of
from lollms_openai.server import Server
from lollms_openai.stream_reader import StreamReader

__all__ = ["Reading", "started"]

_LINGER_SECONDS: Final = 0.5
_LINGER_BYTES: Final = 64 * 1024
_USAGE_SECONDS: Final = 10.0


class Reading:
    """An answer that has begun.

    Attributes:
        events: those that are known already: all of them, if the server answered with one whole.
        who: server and model, for messages.
        streamed: whether there is more to be read.
        worth: seconds that the rest is worth waiting for; None while the answer is not complete. With the end of
            the answer the figures may still come, and then the end of the response, without which its connection
            cannot be used again.
        enough: whether nothing more is worth reading.
    """

    def __init__(self, who: str, events: list[Event], reader: StreamReader | None = None, kind: str = "") -> None:
        self.who = who
        self.events = events
        self.worth: float | None = None
        self.enough = False
        self._reader = reader
        self._kind = kind
        self._after = 0

    @property
    def streamed(self) -> bool:
        return self._reader is not None

    def take(self, piece: bytes) -> Iterator[Event]:
        """The events that a piece of the stream completes."""
        assert self._reader is not None
        if self._reader.done():
            self._after += len(piece)
            self.enough = self._after > _LINGER_BYTES
            return
        yield from self._reader.feed(piece)
        if self._reader.done():
            self.worth = _LINGER_SECONDS
        elif self._reader.complete:
            self.worth = _USAGE_SECONDS

    def end(self, error: LollmsError | None = None) -> Iterator[Event]:
        """The events that are left when the stream has ended or, with `error`, broken.

        Raises:
            LollmsError: the answer is not complete.
        """
        assert self._reader is not None
        if error is None:
            yield from self._reader.close(self._kind)
            return
        # What has come may be the whole answer all the same; a server that only falls silent may still complete it.
        if not (isinstance(error, StreamInterrupted) or (self._reader.complete and isinstance(error, BackendTimeout))):
            raise error
        try:
            yield from self._reader.close()
        except StreamInterrupted:
            raise error from error.__cause__


def started(
    request: GenerationRequest, body: Mapping[str, Any], server: Server, model: str | None
) -> Operation[Reading]:
    """Send a generation; how its answer is to be read.

    Raises:
        LollmsError: the server refuses, or cannot be asked.
    """
    ask = Ask(
        "POST",
        "completions" if is_plain(request) else "chat/completions",
        body,
        model=model,
    )
    answer = yield from answer_to(ask, server, policy_of(request.options, deadline=request.deadline), adapt=adapted)
    who = ask.who(server)
    records = Records(
        server,
        who,
        model,
        # True asks for the tokens' own alone, a number for so many alternatives.
        logprobs=None if not request.logprobs else 0 if request.logprobs is True else request.logprobs,
        bound=request.response_format is not None,
    )
    kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    # What was sent counts, since backend_options have the last word; and a server may answer with a whole anyway.
    if body.get("stream") and kind != "application/json" and "html" not in kind:
        return Reading(who, [], StreamReader(records), kind)
    found = json_from(answer.headers, (yield Read()), server)
    events = list(records.events(found))
    if not found.get("choices"):
        raise ProtocolError(f"{who} gave an answer without a choice")
    return Reading(who, [*events, *records.end("stop")])
