"""Bindings that keep every promise of the contract, for mutants to break one."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, TypedDict

from lollms_core.binding import LollmsLLMBinding
from lollms_core.capabilities import Capability
from lollms_core.errors import ModelNotFound
from lollms_core.event_binding import EventBinding
from lollms_core.events import (
    MSG_TYPE,
    Event,
    Finish,
    Progress,
    ReasoningDelta,
    TextDelta,
    TokenLogprob,
    ToolCall,
    Usage,
)
from lollms_core.messages import text_of
from lollms_core.request import EmbedRequest, GenerationRequest
from lollms_core.testing.parrot import Said, Wanted, answer, vector_of

MODEL = "parrot"


class Plain(LollmsLLMBinding):
    """Nothing but the eight methods; says the prompt's words backwards."""

    def __init__(self, **defaults: Any) -> None:
        super().__init__(binding_name="plain", **{"model_name": MODEL, **defaults})

    def generate_text(  # type: ignore[override]  # what it has no use for, it leaves out
        self,
        prompt: str,
        system_prompt: str = "",
        n_predict: int | None = None,
        stream: bool | None = None,
        streaming_callback: Callable[[str, MSG_TYPE], Any] | None = None,
        split: bool = False,
        user_keyword: str = "!@>user:",
        ai_keyword: str = "!@>assistant:",
    ) -> str | dict[str, Any]:
        text = ""
        for word in (prompt.split() or ["nothing"])[::-1][:n_predict]:
            piece = f" {word}" if text else word
            text += piece
            if streaming_callback is not None and streaming_callback(piece, MSG_TYPE.MSG_TYPE_CHUNK) is False:
                break
        return text

    def tokenize(self, text: str) -> list[Any]:
        return list(text.encode())

    def detokenize(self, tokens: list[Any]) -> str:
        return bytes(tokens).decode()

    def count_tokens(self, text: str) -> int:
        return len(self.tokenize(text))

    def embed(self, text: str | list[str], **kwargs: Any) -> list[Any]:
        return vector_of(text) if isinstance(text, str) else [vector_of(one) for one in text]

    def get_model_info(self) -> dict[str, Any]:
        return {
            "binding_name": self.binding_name,
            "model_name": self.model_name,
            "loaded": True,
            "ctx_size": None,
            "supports": sorted(able.value for able in self.capabilities),
            "parameters": dict(self.defaults),
        }

    def listModels(self) -> list[Any]:
        return [{"model_name": MODEL}]

    def load_model(self, model_name: str) -> bool:
        if not isinstance(model_name, str):
            raise TypeError(f"model_name must be a str, not {type(model_name).__name__}")
        self.last_error = None if model_name == MODEL else f"there is no model {model_name!r}"
        return self.last_error is None


class EventedOptions(TypedDict, total=False):
    """The options of :class:`Evented`."""

    shout: bool


class Evented(EventBinding):
    """Everything that a binding can do, by the parrot."""

    capabilities = frozenset(Capability)
    options = EventedOptions
    uses = frozenset({"model", "n_predict", "stop", "seed", "temperature"})

    def __init__(self, service_key: str | None = None, **defaults: Any) -> None:
        super().__init__(binding_name="evented", **{"model_name": MODEL, **defaults})
        self._key = service_key is not None

    def _events(self, request: GenerationRequest) -> Iterator[Event]:
        for event in self._answer(request):
            if request.cancelled:
                return
            yield event

    async def _aevents(self, request: GenerationRequest) -> AsyncIterator[Event]:
        for event in self._answer(request):
            await asyncio.sleep(0)
            yield event

    def _answer(self, request: GenerationRequest) -> Iterator[Event]:
        if request.model not in (None, MODEL):
            raise ModelNotFound(f"the binding {self.binding_name!r} has no model {request.model!r}")
        return self._write(self._think(self._wanted(request)))

    def _wanted(self, request: GenerationRequest) -> Wanted:
        messages = [{**one, "content": text_of(one["content"] or "")} for one in request.to_messages()]
        forced = request.tool_choice not in (None, "auto", "none")
        words = " ".join(one["content"] for one in messages)
        if request.temperature:
            words += f" {random.Random(request.seed).random()}"  # noqa: S311 - this is what a seed decides
        return Wanted(
            messages=[*messages[:-1], {**messages[-1], "content": words}],
            n_predict=request.n_predict,
            stop=request.stop or (),
            tools={tool.name: tool.definition["function"]["parameters"] for tool in request.tools or ()},
            must_call=(request.chosen_tool or "") if forced else None,
            schema=request.response_format.schema if request.response_format is not None else None,
            think=bool(request.think),
            logprobs=None if not request.logprobs else int(request.logprobs),
        )

    def _think(self, wanted: Wanted) -> Said:
        return answer(wanted)

    def _write(self, said: Said) -> Iterator[Event]:
        if said.thought:
            yield ReasoningDelta(said.thought)
        for piece in said.pieces:
            if said.logprobs is not None:
                yield TokenLogprob(piece, -0.5, tuple((f"{piece}{n}", -0.5 - n) for n in range(said.logprobs)))
            yield TextDelta(piece)
        for number, (name, arguments) in enumerate(said.calls):
            yield ToolCall(f"call_{number}", name, json.dumps(arguments))
        yield Usage(said.prompt_tokens, max(1, len(said.pieces)))
        yield Finish(said.reason, model=MODEL)  # type: ignore[arg-type]  # the parrot's are among them

    def _embed(self, request: EmbedRequest) -> list[list[float]]:
        return [vector_of(text) for text in request.texts]

    def _pull(self, model_name: str, control: Any) -> Iterator[Progress]:
        yield Progress("pulling", 1, 2)
        yield Progress("pulling", 2, 2)

    def tokenize(self, text: str) -> list[int]:
        if not isinstance(text, str):
            raise TypeError(f"text must be a str, not {type(text).__name__}")
        return list(text.encode())

    def detokenize(self, tokens: list[int]) -> str:
        return bytes(tokens).decode()

    def listModels(self) -> list[Any]:
        return [{"model_name": MODEL}]

    def load_model(self, model_name: str) -> bool:
        return self._tried(model_name, lambda: self._find(model_name))

    def _find(self, model_name: str) -> None:
        if model_name != MODEL:
            raise ModelNotFound(f"there is no model {model_name!r}")
