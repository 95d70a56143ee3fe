"""Bindings with one defect each, by the name of the check that has to find it."""

from __future__ import annotations

import asyncio
import itertools
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from typing import Any

from conformant import MODEL, Evented, Plain

from lollms_core.binding import LollmsLLMBinding
from lollms_core.capabilities import Capability
from lollms_core.errors import BackendError, CapabilityNotSupported, ImageError, LollmsError
from lollms_core.events import MSG_TYPE, Completion, Event, Finish, ReasoningDelta, TextDelta, TokenLogprob, ToolCall
from lollms_core.request import EmbedRequest, GenerationRequest
from lollms_core.testing.parrot import Said, Wanted

Callback = Callable[[str, MSG_TYPE], Any]

MUTANTS: dict[str, list[type[LollmsLLMBinding] | Callable[..., Any]]] = {}
"""The mutants of each check."""


def mutant(check: str) -> Callable[[Any], Any]:
    """Register a binding that `check` has to find."""

    def register(made: Any) -> Any:
        MUTANTS.setdefault(check, []).append(made)
        return made

    return register


# Construction ----------------------------------------------------------------------------------------


@mutant("is_a_binding")
class NoBinding:
    """No binding at all."""

    def __init__(self, **options: Any) -> None:
        pass

    def close(self) -> None:
        pass


_ONE: dict[str, Plain] = {}


@mutant("is_a_binding")
def the_same(**options: Any) -> Plain:
    """One instance for all."""
    return _ONE.setdefault("only", Plain(**options))


@mutant("declarations")
class WidensItself(Evented):
    capabilities = frozenset({Capability.TEXT, Capability.CHAT})

    def capabilities_of(self, model: str | None = None) -> frozenset[Capability]:
        return self.capabilities | {Capability.VISION}


@mutant("declarations")
class UsesMore(Evented):
    uses = Evented.uses | {"mirostat"}


@mutant("unknown_keyword")
class SwallowsKeywords(Plain):
    def __init__(self, **options: Any) -> None:
        super().__init__(**{name: value for name, value in options.items() if not name.startswith("no_such")})


@mutant("common_names")
class RefusesCommonNames(Plain):
    def __init__(self, **options: Any) -> None:
        if "host_address" in options:
            raise TypeError("there is no host here")
        super().__init__(**options)


@mutant("defaults")
class ForgetsDefaults(Plain):
    def __init__(self, **options: Any) -> None:
        super().__init__(**{name: value for name, value in options.items() if name == "model_name"})


@mutant("no_key_shows")
class LogsItsKey(Evented):
    def __init__(self, service_key: str | None = None, **defaults: Any) -> None:
        super().__init__(**defaults)
        logging.getLogger(__name__).debug("connecting with %s", service_key)


@mutant("no_key_shows")
class ShowsItsKey(Evented):
    def __init__(self, service_key: str | None = None, **defaults: Any) -> None:
        super().__init__(**defaults)
        self._told = service_key

    def get_model_info(self) -> dict[str, Any]:
        return {**super().get_model_info(), "service_key": self._told}


# Text ------------------------------------------------------------------------------------------------


@mutant("generate_text")
class GivesBytes(Plain):
    def generate_text(self, prompt: str, **others: Any) -> Any:  # type: ignore[override]
        return prompt.encode()


@mutant("generate_text")
class GivesNothing(Plain):
    def generate_text(self, prompt: str, **others: Any) -> Any:  # type: ignore[override]
        return ""


@mutant("discussion")
class NeedsItsKeywords(Plain):
    def generate_text(  # type: ignore[override]
        self, prompt: str, split: bool = False, user_keyword: str = "!@>user:", **others: Any
    ) -> Any:
        if split and user_keyword != "!@>user:":
            raise BackendError("only this keyword is known")
        return prompt


@mutant("n_predict")
class TalksOn(Evented):
    def _think(self, wanted: Wanted) -> Said:
        return super()._think(replace(wanted, n_predict=None))


@mutant("stop")
class RunsOverStops(Evented):
    def _think(self, wanted: Wanted) -> Said:
        return super()._think(replace(wanted, stop=()))


@mutant("stop")
class KeepsTheStop(Evented):
    def _write(self, said: Said) -> Iterator[Event]:
        *events, end = super()._write(said)
        yield from events
        if isinstance(end, Finish) and end.reason == "stop" and self._stops:
            yield TextDelta(self._stops[0])
        yield end

    def _think(self, wanted: Wanted) -> Said:
        self._stops = wanted.stop
        return super()._think(wanted)


_numbers = itertools.count()


@mutant("seed_repeats")
class ForgetsTheSeed(Evented):
    def _wanted(self, request: GenerationRequest) -> Wanted:
        return super()._wanted(request.replace(seed=next(_numbers)))


