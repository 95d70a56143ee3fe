"""What a scripted model answers, without I/O: a :class:`Reply`, and the :class:`Script` that gives one a request."""

from __future__ import annotations

import json
import math
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from lollms_core.errors import BackendTimeout
from lollms_core.events import (
    Event,
    Finish,
    FinishReason,
    ReasoningDelta,
    TextDelta,
    TokenLogprob,
    ToolCall,
    Usage,
)
from lollms_core.messages import text_of
from lollms_core.request import EmbedRequest, GenerationRequest
from lollms_core.testing.fault_server import Gate

__all__ = ["Answer", "Reply", "Script", "ScriptError", "Wait", "count_bytes", "last_text"]

_MAX_SHOWN = 80


class ScriptError(AssertionError):
    """The script and what was asked do not fit: the test fails, also where the code under test returns errors."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer of a scripted model.

    Its events come in this order: the reasoning, the text, the tool calls, then usage and end, or the failure.

    Args:
        text: the answer; a dict or a list is sent as JSON.
        pieces: the text in the pieces in which it comes, by default word by word; a number in between is so many
            seconds of silence, and at a :class:`~lollms_core.testing.Gate` it goes on when the test opens it.
        reasoning: the model's thinking.
        tool_calls: what the model wants called: ``(name, arguments)``, the arguments as a dict or as JSON text, or a
            :class:`~lollms_core.ToolCall`.
        logprobs: of the tokens; they come if the request asks for them, with the text. By default each piece counts
            as one token, of probability 1.
        usage: by default the bytes of the conversation and of the answer, one being one token.
        finish_reason: by default "tool_calls" with tool calls, else "stop".
        delay: seconds of silence before each piece, the first one included.
        then: what fails after all this, in place of the end: ``StreamInterrupted("...")``, say.
        id: of the answer; by default ``scripted-1``, ``scripted-2``, ...
        provider: opaque data that the backend wants back with the message.

    Raises:
        TypeError, ValueError: a value of the wrong type, pieces that are another text than `text`, or both an
            end and a failure.
    """

    text: str | Mapping[str, Any] | Sequence[Any] = ""
    pieces: Sequence[str | float | Gate] | None = None
    reasoning: str = ""
    tool_calls: Sequence[ToolCall | tuple[str, Mapping[str, Any] | str]] = ()
    logprobs: Sequence[TokenLogprob] = ()
    usage: Usage | None = None
    finish_reason: FinishReason | None = None
    delay: float = 0.0
    then: Exception | None = None
    id: str | None = None
    provider: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        text = self.text if isinstance(self.text, str) else json.dumps(self.text, ensure_ascii=False)
        if self.pieces is not None:
            if isinstance(self.pieces, str):
                raise TypeError("pieces must be a list of pieces, not one str")
            for piece in self.pieces:
                if not isinstance(piece, (str, Gate)):
                    _seconds("a pause among pieces", piece)
            joined = "".join(piece for piece in self.pieces if isinstance(piece, str))
            if self.text and joined != text:
                raise ValueError(f"the pieces are {_shown(joined)}, and the text is {_shown(text)}: leave one out")
            text = joined
        object.__setattr__(self, "text", text)
        object.__setattr__(self, "tool_calls", tuple(_named_call(call) for call in self.tool_calls))
        _seconds("delay", self.delay)
        if self.then is not None and not isinstance(self.then, Exception):
            raise TypeError(f"then must be an exception, not {_shown(self.then)}")
        if self.then is not None and self.finish_reason is not None:
            raise ValueError("an answer that fails has no finish_reason: leave out either it or then")

    def steps(self, request: GenerationRequest, number: int, model: str | None) -> Iterator[Event | Wait]:
        """The events of this answer to the request of that number, and the silences between them.

        Raises:
            BackendTimeout: the silence is longer than the request's timeout.
            Exception: `then`.
        """
        for thought in _words(self.reasoning):
            yield from _silence(self.delay, request)
            yield ReasoningDelta(thought)
        for piece in _words(str(self.text)) if self.pieces is None else self.pieces:
            if not isinstance(piece, str):
                yield from _silence(piece, request)
                continue
            yield from _silence(self.delay, request)
            if request.logprobs and not self.logprobs:
                yield TokenLogprob(piece, 0.0, ((piece, 0.0),) if request.logprobs is not True else ())
            yield TextDelta(piece)
        if request.logprobs:
            yield from self.logprobs
        calls = [_whole_call(call, f"call_{number}_{index}") for index, call in enumerate(self.tool_calls, 1)]
        if calls:
            yield from _silence(self.delay, request)
            yield from calls
        if self.then is not None:
            raise self.then.with_traceback(None)
        yield self.usage or self._counted(request, calls)
        reason = self.finish_reason or ("tool_calls" if calls else "stop")
        yield Finish(reason, model=model, id=self.id or f"scripted-{number}", provider=self.provider)

    def _counted(self, request: GenerationRequest, calls: Sequence[ToolCall]) -> Usage:
        asked = sum(count_bytes(text_of(message.get("content"))) for message in request.to_messages())
        answered = (self.reasoning, str(self.text), *(call.name + call.arguments for call in calls))
        return Usage(asked, sum(map(count_bytes, answered)))


