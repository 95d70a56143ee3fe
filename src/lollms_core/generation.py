"""One generation without I/O: what the middlewares see, what the caller gets, the Completion that is left.

Short drivers move events from a backend to the caller through a :class:`Generation`: :func:`push` (the
backend calls us), :func:`pull` (we ask it), and their twins in :mod:`~lollms_core.async_generation`. All rules are in
the class; the drivers only know how to ask and how to close.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from lollms_core.alarm import Alarm, alarm_in_thread
from lollms_core.discovery.reports import message_of
from lollms_core.errors import BackendError, BackendTimeout, InvalidOutput, LollmsError, StreamInterrupted
from lollms_core.events import (
    Completion,
    Event,
    Finish,
    FinishReason,
    ReasoningDelta,
    TextDelta,
    Timings,
    TokenLogprob,
    ToolCall,
    Usage,
)
from lollms_core.middleware import Chain, Retry
from lollms_core.request import GenerationRequest
from lollms_core.thinking import ThinkSplitter

__all__ = ["Emit", "Generation", "Pushed", "Sink", "as_backend_error", "close_events", "pull", "push"]

Emit: TypeAlias = Callable[[Event], bool]
"""Takes the backend's next event; False asks the backend to stop."""

Sink: TypeAlias = Callable[[Event], bool]
"""Takes the caller's next event; False means that the caller wants no more."""

_NOT_WHOLE: Mapping[str, str] = {
    "length": "it was cut off by the limit of its length (n_predict, ctx_size)",
    "content_filter": "the backend's content filter ended it",
}

MAX_RETRIES = 5
"""How often a middleware's Retry is honoured for one request."""


def as_backend_error(exc: Exception) -> Exception:
    """`exc` if it is one of ours, else a BackendError that it caused."""
    if isinstance(exc, LollmsError):
        return exc
    error = BackendError(f"{type(exc).__name__}: {message_of(exc)}")
    error.__cause__ = exc
    return error