@mutant("ignored")
class TellsNothingIgnored(Evented):
    def _ignored(self, request: GenerationRequest) -> tuple[str, ...]:
        return ()


# Callbacks -------------------------------------------------------------------------------------------


@mutant("callback_gets_pieces")
class LosesAPiece(Evented):
    def generate_text(self, *args: Any, streaming_callback: Callback | None = None, **fields: Any) -> Any:
        seen: list[str] = []

        def callback(piece: str, kind: MSG_TYPE) -> Any:
            seen.append(piece)
            return None if len(seen) == 2 or streaming_callback is None else streaming_callback(piece, kind)

        return super().generate_text(*args, streaming_callback=streaming_callback and callback, **fields)


@mutant("callback_gets_pieces")
class TakesNoneForFalse(Evented):
    def generate_text(self, *args: Any, streaming_callback: Callback | None = None, **fields: Any) -> Any:
        def callback(piece: str, kind: MSG_TYPE) -> Any:
            assert streaming_callback is not None
            pieces.append(piece)
            if not streaming_callback(piece, kind):
                stopped.append(True)
                return False
            return True

        pieces: list[str] = []
        stopped: list[bool] = []
        answer = super().generate_text(*args, streaming_callback=streaming_callback and callback, **fields)
        return f"{answer}..." if stopped else answer


@mutant("callback_false_stops")
class GoesOn(Evented):
    def generate_text(self, *args: Any, streaming_callback: Callback | None = None, **fields: Any) -> Any:
        def callback(piece: str, kind: MSG_TYPE) -> None:
            assert streaming_callback is not None
            streaming_callback(piece, kind)

        return super().generate_text(*args, streaming_callback=streaming_callback and callback, **fields)

    generate_text.__lollms_wrapped__ = True  # type: ignore[attr-defined]


@mutant("callback_raises")
class SwallowsTheCallers(Evented):
    def generate_text(self, *args: Any, **fields: Any) -> Any:
        try:
            return super().generate_text(*args, **fields)
        except Exception as error:  # noqa: BLE001 - that is the defect
            return {"status": False, "error": str(error), "error_type": "BackendError", "partial": ""}

    generate_text.__lollms_wrapped__ = True  # type: ignore[attr-defined]


@mutant("stream_wins_over_callback")
class CallsAnyway(Evented):
    def generate_text(self, *args: Any, stream: bool | None = None, **fields: Any) -> Any:
        return super().generate_text(*args, stream=None, **fields)

    generate_text.__lollms_wrapped__ = True  # type: ignore[attr-defined]


@mutant("callback_async")
class DoesNotAwait(Evented):
    async def agenerate_text(self, *args: Any, streaming_callback: Any = None, **fields: Any) -> Any:
        def callback(piece: str, kind: MSG_TYPE) -> None:
            streaming_callback(piece, kind).close()

        return await super().agenerate_text(*args, streaming_callback=callback, **fields)


# Misuse ----------------------------------------------------------------------------------------------


@mutant("wrong_values")
class ReturnsMisuse(Evented):
    def generate_text(self, *args: Any, **fields: Any) -> Any:
        try:
            return super().generate_text(*args, **fields)
        except (TypeError, ValueError) as error:
            return {"status": False, "error": str(error), "error_type": "BadRequest", "partial": ""}

    generate_text.__lollms_wrapped__ = True  # type: ignore[attr-defined]


@mutant("wrong_values")
class TakesAnyTemperature(Evented):
    def chat(self, messages: Any, *, temperature: Any = None, **fields: Any) -> Completion:
        return super().chat(messages, **fields)


@mutant("unknown_parameter")
class TakesAnyName(Evented):
    def _request(self, fields: Any, **what: Any) -> GenerationRequest:
        known = {name: value for name, value in fields.items() if not name.startswith("no_such")}
        return super()._request(known, **what)


@mutant("images_that_are_none")
class LooksLater(Evented):
    def _checked_images(self, images: Any) -> tuple[Any, ...]:
        try:
            return super()._checked_images(images)
        except ImageError as error:
            raise BackendError(str(error)) from error


@mutant("undeclared_raises")
class PassesOver(Evented):
    """Log probabilities are asked for, and not given, without a word."""

    capabilities = Evented.capabilities - {Capability.LOGPROBS}

    def _require(self, needs: Any, model: str | None = None) -> None:
        pass


@mutant("undeclared_raises")
class TokenizesToNothing(Evented):
    capabilities = Evented.capabilities - {Capability.TOKENIZE}

    def tokenize(self, text: str) -> list[int]:
        return []


