"""Bindings that the tests share: the smallest ones that fulfil the contract."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, TypedDict

from lollms_core.binding import LollmsLLMBinding
from lollms_core.capabilities import Capability
from lollms_core.event_binding import EventBinding
from lollms_core.events import MSG_TYPE, Event, Finish, ReasoningDelta, TextDelta, Usage
from lollms_core.middleware import Attached, Middleware
from lollms_core.request import EmbedRequest, GenerationRequest

WORDS = ["The ", "sky ", "is ", "blue."]


class EightMethods(LollmsLLMBinding):
    """Nothing but the eight methods; answers with `words` and keeps what it was called with."""

    def __init__(self, words: list[str] | None = None, **defaults: Any) -> None:
        super().__init__(binding_name="eight", **defaults)
        self.words = words if words is not None else WORDS
        self.calls: list[dict[str, Any]] = []
        self.stopped_after: int | None = None

    def generate_text(
        self,
        prompt: str,
        images: Any = None,
        system_prompt: str = "",
        n_predict: int | None = None,
        stream: bool | None = None,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        repeat_penalty: float | None = None,
        repeat_last_n: int | None = None,
        seed: int | None = None,
        n_threads: int | None = None,
        ctx_size: int | None = None,
        streaming_callback: Callable[[str, MSG_TYPE], bool | None] | None = None,
        split: bool = False,
        user_keyword: str = "!@>user:",
        ai_keyword: str = "!@>assistant:",
    ) -> str | dict[str, Any]:
        self.calls.append({name: value for name, value in locals().items() if name != "self"})
        text = ""
        for number, word in enumerate(self.words):
            text += word
            if streaming_callback is not None and streaming_callback(word, MSG_TYPE.MSG_TYPE_CHUNK) is False:
                self.stopped_after = number + 1
                break
        return text

    def tokenize(self, text: str) -> list[Any]:
        return text.split()

    def detokenize(self, tokens: list[Any]) -> str:
        return " ".join(tokens)

    def count_tokens(self, text: str) -> int:
        return len(self.tokenize(text))

    def embed(self, text: str | list[str], **kwargs: Any) -> list[Any]:
        return [float(len(text))] if isinstance(text, str) else [[float(len(one))] for one in text]

    def get_model_info(self) -> dict[str, Any]:
        return {"binding_name": self.binding_name}

    def listModels(self) -> list[Any]:
        return [{"model_name": "words"}]

    def load_model(self, model_name: str) -> bool:
        return model_name == "words"


class WordOptions(TypedDict, total=False):
    """Options of the event bindings below."""

    shout: bool


class Events(EventBinding):
    """Answers with `script`: events, or exceptions to raise in their place."""

    capabilities = frozenset({Capability.TEXT, Capability.CHAT, Capability.STREAM, Capability.EMBED})
    options = WordOptions
    uses = frozenset({"n_predict", "temperature"})

    def __init__(self, script: list[Event | Exception] | None = None, **defaults: Any) -> None:
        super().__init__(binding_name="events", **defaults)
        self.script = script if script is not None else answer(*WORDS)
        self.requests: list[GenerationRequest | EmbedRequest] = []
        self.open = 0
        self.yielded = 0

    def _events(self, request: GenerationRequest) -> Iterator[Event]:
        self.requests.append(request)
        self.open += 1
        try:
            for event in self.script:
                if request.cancelled:
                    return
                if isinstance(event, Exception):
                    raise event
                self.yielded += 1
                yield event
        finally:
            self.open -= 1

    def _embed(self, request: EmbedRequest) -> list[list[float]]:
        self.requests.append(request)
        return [[float(len(text))] for text in request.texts]


class AsyncEvents(Events):
    """The same with native async."""

    capabilities = Events.capabilities | {Capability.ASYNC}

    async def _aevents(self, request: GenerationRequest) -> AsyncIterator[Event]:
        for event in self._events(request):
            yield event


def answer(*words: str, thought: str = "") -> list[Event | Exception]:
    """A whole answer as events."""
    thoughts: list[Event | Exception] = [ReasoningDelta(thought)] if thought else []
    return [*thoughts, *map(TextDelta, words), Usage(3, len(words)), Finish("stop", model="m1", id="id1")]


class Hooks:
    """Attaches what `make` gives for each request."""

    def __init__(self, *makes: Callable[[], Middleware]) -> None:
        self.makes = makes

    def __bool__(self) -> bool:
        return bool(self.makes)

    def middlewares(self, request: GenerationRequest | EmbedRequest) -> list[Attached]:
        return [Attached(make(), f"test {number}") for number, make in enumerate(self.makes)]


class Recorder(Middleware):
    """Writes down what it sees; one recorder for all its requests."""

    def __init__(self, log: list[Any], name: str = "") -> None:
        self.log = log
        self.name = name

    def on_request(self, request: Any) -> Any:
        self.log.append(f"{self.name}request")
        return request

    def on_event(self, event: Event) -> list[Event]:
        self.log.append(f"{self.name}{type(event).__name__}")
        return [event]

    def on_error(self, exc: Exception) -> None:
        self.log.append(f"{self.name}error {type(exc).__name__}")

    def on_finish(self, completion: Any, error: Any) -> None:
        self.log.append(f"{self.name}finish {getattr(completion, 'finish_reason', None)} {type(error).__name__}")