class Generation:
    """The state of one request from its start to its end.

    Args:
        request: what the caller asks.
        begins: called once when the request starts; gives its middlewares, None if there are none.
        ignored: names of parameters that the backend has no use for.
        live: whether events reach the caller as they come; then the first one rules out a retry.
        translate: turns what the backend raised into what the caller gets.
        on_end: called once, last.

    Attributes:
        alarm: how it is woken at its deadline; a driver may set another before :meth:`begin`.
        reader: the thread that reads it as a stream, once it has begun.
    """

    def __init__(
        self,
        request: GenerationRequest,
        begins: Callable[[GenerationRequest], Chain | None] = lambda _: None,
        *,
        model: str | None = None,
        ignored: tuple[str, ...] = (),
        live: bool = False,
        translate: Callable[[Exception], Exception] = as_backend_error,
        on_end: Callable[[], object] | None = None,
    ) -> None:
        self.request = request
        self._begins = begins
        self._chain: Chain | None = None
        self._model = model
        self._ignored = ignored
        self._live = live
        self._translate = translate
        self._on_end = on_end
        self._answer: list[Event] | None = None
        self._begun = self.ended = False
        self._ruling: Exception | None = None  # our own verdict on the answer, cancelled or not
        self._retries = 0
        self._started = 0.0
        self.alarm: Alarm = alarm_in_thread
        self.reader: threading.Thread | None = None
        self._silence: Callable[[], None] | None = None  # takes back what rings at the deadline
        self._limit: float | None = None  # the deadline in seconds, and when it comes
        self._until = 0.0
        self._late = False  # it was the deadline that cancelled the request
        self._total: float | None = None
        self._reset()

    def _reset(self) -> None:
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._tool_calls: list[ToolCall] = []
        self._logprobs: list[TokenLogprob] = []
        self._parsed: Any = None
        self._thinking: ThinkSplitter | None = ThinkSplitter()  # None once it can have nothing more to do
        self._usage = Usage()
        self._finish: Finish | None = None  # as the caller got it
        self._backend_finish: Finish | None = None
        self._reason: FinishReason | None = None  # set where the end is ours: cancelled, error
        self._first: float | None = None
        self._delivered = False
        self._plain = False  # whether no rule but those of middlewares has to look at the next piece of text

    def stopped(self) -> bool:
        """Whether the caller has ended the request."""
        return self.request.control.cancelled

    # What the drivers call, in this order ---------------------------------------------------------------

    def begin(self) -> Iterable[Event] | None:
        """Start, or start again; the events of a middleware that answers in the backend's place, else None."""
        if not self._begun:
            self._begun = True
            self._started = time.perf_counter()
            if self.request.deadline is not None:
                self._limit = self.request.deadline
                self._until = self._started + self._limit
                self._silence = self.alarm(self._limit, self._ring)
            self._chain = self._begins(self.request)
            if self._chain is not None:
                self.request, self._answer = self._chain.on_request(self.request)
        return self._answer

    def feed(self, event: Event) -> Sequence[Event]:
        """Take the backend's event; what the caller gets for it.

        Raises:
            BackendTimeout: the deadline has passed.
            Refused: a middleware refused.
        """
        if self._plain and type(event) is TextDelta:  # nearly every event, so what it takes stands here
            chain = self._chain
            if chain is None or chain.quiet:
                self._text.append(event.text)
                return (event,)
            only = chain.only
            if only is None:
                return self._passed(self._watched(chain.on_event, event))
            try:
                given: Sequence[Event] = only(event)  # type: ignore[assignment]  # of any type until looked at
            except BaseException as exc:
                return self._passed(self._watched(chain.failed, event, exc))
            if type(given) in (tuple, list) and len(given) == 1 and type(passed := given[0]) is TextDelta:
                self._text.append(passed.text)
                return given
            return self._passed(self._watched(chain.checked, event, given))
        if not isinstance(event, Event):
            raise self._ruled(TypeError(f"a binding must yield events, not {type(event).__name__}"))
        if isinstance(event, Finish):
            self._backend_finish = event
        if self._limit is not None and time.perf_counter() > self._until:
            raise self._ruled(self._too_late())
        if self._thinking is None:
            return self._pass(event)
        return [passed for part in self._without_tags(event) for passed in self._pass(part)]

    def _without_tags(self, event: Event) -> Sequence[Event]:
        """`event`, or what it is once thinking that is written into the text is cut out."""
        assert self._thinking is not None
        if isinstance(event, TextDelta):
            events = self._thinking.feed(event.text)
            if self._thinking.settled:
                self._thinking = None
            return events
        if isinstance(event, (Finish, ToolCall)):
            return [*self._thinking.flush(), event]
        return (event,)

    def _pass(self, event: Event) -> Sequence[Event]:
        """What the middlewares leave of `event`, which is what the caller gets."""
        events: Sequence[Event] = (event,)
        if self._chain is not None:
            events = self._watched(self._chain.on_event, event)
        self._passed(events)
        self._plain = self._thinking is None and self._limit is None and self._first is not None
        return events

    def _watched(self, watch: Callable[..., Sequence[Event]], *what: Any) -> Sequence[Event]:
        """The result of a method of the chain; that a middleware refuses is our verdict."""
        try:
            return watch(*what)
        except LollmsError as refused:
            raise self._ruled(refused) from refused.__cause__

    def _passed(self, events: Sequence[Event]) -> Sequence[Event]:
        """`events`, which the caller gets."""
        for event in events:
            self._add(event)
            self._delivered = True
        return events

    def _ring(self) -> None:
        """The deadline has come, in whatever thread: the backend is told as when the caller cancels."""
        if not self.request.cancelled:
            self._late = True
            self.request.control.cancel()

    def _too_late(self, cause: Exception | None = None) -> BackendTimeout:
        """What the caller gets; a binding that says it itself, because it was told, can name its host."""
        if isinstance(cause, BackendTimeout):
            return cause
        late = BackendTimeout(f"the answer took longer than the deadline of {self._limit:g} s")
        late.__cause__ = cause
        return late

    def _ruled(self, verdict: Exception) -> Exception:
        self._ruling = verdict
        return verdict

    def done(self) -> None:
        """The backend has nothing more to say.

        Raises:
            StreamInterrupted: it never said that the answer is complete, and nobody cancelled.
            BackendTimeout: it stopped because the deadline has come.
            InvalidOutput: the answer is not what ``response_format`` or ``tool_choice`` asked for.
        """
        request = self.request
        cancelled = request.cancelled  # looked at once: it may be set at any moment
        if self._late:
            raise self._ruled(self._too_late())
        if self._backend_finish is None and not cancelled:
            raise StreamInterrupted("the backend's answer ended without its end marker")
        demands = request.response_format is not None or request.tool_choice is not None
        if demands and not cancelled:
            self._judge()
        self._end(None)

    def _judge(self) -> None:
        """Whether a whole answer is what was asked for; not every server that takes a demand meets it.

        Raises:
            InvalidOutput: it is something else, or not whole.
        """
        request, calls, text = self.request, self._tool_calls, "".join(self._text)
        reason = _NOT_WHOLE.get(self._told.reason)
        if request.tool_choice not in (None, "auto", "none"):
            wanted = request.chosen_tool
            if not calls or (wanted is not None and any(call.name != wanted for call in calls)):
                what = f"a call of the tool {wanted!r}" if wanted is not None else "a call of a tool"
                reason = reason or (f"it calls {calls[0].name!r}" if calls else "it is text, which breaks tool_choice")
                raise InvalidOutput(f"the answer was to be {what}: {reason}", text=text, reason=reason)
        if request.response_format is None or (calls and reason is None):
            return
        if reason is not None:
            raise InvalidOutput(
                f"the answer does not satisfy the schema {request.response_format.name!r}: {reason}",
                text=text,
                reason=reason,
            )
        self._parsed = request.response_format.parse(text)

    def failed(self, exc: Exception) -> bool:
        """Something raised: True to start again, False if the request was cancelled; else it raises.

        Raises:
            Exception: what the caller gets, with the text so far in ``partial``.
        """
        if self.ended:
            raise exc
        if self._late and exc is not self._ruling:
            exc = self._ruled(self._too_late(exc))
        if self.request.cancelled and exc is not self._ruling:
            # What breaks because the caller ended the request is no error of the backend's.
            self._end(None)
            return False
        error = self._translate(exc)
        if self._chain is not None:
            may_retry = not (self._live and self._delivered) and self._retries < MAX_RETRIES
            try:
                verdict = self._chain.on_error(error, may_retry and not self.request.cancelled)
            except LollmsError as refused:
                verdict = refused
            if isinstance(verdict, Retry):
                self._retries += 1
                if isinstance(verdict.request, GenerationRequest):
                    self.request = verdict.request.replace(control=self.request.control)
                self._answer = None
                self._reset()
                return True
            error = verdict
        self.end_with(error)
        raise error

    def end_with(self, error: BaseException) -> None:
        """End with an error; the text so far goes into its ``partial``."""
        self._keep_held_back()
        if isinstance(error, LollmsError) and self._text:
            error.partial = "".join(self._text)
        self._reason = "error"
        self._end(error)

    def close(self) -> None:
        """The caller has left; nothing if the generation has ended already."""
        if not self.ended:
            self.request.control.cancel()
            self._late = False  # who left does not hear of it
            self._end(None)

    def _end(self, error: BaseException | None) -> None:
        if self.ended:
            return
        self.ended = True
        if self._silence is not None:
            self._silence()
        self._keep_held_back()
        # One that is late only now has its whole answer, or its error.
        if self._reason is None and self.request.cancelled and not self._late:
            self._reason = "cancelled"
        if self._begun:
            self._total = time.perf_counter() - self._started
        try:
            if self._chain is not None:
                self._chain.on_finish(lambda: self.completion, error)
        finally:
            if self._on_end is not None:
                self._on_end()

    def _keep_held_back(self) -> None:
        """An answer that was left in the middle of what may be a tag: that is part of it all the same."""
        thinking, self._thinking = self._thinking, None
        if thinking is not None:
            for event in thinking.flush():
                self._add(event)

    # What is left ---------------------------------------------------------------------------------------

    @property
    def completion(self) -> Completion:
        """What the caller has got until now; without a ``finish_reason`` before the end."""
        finish = self._told
        return Completion(
            text="".join(self._text),
            reasoning="".join(self._reasoning),
            tool_calls=list(self._tool_calls),
            parsed=self._parsed,
            logprobs=list(self._logprobs),
            finish_reason=self._finish_reason,
            usage=self._usage,
            model=finish.model or self.request.model or self._model,
            id=finish.id,
            timings=Timings(self._first, self._total),
            ignored=self._ignored,
            raw=finish.raw,
            provider=finish.provider,
        )

    @property
    def _told(self) -> Finish:
        """The end as the caller got it, or else as the backend told it."""
        return self._finish or self._backend_finish or Finish()

    @property
    def _finish_reason(self) -> FinishReason | None:
        if not self.ended:
            return None  # the backend may have said why it ends, and still break before it has
        reason = self._reason or self._told.reason
        # Some servers say "stop" to both.
        return "tool_calls" if reason == "stop" and self._tool_calls else reason

    def _add(self, event: Event) -> None:
        kind = type(event)
        if self._first is None and kind in (TextDelta, ReasoningDelta, ToolCall):
            self._first = time.perf_counter() - self._started
        if kind is TextDelta:
            self._text.append(event.text)  # type: ignore[attr-defined]
        elif kind is ReasoningDelta:
            self._reasoning.append(event.text)  # type: ignore[attr-defined]
        elif isinstance(event, ToolCall):
            self._tool_calls.append(event)
        elif isinstance(event, TokenLogprob):
            self._logprobs.append(event)
        elif isinstance(event, Usage):
            self._usage = self._usage.updated(event)
        elif isinstance(event, Finish):
            self._finish = event


