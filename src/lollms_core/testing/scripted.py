"""ScriptedBinding: a binding that answers what a test wrote down, for the tests of applications."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import inspect
import math
import re
import threading
import types
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Self, TypeVar

from lollms_core.arguments import COMMON_NAMES
from lollms_core.binding import LollmsLLMBinding
from lollms_core.capabilities import Capability
from lollms_core.errors import CapabilityNotSupported, ModelNotFound
from lollms_core.event_binding import EventBinding
from lollms_core.events import Event
from lollms_core.request import PARAMETERS, EmbedRequest, GenerationRequest
from lollms_core.testing.script import Answer, Script, ScriptError, Wait

__all__ = ["Embeddings", "ScriptedBinding", "stand_in"]

EMBEDDING_SIZE = 64

_S = TypeVar("_S", bound="ScriptedBinding")

Embeddings = Mapping[str, Sequence[float] | Exception] | Callable[[str], Sequence[float]]
"""The vectors of texts, or what is raised in place of one; or a function that gives them."""


class ScriptedBinding(EventBinding):
    """A binding without a model: each request gets the next answer of a script, and is remembered.

    Answers are given as they stand, in pieces, word by word if the script says nothing else; silences are ended at
    once by whatever ends a request. What a request asks for beside ``model``, ``timeout`` and ``deadline`` is
    remembered and changes nothing, but an answer is held to ``response_format`` and ``tool_choice`` as any other
    binding's. Where the script and the requests do not fit, an AssertionError comes out of every method, also of
    those that return other errors, so that the test fails.

    A token is a byte of the text in UTF-8. Vectors, where none are given, are counts of the text's words in 64
    (or ``dimensions``) places, of length 1: the same text gives the same vector, texts that share words near ones.

    Args:
        answers: the script; see :data:`~lollms_core.testing.script.Answer`.
        binding_name: the name shown in messages.
        like: a binding class to stand in for: what it can do and takes, this one can do and takes too, no more.
        capabilities: what this one can do, fewer than all; before those of `like`.
        models: the models that it knows; None: whatever it is asked for.
        model_name: the model in use; by default the first of `models`, else "scripted".
        embeddings: see :data:`Embeddings`; a text that is not among them fails the test.
        repeat: whether the last answer stays when all have been given.
        **defaults: request fields, and the options of `like`.

    Raises:
        TypeError, ValueError: an answer or a keyword that is none.
    """

    capabilities: ClassVar[frozenset[Capability]] = frozenset(Capability) - {Capability.PULL}
    uses: ClassVar[frozenset[str]] = PARAMETERS
    image_urls: ClassVar[bool] = True
    _stands_for: ClassVar[type[LollmsLLMBinding] | None] = None

    def __new__(
        cls,
        *_: Any,
        like: type[LollmsLLMBinding] | None = None,
        capabilities: Iterable[Capability | str] | None = None,
        **__: Any,
    ) -> Self:
        # What a binding can do and takes is declared by its class, so an instance that differs gets one of its own.
        declared = _declarations_of(like) if like is not None else {}
        if capabilities is not None:
            declared["capabilities"] = frozenset(map(Capability, capabilities))
        if not declared:
            return super().__new__(cls)
        beyond = declared["capabilities"] - cls.capabilities if capabilities is not None else ()
        if beyond:
            raise ValueError(f"a scripted binding cannot have the capability {', '.join(sorted(beyond))}")
        declared["capabilities"] &= cls.capabilities
        return super().__new__(_subclass(cls, declared))

    def __init__(
        self,
        answers: Iterable[Answer] | Script = (),
        binding_name: str = "scripted",
        *,
        like: type[LollmsLLMBinding] | None = None,
        capabilities: Iterable[Capability | str] | None = None,
        models: Iterable[str] | None = None,
        model_name: str | None = None,
        embeddings: Embeddings | None = None,
        repeat: bool = False,
        **defaults: Any,
    ) -> None:
        self._models = None if models is None else tuple(models)
        if model_name is None:
            model_name = self._models[0] if self._models else "scripted"
        super().__init__(binding_name, model_name=model_name, **defaults)
        self._script = answers if isinstance(answers, Script) else Script(answers, repeat=repeat)
        self._embeddings = embeddings

    # What tests look at -----------------------------------------------------------------------------------

    @property
    def requests(self) -> list[GenerationRequest]:
        """The generations that were asked for, in the order in which they came, as the backend would get them."""
        return self._script.requests

    @property
    def embed_requests(self) -> list[EmbedRequest]:
        """The embeddings that were asked for, in the order in which they came."""
        return self._script.embed_requests

    def add(self, *answers: Answer) -> None:
        """Have these answers follow those of the script.

        Raises:
            TypeError: one is none.
        """
        self._script.add(*answers)

    def assert_followed(self, *, unused: bool = True) -> None:
        """Whether the requests have followed the script; for the end of a test.

        Args:
            unused: whether answers that were not given count.

        Raises:
            AssertionError: answers are left, more was asked than there are, or a function of the script failed.
        """
        self._script.check(unused=unused)

    # The binding --------------------------------------------------------------------------------------------

    def _events(self, request: GenerationRequest) -> Iterator[Event]:
        for step in self._script.play(request, self._model_of(request)):
            if isinstance(step, Event):
                yield step
            elif not _waited(step, request):
                return

    async def _aevents(self, request: GenerationRequest) -> AsyncIterator[Event]:
        for step in self._script.play(request, self._model_of(request)):
            if isinstance(step, Event):
                yield step
            elif step.gate is None:
                await asyncio.sleep(step.seconds or 0)
            else:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(step.seconds):
                        await step.gate.passed()

    def _asource(self, request: GenerationRequest) -> Any:
        if Capability.ASYNC in self.capabilities:
            return super()._asource(request)
        return LollmsLLMBinding._asource(self, request)

    def _embed(self, request: EmbedRequest) -> list[list[float]]:
        self._script.note(request)
        self._model_of(request)
        return [self._vector(text, request.dimensions or EMBEDDING_SIZE) for text in request.texts]

    async def _aembed(self, request: EmbedRequest) -> list[list[float]]:
        return self._embed(request)

    def tokenize(self, text: str) -> list[int]:
        """The bytes of `text` in UTF-8.

        Raises:
            TypeError, ValueError: `text` is no str, or holds a lone surrogate.
        """
        self._need_tokens()
        if not isinstance(text, str):
            raise TypeError(f"text must be a str, not {type(text).__name__}")
        return list(text.encode("utf-8"))

    def detokenize(self, tokens: list[int]) -> str:
        """The text of `tokens`; bytes that are no character become U+FFFD.

        Raises:
            TypeError, ValueError: a token is no int, or no byte.
        """
        self._need_tokens()
        return bytes(tokens).decode("utf-8", "replace")

    def get_model_info(self) -> dict[str, Any]:
        """The contract's keys; ``loaded`` until it is closed, and no ``path``, as there is no file."""
        return {**super().get_model_info(), "loaded": not self._closed, "path": None}

    def listModels(self) -> list[dict[str, Any]]:
        """The models that it knows, or the one in use if it takes any name."""
        return [{"model_name": name} for name in self._models or (self.model_name,)]

    def load_model(self, model_name: str) -> bool:
        """Make `model_name` the model in use; False, with the reason in ``last_error``, if it does not know it."""

        def load() -> None:
            self._find(model_name)
            self.model_name = model_name

        return self._tried(model_name, load)

    def _model_of(self, request: GenerationRequest | EmbedRequest) -> str | None:
        return self._find(request.model or self.model_name)

    def _find(self, model: str | None) -> str | None:
        if self._models is not None and model not in self._models:
            raise ModelNotFound(f"the binding {self.binding_name!r} has no model {model!r}")
        return model

    def _vector(self, text: str, size: int) -> list[float]:
        if callable(self._embeddings):
            return list(self._embeddings(text))
        if self._embeddings is None:
            return _counted_words(text, size)
        if text not in self._embeddings:
            failure = ScriptError(f"the script has no vector for the text {text[:200]!r}")
            self._script.fail(failure)
            raise failure
        vector = self._embeddings[text]
        if isinstance(vector, Exception):
            raise vector.with_traceback(None)
        return list(vector)

    def _need_tokens(self) -> None:
        if Capability.TOKENIZE not in self.capabilities:
            raise CapabilityNotSupported(
                f"the binding {self.binding_name!r} does not support {Capability.TOKENIZE.value}"
            )

    def _translate(self, exc: Exception) -> Exception:
        # What the test itself says goes to the test.
        return exc if isinstance(exc, AssertionError) else super()._translate(exc)