Answer: TypeAlias = (
    "str | Mapping[str, Any] | Reply | Exception | Callable[[GenerationRequest], str | Mapping[str, Any] | Reply]"
)
"""One entry of a script: a text, a dict to be sent as JSON, a :class:`Reply`, what to raise, or a function of the
request that gives (or raises) one of these."""


@dataclass(frozen=True, slots=True)
class Wait:
    """A silence: of so many seconds (None: no limit), or until `gate` is opened."""

    seconds: float | None
    gate: Gate | None = None


class Script:
    """The answers, one to each request in turn, and what was asked; for any number of threads and bindings.

    Args:
        answers: see :data:`Answer`.
        repeat: whether the last answer stays when all have been given.

    Raises:
        TypeError: an answer is of another type.
    """

    def __init__(self, answers: Iterable[Answer] = (), *, repeat: bool = False) -> None:
        if isinstance(answers, (str, Mapping)):
            raise TypeError(f"a script is a list of answers, not one {type(answers).__name__}")
        self._lock = threading.Lock()
        self._repeat = repeat
        self._answers: list[Answer] = []
        self._requests: list[GenerationRequest] = []
        self._embed_requests: list[EmbedRequest] = []
        self._failure: AssertionError | None = None
        self.add(*answers)

    def add(self, *answers: Answer) -> None:
        """Have these answers follow."""
        for answer in answers:
            if not (isinstance(answer, (str, Mapping, Reply, Exception)) or _is_function(answer)):
                raise TypeError(
                    f"an answer is a str, a dict, a Reply, an exception or a function, not {_shown(answer)}"
                )
        with self._lock:
            self._answers += answers

    @property
    def requests(self) -> list[GenerationRequest]:
        """The generations that were asked for, in the order in which they came."""
        with self._lock:
            return list(self._requests)

    @property
    def embed_requests(self) -> list[EmbedRequest]:
        """The embeddings that were asked for."""
        with self._lock:
            return list(self._embed_requests)

    def play(self, request: GenerationRequest, model: str | None) -> Iterator[Event | Wait]:
        """The next answer, for `request`.

        Raises:
            ScriptError: there is none, or it is a function that gives something else.
            Exception: what the script wants raised.
        """
        number, answer = self._next(request)
        try:
            if not isinstance(answer, (str, Mapping, Reply, Exception)):
                answer = _answer_of(answer, request)
        except AssertionError as failure:
            self.fail(failure)
            raise
        if isinstance(answer, Exception):
            raise answer.with_traceback(None)
        reply = answer if isinstance(answer, Reply) else Reply(answer)
        yield from reply.steps(request, number, model)

    def note(self, request: EmbedRequest) -> None:
        """Remember that embeddings were asked for."""
        with self._lock:
            self._embed_requests.append(request)

    def fail(self, failure: AssertionError) -> None:
        """Remember why the test fails, for where the code under test keeps it from getting through."""
        with self._lock:
            self._failure = self._failure or failure

    def check(self, *, unused: bool = True) -> None:
        """Whether the script was followed.

        Args:
            unused: whether answers that were not given count.

        Raises:
            AssertionError: more was asked than there are answers, a function of the script failed, or answers are
                left.
        """
        with self._lock:
            failure, given, requests = self._failure, len(self._answers), len(self._requests)
            following = self._answers[requests : requests + 1]
        if failure is not None:
            raise failure.with_traceback(None)
        if unused and following:
            raise ScriptError(
                f"{given - requests} of {_count(given, 'scripted answer')} were not used: "
                f"{_count(requests, 'request')} came; the next answer is {_shown(following[0])}"
            )

    def _next(self, request: GenerationRequest) -> tuple[int, Answer]:
        with self._lock:
            self._requests.append(request)
            number, given = len(self._requests), len(self._answers)
            if number <= given or (self._repeat and given):
                return number, self._answers[min(number, given) - 1]
        failure = ScriptError(
            f"the script has {_count(given, 'answer')}, and request {number} came: {_shown(last_text(request))}; "
            "add an answer, or let the last one stay with repeat=True"
        )
        self.fail(failure)
        raise failure