class Pushed:
    """Where a backend that calls us puts its events.

    What is raised here travels through the backend's own code, which may swallow it; so it is kept.
    """

    def __init__(self, generation: Generation, sink: Sink | None) -> None:
        self._generation = generation
        self._sink = sink
        self._by_sink: BaseException | None = None
        self._by_rules: Exception | None = None

    def emit(self, event: Event) -> bool:
        control = self._generation.request.control
        try:
            passed = self._generation.feed(event)
        except Exception as exc:
            self._by_rules = exc
            control.cancel()
            raise
        for out in passed:
            if self._sink is None or control.cancelled:
                continue
            try:
                more = self._sink(out)
            except BaseException as exc:
                self._by_sink = exc
                control.cancel()
                raise
            if not more:
                control.cancel()
        return not control.cancelled

    def emit_all(self, events: Iterable[Event]) -> None:
        for event in events:
            if not self.emit(event):
                break

    def settle(self) -> None:
        """The backend has returned."""
        kept = self._by_sink or self._by_rules
        if kept is not None:
            raise kept
        self._generation.done()

    def failed(self, exc: Exception) -> bool:
        """True to start again; else raises what the caller gets, or returns False if it was cancelled."""
        if self._by_sink is not None:
            self._generation.end_with(self._by_sink)
            raise self._by_sink
        return self._generation.failed(self._by_rules or exc)


