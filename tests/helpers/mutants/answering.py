"""Bindings that answer otherwise than they should."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from conformant import MODEL, Evented

from lollms_core.capabilities import Capability
from lollms_core.errors import ImageError
from lollms_core.events import MSG_TYPE, Completion, Event, ReasoningDelta, TextDelta, TokenLogprob, ToolCall
from lollms_core.request import EmbedRequest, GenerationRequest
from lollms_core.testing.parrot import Said, Wanted
from mutants.registry import mutant

Callback = Callable[[str, MSG_TYPE], Any]


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