def last_text(request: GenerationRequest) -> str:
    """The text of the last message of a request, or its prompt: what the model is to answer."""
    return text_of(request.to_messages()[-1].get("content"))


def count_bytes(text: str) -> int:
    """The tokens of a scripted model: the bytes of a text in UTF-8."""
    return len(text.encode("utf-8", "surrogatepass"))


def _answer_of(function: Callable[[GenerationRequest], Any], request: GenerationRequest) -> Any:
    answer = function(request)
    if not isinstance(answer, (str, Mapping, Reply, Exception)):
        if hasattr(answer, "close"):
            answer.close()  # a coroutine: else Python warns that nobody awaits it
        raise ScriptError(f"a function of the script gave {_shown(answer)}, which is no str, dict, Reply or exception")
    return answer


def _is_function(answer: object) -> bool:
    return callable(answer) and not isinstance(answer, type)


def _silence(until: float | Gate, request: GenerationRequest) -> Iterator[Wait]:
    limit = request.timeout
    if isinstance(until, Gate):
        yield Wait(limit, until)
        late = limit is not None and not until.is_open
    elif until:
        yield Wait(until if limit is None else min(until, limit))
        late = limit is not None and limit < until
    else:
        return
    if late:
        raise BackendTimeout(f"the scripted model gave no sign of life for {limit:g} s")


def _words(text: str) -> list[str]:
    return re.findall(r"\S+\s*|\s+", text)


def _named_call(call: Any) -> ToolCall | tuple[str, str]:
    if isinstance(call, ToolCall):
        return call
    try:
        name, arguments = call
    except (TypeError, ValueError):
        raise TypeError(f"a tool call is (name, arguments) or a ToolCall, not {_shown(call)}") from None
    if not isinstance(name, str) or not isinstance(arguments, (str, Mapping)):
        raise TypeError(f"a tool call is a name and its arguments as a dict or JSON text, not {_shown(call)}")
    return name, arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)


def _whole_call(call: Any, given_id: str) -> ToolCall:
    return call if isinstance(call, ToolCall) else ToolCall(given_id, *call)


def _seconds(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be a number of seconds, not {_shown(value)}")
    if not 0 <= value < math.inf:
        raise ValueError(f"{name} must be a finite number of seconds, not {value}")


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _shown(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= _MAX_SHOWN else f"{shown[:_MAX_SHOWN]}..."
