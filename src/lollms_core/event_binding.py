"""EventBinding: write one generator of events, get the whole contract."""

from __future__ import annotations

import logging
import os
from abc import abstractmethod
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

from lollms_core.arguments import StreamingCallback
from lollms_core.binding import LollmsLLMBinding
from lollms_core.capabilities import Capability
from lollms_core.embedding import aembed_through, embed_through
from lollms_core.errors import CapabilityNotSupported, LollmsError, UnsupportedParameter
from lollms_core.events import Event
from lollms_core.generation import Emit, as_backend_error, close_events
from lollms_core.messages import AI_KEYWORD, USER_KEYWORD, ImageSource, Message, load_parts
from lollms_core.other_names import close_parameters
from lollms_core.outermost import aiterate_inside, derived, inside, iterate_inside
from lollms_core.request import EmbedRequest, GenerationRequest

__all__ = ["EventBinding"]

_log = logging.getLogger(__name__)


class EventBinding(LollmsLLMBinding):
    """A binding whose author writes :meth:`_events`; text, chat, streams, async forms and rules come from it.

    Declare ``capabilities``, ``options`` and ``uses`` as class attributes. For native async write
    ``_aevents`` (and ``_aembed``) and declare ``Capability.ASYNC``; without it each async request runs
    ``_events`` in a thread. A class that embeds writes ``_embed`` and declares ``Capability.EMBED``.
    """

    capabilities: ClassVar[frozenset[Capability]] = frozenset({Capability.TEXT, Capability.CHAT, Capability.STREAM})

    # What the author writes -----------------------------------------------------------------------------

    @abstractmethod
    def _events(self, request: GenerationRequest) -> Iterator[Event]:
        """The events of one answer, the last of them a Finish.

        The instance's defaults are already in `request`, and its images are read: those in ``images``, and the parts
        of messages, which are then ``{"type": "image", "image": Image or URL}``. A generator that ends
        without a Finish is a StreamInterrupted for the caller. It may be closed at any ``yield``; when
        ``request.cancelled`` becomes true it shall return soon (``request.on_cancel`` tells blocking I/O).
        Raise errors of :mod:`lollms_core.errors`; others reach the caller as BackendError.
        """

    def _aevents(self, request: GenerationRequest) -> AsyncIterator[Event]:
        """The same for asyncio, as an async generator; its task is cancelled when the request is."""
        raise self._lacks(Capability.ASYNC)  # never reached: without it, requests run _events in a thread

    def _embed(self, request: EmbedRequest) -> list[list[float]]:
        """One vector for each of ``request.texts``, in their order."""
        raise self._lacks(Capability.EMBED)

    async def _aembed(self, request: EmbedRequest) -> list[list[float]]:
        """The same for asyncio; from :meth:`_embed` in a thread unless overridden."""
        import asyncio

        return await asyncio.to_thread(self._embed, request)

    def tokenize(self, text: str) -> list[int]:
        raise self._lacks(Capability.TOKENIZE)

    def detokenize(self, tokens: list[int]) -> str:
        raise self._lacks(Capability.TOKENIZE)

    def count_tokens(self, text: str) -> int:
        return len(self.tokenize(text))

    def get_model_info(self) -> dict[str, Any]:
        return {
            "binding_name": self.binding_name,
            "model_name": self.model_name,
            "loaded": False,
            "ctx_size": self.defaults.get("ctx_size"),
            "supports": sorted(able.value for able in self.capabilities_of(self.model_name)),
            # A path as text, so that JSON can carry it.
            "parameters": {n: str(v) if isinstance(v, os.PathLike) else v for n, v in self.defaults.items()},
        }

    def listModels(self) -> list[Any]:
        raise CapabilityNotSupported(f"the binding {self.binding_name!r} cannot list models")

    def load_model(self, model_name: str) -> bool:
        raise CapabilityNotSupported(f"the binding {self.binding_name!r} cannot load models")

    def _tried(self, model_name: str, load: Callable[[], object]) -> bool:
        """For :meth:`load_model`: whether `load` works. If not, the reason is in ``last_error`` and in the log.

        Raises:
            TypeError: `model_name` is no str.
        """
        if not isinstance(model_name, str):
            raise TypeError(f"model_name must be a str, not {type(model_name).__name__}")
        try:
            load()
        except (LollmsError, OSError, ValueError) as error:
            self.last_error = str(error)
            _log.warning("the binding %r cannot load %r: %s", self.binding_name, model_name, error)
            return False
        self.last_error = None
        return True

    # What follows from it -------------------------------------------------------------------------------

    @derived
    def generate_text(
        self,
        prompt: str,
        images: Sequence[ImageSource] | None = None,
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
        streaming_callback: StreamingCallback | None = None,
        split: bool = False,
        user_keyword: str = USER_KEYWORD,
        ai_keyword: str = AI_KEYWORD,
        **fields: Any,
    ) -> str | dict[str, Any]:
        """See :meth:`LollmsLLMBinding.generate_text`; `fields` are further request fields and own options."""
        fields |= {
            "images": images,
            "system_prompt": system_prompt,
            "n_predict": n_predict,
            "stream": stream,
            "temperature": temperature,
            "top_k": top_k,
            "top_p": top_p,
            "repeat_penalty": repeat_penalty,
            "repeat_last_n": repeat_last_n,
            "seed": seed,
            "n_threads": n_threads,
            "ctx_size": ctx_size,
        }
        keywords = {"user_keyword": user_keyword, "ai_keyword": ai_keyword}
        request, sink = self._text_request(prompt, fields, streaming_callback, split, keywords)
        try:
            return self._run(request, sink).text
        except LollmsError as error:
            return self._returned(error, sink)

    @derived
    def embed(self, text: str | list[str], **kwargs: Any) -> list[Any]:
        """See :meth:`LollmsLLMBinding.embed`; keywords: model, dimensions, own options."""
        request = self._embed_request(text, kwargs)
        vectors = embed_through(self._embedding(request), self._embed_inside) if request.texts else []
        return vectors[0] if isinstance(text, str) else vectors

    @derived
    async def aembed(self, text: str | list[str], **kwargs: Any) -> list[Any]:
        request = self._embed_request(text, kwargs)
        vectors = await aembed_through(self._embedding(request), self._aembed_inside) if request.texts else []
        return vectors[0] if isinstance(text, str) else vectors

    def _embed_inside(self, request: EmbedRequest) -> list[list[float]]:
        with inside(self):
            return self._embed(request)

    async def _aembed_inside(self, request: EmbedRequest) -> list[list[float]]:
        with inside(self):
            return await self._aembed(request)

    def _produce(self, request: GenerationRequest, emit: Emit) -> None:
        events = self._source(request)
        try:
            for event in events:
                if not emit(event):
                    break
        finally:
            close_events(events)

    def _source(self, request: GenerationRequest) -> Iterable[Event]:
        events = iter(self._events(request))
        return iterate_inside(self, events) if self._hooks else events

    def _asource(self, request: GenerationRequest) -> AsyncIterable[Event | list[Event]]:
        if type(self)._aevents is EventBinding._aevents:
            return super()._asource(request)
        events = self._aevents(request)
        return aiterate_inside(self, events) if self._hooks else events

    def _checked_images(self, images: Sequence[ImageSource]) -> tuple[ImageSource, ...]:
        return tuple(self._load_image(image) for image in images)

    def _checked_parts(self, messages: Sequence[Message]) -> tuple[Message, ...]:
        return load_parts(messages, self._load_image)

    def _embed_request(self, text: Any, kwargs: Mapping[str, Any]) -> EmbedRequest:
        own = {name: value for name, value in self.defaults.items() if name in self._option_names()}
        request = super()._embed_request(text, {**own, **kwargs})
        known = self._option_names()
        for name in kwargs.keys() - known - {"model", "dimensions"}:
            raise UnsupportedParameter(
                f"the binding {self.binding_name!r} has no parameter {name!r} for embeddings."
                f"{close_parameters(name, known | {'model', 'dimensions'})}"
            )
        return request

    def _lacks(self, capability: Capability) -> CapabilityNotSupported:
        return CapabilityNotSupported(f"the binding {self.binding_name!r} does not support {capability}")

    def _translate(self, exc: Exception) -> Exception:
        # Here arguments were checked before _events ran, so a plain ValueError is a failure, not misuse.
        return as_backend_error(exc)
