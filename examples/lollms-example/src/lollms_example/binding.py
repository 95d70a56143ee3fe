"""The binding: from the contract of lollms-core to the model and back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, TypedDict

from lollms_core import (
    Capability,
    EmbedRequest,
    Event,
    EventBinding,
    Finish,
    GenerationRequest,
    ModelNotFound,
    TextDelta,
    Usage,
)
from lollms_example.model import ORDERS, LanguageModel, Sampling, embedding, load, model_names

__all__ = ["ExampleBinding", "ExampleOptions"]

MAX_TOKENS = 256
EMBEDDING_SIZE = 256


class ExampleOptions(TypedDict, total=False):
    """The binding's own options, for its constructor and for each call.

    Attributes:
        order: how many tokens the model looks at, the next one included: 1, 2 or 3 (the default).
    """

    order: int


class ExampleBinding(EventBinding):
    """A word n-gram model in this process, trained on a text about bees or one about tides.

    A conversation is joined to one text. If it ends with a whole sentence the model writes a new paragraph, else it
    continues the sentence; the rarer words of the conversation become likelier. Where a parameter is None:
    temperature 0.6, top_k 40, top_p 0.95, n_predict 256, and a random seed. There is no limit to the context.

    Args:
        binding_name: the name shown in messages.
        model_name: "bees" (the default) or "tides".
        **defaults: request fields and :class:`ExampleOptions`.

    Raises:
        TypeError, ValueError: an unknown keyword, or a value of the wrong type or out of range.
        ModelNotFound: there is no such model.
    """

    # What is declared works, what is not declared raises CapabilityNotSupported: the base class sees to the latter.
    capabilities: ClassVar[frozenset[Capability]] = frozenset(
        {Capability.TEXT, Capability.CHAT, Capability.STREAM, Capability.EMBED, Capability.TOKENIZE}
    )
    options: ClassVar[type] = ExampleOptions
    # What else a caller sets is in Completion.ignored.
    uses: ClassVar[frozenset[str]] = frozenset({"model", "n_predict", "seed", "stop", "temperature", "top_k", "top_p"})

    def __init__(self, binding_name: str = "example", *, model_name: str | None = None, **defaults: Any) -> None:
        super().__init__(binding_name, **defaults)
        _check_order(self.defaults.get("order"))
        name = "bees" if model_name is None else model_name
        self._model = self._loaded(name)
        self.model_name = name

    # Generating and embedding ---------------------------------------------------------------------------

    def _events(self, request: GenerationRequest) -> Iterator[Event]:
        model = self._model_of(request.model)
        prompt = model.tokenize("\n".join(_text_of(message) for message in request.to_messages()))
        most = request.n_predict or MAX_TOKENS
        stops = Stops(request.stop or ())
        tokens = model.generate(prompt, _sampling_of(request))
        written, ended = 0, False
        while written < most and not ended:
            if request.cancelled:
                return
            text = next(tokens, None)
            if text is None:
                ended = True
                break
            written += 1
            shown = stops.feed(text)
            if shown:
                yield TextDelta(shown)
            ended = stops.found
        if rest := stops.rest():
            yield TextDelta(rest)
        yield Usage(prompt_tokens=len(prompt), completion_tokens=written)
        yield Finish("stop" if ended else "length", model=request.model or self.model_name)

    def _embed(self, request: EmbedRequest) -> list[list[float]]:
        self._model_of(request.model)  # all models have the same vectors, but an unknown one has none
        return [embedding(text, request.dimensions or EMBEDDING_SIZE) for text in request.texts]

    def _checked(self, request: GenerationRequest, kind: Capability) -> GenerationRequest:
        """Here misuse is found before the request begins; the base class checks the contract's own parameters."""
        request = super()._checked(request, kind)
        _check_order(request.options.get("order"))
        return request

    # Tokens ---------------------------------------------------------------------------------------------

    def tokenize(self, text: str) -> list[int]:
        """The tokens of `text` in the model in use.

        Raises:
            TypeError, ValueError: `text` is no str, or holds a lone surrogate.
        """
        if not isinstance(text, str):
            raise TypeError(f"text must be a str, not {type(text).__name__}")
        return self._model.tokenize(text)

    def detokenize(self, tokens: list[int]) -> str:
        """The text of `tokens`; bytes that are no character become U+FFFD.

        Raises:
            TypeError, ValueError: a token is no int, or not in the vocabulary.
        """
        model = self._model
        for token in tokens:
            if isinstance(token, bool) or not isinstance(token, int):
                raise TypeError(f"a token must be an int, not {token!r}")
            if not 0 <= token < model.size:
                raise ValueError(f"{token} is no token of this model, which has the tokens 0 to {model.size - 1}")
        return model.detokenize(tokens)

    # Models ---------------------------------------------------------------------------------------------

    def get_model_info(self) -> dict[str, Any]:
        """The contract's keys; ``ctx_size`` is None, as there is no limit, and so is ``path``."""
        known = {"loaded": not self._closed, "ctx_size": None, "path": None, "n_vocab": self._model.size}
        return {**super().get_model_info(), **known}

    def listModels(self) -> list[dict[str, Any]]:
        """The models, sorted by name; each is a dict with model_name."""
        return [{"model_name": name} for name in model_names()]

    def load_model(self, model_name: str) -> bool:
        """Make `model_name` the model in use; False, with the reason in ``last_error``, if there is no such model."""

        def load_it() -> None:
            # What runs on the old model goes on with it.
            self._model = self._loaded(model_name)
            self.model_name = model_name

        return self._tried(model_name, load_it)

    def _model_of(self, name: str | None) -> LanguageModel:
        return self._model if name in {None, self.model_name} else self._loaded(str(name))

    def _loaded(self, name: str) -> LanguageModel:
        if not isinstance(name, str):
            raise TypeError(f"model_name must be a str, not {type(name).__name__}")
        known = model_names()
        if name not in known:
            raise ModelNotFound(f"the binding {self.binding_name!r} has no model {name!r}; it has {', '.join(known)}")
        return load(name)


