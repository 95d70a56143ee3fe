"""Bindings that make something else of what they are given."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from conformant import MODEL, Evented, Plain

from lollms_core.capabilities import Capability
from lollms_core.errors import BackendError, CapabilityNotSupported, ImageError, LollmsError
from lollms_core.events import MSG_TYPE, Completion, Event, Finish, TextDelta
from lollms_core.request import GenerationRequest
from lollms_core.testing.parrot import Said, Wanted
from mutants.registry import mutant

Callback = Callable[[str, MSG_TYPE], Any]


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