def stand_in(
    binding: ScriptedBinding, name: str, opened: Callable[[Mapping[str, Any], ScriptedBinding], object]
) -> type[ScriptedBinding]:
    """A class whose instances take what a real binding's do, and answer from the script of `binding`.

    Args:
        binding: whose script, models and embeddings they have.
        name: theirs, unless they are given another one.
        opened: called with the keywords of each new instance, and with it.
    """
    foreign = COMMON_NAMES - {"model_name"} | _constructor_names(binding._stands_for)

    def make(self: ScriptedBinding, **keywords: Any) -> None:
        taken = {key: value for key, value in keywords.items() if key not in foreign}
        model = taken.pop("model_name", None)
        ScriptedBinding.__init__(
            self,
            binding._script,
            taken.pop("binding_name", None) or name,
            models=binding._models,
            model_name=binding.model_name if model is None else model,
            embeddings=binding._embeddings,
            **{**binding.defaults, **taken},
        )
        opened(keywords, self)

    return _subclass(type(binding), {"__init__": make})


def _subclass(cls: type[_S], namespace: Mapping[str, Any]) -> type[_S]:
    """A class of its own for `cls` with other attributes, under the same name."""
    names = {"__module__": cls.__module__, "__doc__": cls.__doc__, **namespace}
    return types.new_class(cls.__name__, (cls,), exec_body=lambda body: body.update(names))


