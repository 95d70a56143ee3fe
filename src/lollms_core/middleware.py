"""What may stand around a generation or an embedding, and the guard that keeps it from breaking one.

A :class:`Middleware` is push-style and does no I/O, so that one object serves sync and async. A
:class:`Chain` calls the middlewares of one request, one by one: one that fails is reported and left out
of this request. Three exceptions: a raised :class:`~lollms_core.errors.Refused` is obeyed, one that
is ``required`` fails closed, and Ctrl-C goes through to the user. Nothing else does, whatever its base
class: a middleware runs between two steps of the caller's, where nothing from outside can be raised in it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from numbers import Real
from typing import Any, NamedTuple, NoReturn, TypeVar

from lollms_core.discovery.reports import one_line
from lollms_core.errors import LollmsError, Refused
from lollms_core.events import Completion, Event
from lollms_core.request import EmbedRequest, GenerationRequest

__all__ = ["Attached", "Chain", "Middleware", "Retry", "is_required"]

_log = logging.getLogger(__name__)
_R = TypeVar("_R", GenerationRequest, EmbedRequest)

MAX_ANSWER_EVENTS = 100_000
"""Most events that one middleware may give in one answer; more is taken for an endless iterable."""


@dataclass(frozen=True, slots=True)
class Retry:
    """An answer of :meth:`Middleware.on_error`: ask the backend again, with `request` if it is given.

    Honoured only before the first event has reached the caller, and a bounded number of times.
    """

    request: GenerationRequest | EmbedRequest | None = None


class Middleware:
    """Stands around one generation or embedding; one object per request. Override what you need.

    ``required = True`` makes it a guard: when it fails, the request is refused instead of going on without it.
    """

    required: bool = False

    def on_request(self, request: Any) -> Any:
        """The request to send on: this one, or a changed one (``request.replace(...)``).

        An iterable of events instead answers in the backend's place (for an EmbedRequest: a list of
        vectors, one for each text), and neither the backend nor later middlewares see the request.
        """
        return request

    def on_event(self, event: Event) -> Iterable[Event]:
        """What the caller gets in place of `event`; only called for generations.

        The last event is a Finish: what is held back must be let go there. After a Retry they begin anew.
        """
        return (event,)

    def on_error(self, exc: Exception) -> Retry | LollmsError | None:
        """A Retry, another error for the caller, or None to leave it as it is."""
        return None

    def on_finish(self, completion: Completion | None, error: BaseException | None) -> None:
        """Called exactly once at the end of every request that on_request saw, also of a cancelled one.

        `completion` is what the caller got, None for an embedding.
        """


class Attached(NamedTuple):
    """A middleware, who supplied it (for reports), and whether the operator requires it, whatever it says itself."""

    middleware: Middleware
    origin: str
    required: bool = False


def is_required(hook: object) -> bool:
    """Whether a hook or a middleware calls itself ``required``; one that fails even at that is taken for a guard."""
    try:
        return bool(getattr(hook, "required", False))  # any object with the right methods may serve
    except KeyboardInterrupt:
        raise
    except BaseException:
        return True


class Chain:
    """The middlewares of one request. on_request runs in registration order, the others in reverse.

    Attributes:
        quiet: after an event, whether no middleware wants to see any.
        only: after an event, the on_event of the one middleware that wants to see events, None if it is not one. Who
            has many events calls it without the way around, and gives :meth:`checked` what it gave, or
            :meth:`failed` what it raised.
    """

    def __init__(self, attached: Sequence[Attached]) -> None:
        self._waiting = list(attached)
        self._entered: list[Attached] = []  # had their on_request: they get on_finish
        self._failed: set[int] = set()  # places in _entered
        self._watchers: list[tuple[int, Callable[[Event], Iterable[Event]]]] | None = None  # innermost first
        self.quiet = False
        self.only: Callable[[Event], Iterable[Event]] | None = None

    def on_request(self, request: _R) -> tuple[_R, list[Any] | None]:
        """The request for the backend, and the answer of a middleware if one took the backend's place.

        Raises:
            Refused: a middleware refused, or a required one failed.
        """
        for attached in self._waiting:
            self._entered.append(attached)
            place = len(self._entered) - 1
            try:
                result = attached.middleware.on_request(request)
                if not isinstance(result, (GenerationRequest, EmbedRequest)):
                    return request, _checked_answer(request, result)
                if type(result) is not type(request):
                    raise TypeError(f"on_request returned a {type(result).__name__} for a {type(request).__name__}")
            except BaseException as exc:
                self._left_out(place, "on_request", exc)
                continue
            # A request that was built anew must still hear of the caller's cancel.
            request = result if result.control is request.control else result.replace(control=request.control)
        return request, None

    def on_event(self, event: Event) -> Sequence[Event]:
        """What remains of `event` outside of the outermost middleware.

        Raises:
            Refused: a middleware refused, or a required one failed.
        """
        if self._watchers is None:
            # Until the first event, or after one has failed, nobody knows who wants to see events.
            self._watchers = [found for place in self._inside_out() if (found := self._watcher(place))]
            if len(self._watchers) == 1:
                self.only = self._watchers[0][1]
            self.quiet = not self._watchers
        only = self.only
        if only is not None:
            try:
                return _checked_events(only(event))
            except BaseException as exc:
                return self.failed(event, exc)
        events: Sequence[Event] = (event,)
        for place, on_event in self._watchers:
            events = self._each(events, place, on_event)
        return events

    def checked(self, event: Event, given: Any) -> Sequence[Event]:
        """What remains of `event` if `given` is what :attr:`only` gave for it.

        Raises:
            Refused: as for :meth:`on_event`.
        """
        try:
            return _checked_events(given)
        except BaseException as exc:
            return self.failed(event, exc)

    def failed(self, event: Event, exc: BaseException) -> Sequence[Event]:
        """What remains of `event` if :attr:`only` raised `exc` over it; it is left out from now on.

        Raises:
            Refused: as for :meth:`on_event`.
        """
        assert self._watchers is not None
        self._left_out(self._watchers[0][0], "on_event", exc)
        return (event,)

    def _each(
        self, events: Sequence[Event], place: int, on_event: Callable[[Event], Iterable[Event]]
    ) -> Sequence[Event]:
        """What one middleware leaves of several events, or of none."""
        passed: list[Event] = []
        for number, inner in enumerate(events):
            try:
                passed += _checked_events(on_event(inner))
            except BaseException as exc:
                self._left_out(place, "on_event", exc)
                passed += events[number:]
                break
        return passed

    def on_error(self, error: Exception, may_retry: bool) -> Exception | Retry:
        """The error for the caller, or the first Retry that a middleware asks for if `may_retry`.

        Raises:
            Refused: a middleware refused, or a required one failed.
        """
        for place in self._inside_out():
            try:
                verdict = self._entered[place].middleware.on_error(error)
                if not (verdict is None or isinstance(verdict, (Retry, LollmsError))):
                    raise TypeError(f"on_error returned a {type(verdict).__name__}")
            except BaseException as exc:
                self._left_out(place, "on_error", exc)
                continue
            if isinstance(verdict, Retry):
                if may_retry:
                    return verdict
            elif verdict is not None and verdict is not error:
                if verdict.__cause__ is None:
                    verdict.__cause__ = error
                error = verdict
        return error

    def on_finish(self, completion: Callable[[], Completion | None], error: BaseException | None) -> None:
        """Tell all that the request has reached; of what they raise, Ctrl-C alone gets out, once all are told.

        `completion` is called if somebody wants to know: an inherited on_finish need not be.
        """
        entered, self._entered, self._waiting = self._entered, [], []
        interrupt: KeyboardInterrupt | None = None
        told: list[Completion | None] = []
        for attached in reversed(entered):
            try:
                on_finish = attached.middleware.on_finish
                if getattr(on_finish, "__func__", None) is Middleware.on_finish:
                    continue
                if not told:
                    told.append(completion())
                on_finish(told[0], error)
            except KeyboardInterrupt as exc:
                interrupt = exc
            except BaseException as exc:
                _report(attached, "on_finish", exc)
        if interrupt is not None:
            raise interrupt

    def _watcher(self, place: int) -> tuple[int, Callable[[Event], Iterable[Event]]] | None:
        """The on_event of a middleware, None if it need not be called: the inherited one passes everything on."""
        try:
            on_event = self._entered[place].middleware.on_event
            if getattr(on_event, "__func__", None) is Middleware.on_event:
                return None
        except BaseException as exc:
            self._left_out(place, "on_event", exc)
            return None
        return place, on_event

    def _inside_out(self) -> list[int]:
        return [place for place in reversed(range(len(self._entered))) if place not in self._failed]

    def _left_out(self, place: int, method: str, exc: BaseException) -> None:
        attached = self._entered[place]
        self._failed.add(place)
        self._watchers = self.only = None
        if isinstance(exc, (Refused, KeyboardInterrupt)):
            raise exc
        if attached.required or is_required(attached.middleware):
            _fail_closed(attached, method, exc)
        _report(attached, method, exc)


def _fail_closed(attached: Attached, method: str, exc: BaseException) -> NoReturn:
    raise Refused(
        f"the request was refused because a required guard failed: {method} of "
        f"{type(attached.middleware).__name__} ({attached.origin}) raised {one_line(exc)}"
    ) from exc


def _report(attached: Attached, method: str, exc: BaseException) -> None:
    _log.warning(
        "%s of the middleware %s (%s) failed and is left out of this request: %s",
        method,
        type(attached.middleware).__name__,
        attached.origin,
        one_line(exc),
        exc_info=exc if _log.isEnabledFor(logging.DEBUG) else None,
    )


def _checked_events(result: Any) -> Sequence[Event]:
    # The usual answer, one event, is looked at first: this runs for every event.
    if type(result) in (list, tuple) and len(result) == 1 and isinstance(result[0], Event):
        return result  # type: ignore[no-any-return]
    return _bounded(result, lambda item: isinstance(item, Event), "events")


def _checked_answer(request: GenerationRequest | EmbedRequest, result: Any) -> list[Any]:
    if isinstance(request, GenerationRequest):
        return list(_checked_events(result))
    vectors = _bounded(result, _is_vector, "vectors")
    if len(vectors) != len(request.texts):
        raise ValueError(f"on_request answered {len(request.texts)} texts with {len(vectors)} vectors")
    return vectors


def _is_vector(item: Any) -> bool:
    return isinstance(item, (list, tuple)) and all(isinstance(number, Real) for number in item)


def _bounded(result: Any, good: Callable[[Any], bool], what: str) -> list[Any]:
    if isinstance(result, (str, bytes)) or not isinstance(result, Iterable):
        raise TypeError(f"expected an iterable of {what}, got {type(result).__name__}")
    items = list(islice(result, MAX_ANSWER_EVENTS + 1))
    if len(items) > MAX_ANSWER_EVENTS:
        raise ValueError(f"more than {MAX_ANSWER_EVENTS} {what} in one answer")
    for item in items:
        if not good(item):
            raise TypeError(f"expected {what}, got a {type(item).__name__} among them")
    return items