def push(generation: Generation, produce: Callable[[GenerationRequest, Emit], None], sink: Sink | None) -> Completion:
    """Run a backend that calls us with its events; `sink` gets the caller's.

    What the sink raises ends the request and goes to the caller as it is, even if the backend swallows it.
    """
    pushed = Pushed(generation, sink)
    try:
        again = True
        while again:
            try:
                answer = generation.begin()
                if answer is None:
                    produce(generation.request, pushed.emit)
                else:
                    pushed.emit_all(answer)
                pushed.settle()
                again = False
            except Exception as exc:
                again = pushed.failed(exc)
    finally:
        generation.close()
    return generation.completion


def pull(generation: Generation, source: Callable[[GenerationRequest], Iterable[Event]]) -> Iterator[Event]:
    """The caller's events of a backend that we iterate; closing this generator closes the backend's."""
    generation.reader = threading.current_thread()
    stopped, feed = generation.stopped, generation.feed
    try:
        again = True
        while again:
            try:
                answer = generation.begin()
                if not stopped():
                    events = source(generation.request) if answer is None else answer
                    try:
                        for event in events:
                            if stopped():
                                break
                            yield from feed(event)
                            if stopped():
                                break
                    finally:
                        close_events(events)
                generation.done()
                again = False
            except Exception as exc:
                again = generation.failed(exc)
    finally:
        generation.close()


def close_events(events: object) -> None:
    """Close an iterator of events if it can be closed."""
    close = getattr(events, "close", None)
    if close is not None:
        close()