@mutant("return_or_raise")
class Raises(Evented):
    def generate_text(self, *args: Any, **fields: Any) -> Any:
        answer = super().generate_text(*args, **fields)
        if isinstance(answer, dict):
            raise LollmsError(answer["error"])
        return answer

    generate_text.__lollms_wrapped__ = True  # type: ignore[attr-defined]


@mutant("unknown_model")
class HasItsOwnError(Evented):
    def _answer(self, request: GenerationRequest) -> Iterator[Event]:
        if request.model not in (None, MODEL):
            raise CapabilityNotSupported("no such model")
        return super()._answer(request)


# Answers ---------------------------------------------------------------------------------------------


@mutant("completion")
class CountsBadly(Evented):
    def _write(self, said: Said) -> Iterator[Event]:
        yield from super()._write(replace(said, prompt_tokens=-1))


@mutant("completion")
class EndsWithoutReason(Evented):
    def _write(self, said: Said) -> Iterator[Event]:
        yield from super()._write(replace(said, reason="because"))


@mutant("stream_events")
class FinishesTwice(Evented):
    def stream(self, messages: Any, **fields: Any) -> Any:
        return _Twice(super().stream(messages, **fields))

    stream.__lollms_wrapped__ = True  # type: ignore[attr-defined]


class _Twice:
    """A stream that may be read again, and then tells its end again."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._events: list[Event] | None = None

    def __iter__(self) -> Iterator[Event]:
        self._events = list(self._stream) if self._events is None else self._events
        return iter(self._events)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@mutant("streamed_or_not")
class SaysOtherwise(Evented):
    def _wanted(self, request: GenerationRequest) -> Wanted:
        wanted = super()._wanted(request)
        return wanted if request.stream else replace(wanted, n_predict=3)


@mutant("break_ends_stream")
class LosesThePart(Evented):
    def stream(self, messages: Any, **fields: Any) -> Any:
        return _Losing(super().stream(messages, **fields))

    stream.__lollms_wrapped__ = True  # type: ignore[attr-defined]


class _Losing:
    """A stream that holds nothing unless it was read to its end."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[Event]:
        return iter(self._stream)

    @property
    def completion(self) -> Completion:
        found: Completion = self._stream.completion
        return Completion() if found.finish_reason == "cancelled" else found

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@mutant("hooks_see_each_request_once")
class AsksTwice(Evented):
    def chat(self, messages: Any, **fields: Any) -> Completion:
        super().chat(messages, **fields)
        return super().chat(messages, **fields)

    chat.__lollms_wrapped__ = True  # type: ignore[attr-defined]


# Features --------------------------------------------------------------------------------------------


@mutant("vision")
class TakesBytesAlone(Evented):
    def _load_image(self, source: Any) -> Any:
        if not isinstance(source, bytes):
            raise ImageError("only bytes are taken")
        return super()._load_image(source)


@mutant("tools")
class CallsNobody(Evented):
    def _write(self, said: Said) -> Iterator[Event]:
        for event in super()._write(said):
            yield ToolCall(event.id, event.name, "Oslo") if isinstance(event, ToolCall) else event


@mutant("json_schema")
class FitsAnything(Evented):
    def _think(self, wanted: Wanted) -> Said:
        return super()._think(wanted)

    def chat(self, messages: Any, *, response_format: Any = None, **fields: Any) -> Completion:
        return super().chat(messages, **fields)


@mutant("reasoning")
class ThinksAloud(Evented):
    def _write(self, said: Said) -> Iterator[Event]:
        for event in super()._write(said):
            yield TextDelta(f"So: <think>{event.text}</think>") if isinstance(event, ReasoningDelta) else event


@mutant("logprobs")
class IsMoreThanSure(Evented):
    def _write(self, said: Said) -> Iterator[Event]:
        for event in super()._write(said):
            yield replace(event, logprob=0.5) if isinstance(event, TokenLogprob) else event


@mutant("logprobs")
class GivesNoLogprobs(Evented):
    def _write(self, said: Said) -> Iterator[Event]:
        yield from (event for event in super()._write(said) if not isinstance(event, TokenLogprob))


@mutant("pull")
class PullsSilently(Evented):
    def _pull(self, model_name: str, control: Any) -> Iterator[Any]:
        return iter(())


# Tokens and vectors ----------------------------------------------------------------------------------


@mutant("tokens_round_trip")
class StripsSpaces(Evented):
    def detokenize(self, tokens: list[int]) -> str:
        return super().detokenize(tokens).strip()


@mutant("tokens_round_trip")
class TakesSpecialText(Evented):
    def tokenize(self, text: str) -> list[int]:
        return super().tokenize(text.replace("</s>", ""))


@mutant("tokens_are_counted")
class CountsByFour(Evented):
    def count_tokens(self, text: str) -> int:
        return len(text) // 4