class Stops:
    """Takes a text in pieces and cuts it before the first stop string; keeps back what may be the beginning of one."""

    def __init__(self, stops: tuple[str, ...]) -> None:
        self._stops = stops
        self._kept = ""
        self.found = False

    def feed(self, piece: str) -> str:
        """What of the text up to now can be given to the caller."""
        text = self._kept + piece
        places = [place for stop in self._stops if (place := text.find(stop)) >= 0]
        if places:
            self.found, self._kept = True, ""
            return text[: min(places)]
        begun = max((self._begun(text, stop) for stop in self._stops), default=0)
        self._kept = text[len(text) - begun :]
        return text[: len(text) - begun]

    def rest(self) -> str:
        """What was kept back, when nothing follows."""
        kept, self._kept = self._kept, ""
        return kept

    @staticmethod
    def _begun(text: str, stop: str) -> int:
        """How many characters at the end of `text` are a beginning of `stop`."""
        longest = min(len(text), len(stop) - 1)
        return next((length for length in range(longest, 0, -1) if text.endswith(stop[:length])), 0)


def _sampling_of(request: GenerationRequest) -> Sampling:
    """What a request asks for, the model's own defaults where it says nothing."""
    given = {
        "temperature": request.temperature,
        "top_k": request.top_k,
        "top_p": request.top_p,
        "seed": None if request.seed == -1 else request.seed,
        "order": request.options.get("order"),
    }
    return Sampling(**{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]


def _text_of(message: dict[str, Any]) -> str:
    """The text of a message, whose content is a str or a list of parts."""
    content = message.get("content") or ""
    return content if isinstance(content, str) else "".join(str(part.get("text", "")) for part in content)


def _check_order(order: object) -> None:
    if order is None:
        return
    if isinstance(order, bool) or not isinstance(order, int):
        raise TypeError(f"order must be a whole number, not {order!r}")
    if order not in ORDERS:
        raise ValueError(f"order must be {ORDERS[0]} to {ORDERS[-1]}, not {order}")