def _declarations_of(like: Any) -> dict[str, Any]:
    if not (isinstance(like, type) and issubclass(like, LollmsLLMBinding)):
        raise TypeError(f"like must be a binding class, not {like!r}")
    names = like._option_names()
    return {
        "capabilities": like.capabilities,
        "options": like.options,
        "uses": like.uses,
        "image_urls": like.image_urls,
        "_stands_for": like,
        "_option_names": classmethod(lambda _: names),  # of an eight-method class they stand in its signature
    }


def _constructor_names(cls: type[LollmsLLMBinding] | None) -> frozenset[str]:
    """The keywords that the constructors of `cls` spell out, but for the two that each binding keeps."""
    found: set[str] = set()
    for base in () if cls is None else cls.__mro__[: cls.__mro__.index(LollmsLLMBinding)]:
        if "__init__" in base.__dict__:
            parameters = inspect.signature(base.__dict__["__init__"]).parameters.values()
            found |= {one.name for one in parameters if one.kind not in {one.VAR_POSITIONAL, one.VAR_KEYWORD}}
    return frozenset(found - {"self", "binding_name", "model_name"})


def _waited(wait: Wait, request: GenerationRequest) -> bool:
    """Wait; False if the request was ended."""
    moved = threading.Event()
    forget = [request.on_cancel(moved.set)]
    if wait.gate is not None:
        forget.append(wait.gate.on_open(moved.set))
    try:
        moved.wait(wait.seconds)
    finally:
        for take_back in forget:
            take_back()
    return not request.cancelled


def _counted_words(text: str, size: int) -> list[float]:
    counts = [0.0] * size
    for word in re.findall(r"\w+", text.casefold()) or [text]:
        digest = hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        counts[int.from_bytes(digest) % size] += 1.0
    length = math.hypot(*counts)
    return [count / length for count in counts]