@mutant("tokens_are_counted")
class AddsBos(Evented):
    def tokenize(self, text: str) -> list[int]:
        return [2, *super().tokenize(text)]

    def detokenize(self, tokens: list[int]) -> str:
        return super().detokenize(tokens[1:])


@mutant("embed")
class SortsTexts(Evented):
    def _embed(self, request: EmbedRequest) -> list[list[float]]:
        return sorted(super()._embed(request))


@mutant("embed")
class KnowsOneVector(Evented):
    def _embed(self, request: EmbedRequest) -> list[list[float]]:
        return [[1.0, 0.0] for _ in request.texts]


@mutant("embed_misuse")
class EmbedsAnything(Evented):
    def _embed_request(self, text: Any, kwargs: Any) -> EmbedRequest:
        texts = text if isinstance(text, (list, tuple)) else [text]
        return super()._embed_request([str(one) for one in texts], kwargs)


# Models ----------------------------------------------------------------------------------------------


@mutant("model_info")
class KnowsLittle(Evented):
    def get_model_info(self) -> dict[str, Any]:
        return {"binding_name": self.binding_name}


@mutant("model_info")
class BoastsOfMore(Evented):
    capabilities = frozenset({Capability.TEXT, Capability.CHAT})

    def get_model_info(self) -> dict[str, Any]:
        return {**super().get_model_info(), "supports": ["text", "vision"]}


@mutant("model_list")
class ListsNames(Evented):
    def listModels(self) -> list[Any]:
        return [MODEL]


@mutant("load_model")
class LoadsAnything(Evented):
    """And has lost the old one when it turns out that there is none."""

    def _find(self, model_name: str) -> None:
        self.model_name = model_name
        super()._find(model_name)


@mutant("load_model")
class FailsWithoutAWord(Evented):
    def load_model(self, model_name: str) -> bool:
        return model_name == MODEL

    load_model.__lollms_wrapped__ = True  # type: ignore[attr-defined]


# Many at once, and ends ------------------------------------------------------------------------------


@mutant("threads")
class MixesUp(Evented):
    """Keeps the request in the instance."""

    def _think(self, wanted: Wanted) -> Said:
        self._wanted_now = wanted
        for _ in range(20):
            time.sleep(0.001)  # where another thread comes in between
        return super()._think(self._wanted_now)


@mutant("tasks")
class OneLoopOnly(Evented):
    _loop: Any = None

    async def _aevents(self, request: GenerationRequest) -> AsyncIterator[Event]:
        loop = asyncio.get_running_loop()
        self._loop = self._loop or loop
        if loop is not self._loop:
            raise BackendError("made in another event loop")
        async for event in super()._aevents(request):
            yield event


@mutant("loop_runs_on")
class BlocksTheLoop(Evented):
    async def _aevents(self, request: GenerationRequest) -> AsyncIterator[Event]:
        for event in self._answer(request):
            time.sleep(0.02)  # noqa: ASYNC251 - that is the defect
            yield event


@mutant("cancel")
class CannotBeCancelled(Evented):
    def cancel(self) -> None:
        pass


@mutant("cancel")
class StaysCancelled(Evented):
    _over = False

    def cancel(self) -> None:
        self._over = True
        super().cancel()

    def _answer(self, request: GenerationRequest) -> Iterator[Event]:
        if self._over:
            raise BackendError("this binding was cancelled")
        return super()._answer(request)


@mutant("cancel_from_another_thread")
class HearsItsOwnThreadOnly(Evented):
    def __init__(self, **defaults: Any) -> None:
        super().__init__(**defaults)
        self._thread = threading.current_thread()

    def cancel(self) -> None:
        pass


@mutant("cancelled_task")
class GoesOnWhenCancelled(Evented):
    async def achat(self, messages: Any, **fields: Any) -> Completion:
        task = asyncio.ensure_future(super().achat(messages, **fields))
        while not task.done():
            try:
                await asyncio.sleep(0.001)
                await asyncio.shield(task)
            except asyncio.CancelledError:
                continue
        return task.result()


@mutant("closing")
class ClosesOnce(Evented):
    _done = False

    def close(self) -> None:
        if self._done:
            raise RuntimeError("closed already")
        self._done = True
        super().close()


@mutant("nothing_is_left")
class LeavesAFile(Evented):
    def _answer(self, request: GenerationRequest) -> Iterator[Event]:
        _LEFT.append(open(__file__, "rb"))  # noqa: SIM115, PTH123 - that is the defect
        return super()._answer(request)


_LEFT: list[Any] = []


def close_what_is_left() -> None:
    """Close what the mutants have left open."""
    while _LEFT:
        _LEFT.pop().close()
