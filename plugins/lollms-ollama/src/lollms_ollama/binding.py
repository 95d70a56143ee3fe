"""The binding: the contract of lollms-core on one Ollama server."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from lollms_core import (
    Capability,
    CapabilityNotSupported,
    EmbedRequest,
    Event,
    EventBinding,
    GenerationRequest,
    LollmsError,
)
from lollms_core.messages import has_images
from lollms_ollama import calls, steps
from lollms_ollama.address import server
from lollms_ollama.answers import AnswerReader, vectors
from lollms_ollama.asker import Asker
from lollms_ollama.calls import Call
from lollms_ollama.exchange import Limits
from lollms_ollama.facts import CAPABILITIES, ModelFacts, listed, loaded_entry
from lollms_ollama.options import OllamaOptions, check_options
from lollms_ollama.probe import has_models
from lollms_ollama.steps import Steps, Wait
from lollms_ollama.vocabulary_store import VocabularyStore

__all__ = ["OllamaBinding"]

_log = logging.getLogger(__name__)

_EMBED_BATCH = 64
"""Texts that are sent for their vectors in one request."""


class OllamaBinding(EventBinding):
    """The models of an Ollama server.

    Nothing is sent before the first call that needs the server. One binding serves any number of threads, tasks
    and event loops at once. Where no model is named, it takes the one that the server has loaded, else the newest.

    ``timeout`` is how long the server may be silent (default 600 s, as a large model takes minutes to load),
    ``deadline`` the time for the whole answer. Before the first byte of an answer a failed request is sent again
    (``retries``, ``retry_budget``).

    Args:
        binding_name: the name shown in messages.
        host_address: the server: a host, host:port or URL, as in Ollama's OLLAMA_HOST, which counts if this is
            None; else http://127.0.0.1:11434.
        model_name: the model to use.
        service_key: a key that is sent as bearer token, for servers behind a gateway.
        verify_ssl_certificate: False switches the check of the server's certificate off.
        cache_folder: where vocabularies are kept; default: the user's cache directory.
        models_path: means nothing here and must be None.
        **defaults: request fields and :class:`OllamaOptions`.

    Raises:
        TypeError, ValueError: an unknown keyword, or a value of the wrong type or out of range.
    """

    capabilities: ClassVar[frozenset[Capability]] = CAPABILITIES
    options: ClassVar[type] = OllamaOptions
    uses: ClassVar[frozenset[str]] = frozenset(
        {
            "ctx_size",
            "frequency_penalty",
            "min_p",
            "model",
            "n_predict",
            "n_threads",
            "presence_penalty",
            "repeat_last_n",
            "repeat_penalty",
            "seed",
            "stop",
            "temperature",
            "timeout",
            "top_k",
            "top_p",
        }
    )

    def __init__(
        self,
        binding_name: str = "ollama",
        *,
        host_address: str | None = None,
        model_name: str | None = None,
        models_path: str | None = None,
        service_key: str | None = None,
        verify_ssl_certificate: bool | None = None,
        cache_folder: str | os.PathLike[str] | None = None,
        **defaults: Any,
    ) -> None:
        super().__init__(binding_name, models_path=models_path, **defaults)
        if model_name is not None and not isinstance(model_name, str):
            raise TypeError(f"model_name must be a str, not {type(model_name).__name__}")
        check_options(self.defaults)
        self.model_name = model_name or None
        self._server = server(host_address, service_key, verify_ssl_certificate)
        self._who = f"{binding_name} at {self._server.url}"
        if not self._server.verify:
            _log.warning("%s: the server's certificate is not checked (verify_ssl_certificate=False)", self._who)
        self._asker = Asker(self._server, self._who)
        self._fetching = threading.Lock()  # one vocabulary is fetched at a time
        self._store = VocabularyStore(None if cache_folder is None else Path(cache_folder))
        self._facts: dict[str, ModelFacts] = {}
        self._asked: dict[tuple[Any, str], Any] = {}  # by event loop and model, while the answer is awaited
        self._picked: str | None = None  # the model that is used as none is named

    @classmethod
    def unconfigured(cls) -> Literal["local"] | None:
        """``"local"`` if the Ollama of OLLAMA_HOST, or else of this machine, answers and has a model."""
        try:
            found = server(None, None, None)
        except (TypeError, ValueError) as error:
            _log.debug("OLLAMA_HOST is not usable: %s", error)
            return None
        return "local" if has_models(found) else None

    # Generating and embedding ---------------------------------------------------------------------------

    def _events(self, request: GenerationRequest) -> Iterator[Event]:
        limits = self._limits(request)
        call = self._asker.run(self._prepared(request), limits, request.control)
        with self._asker.open(call, limits, request.control) as response:
            reader = self._reader(call, response.content_type)
            for data in response.pieces():
                yield from reader.feed(data)
                if reader.done:
                    break
            yield from reader.close()
            response.drain()

    async def _aevents(self, request: GenerationRequest) -> AsyncIterator[Event]:
        limits = self._limits(request)
        call = await self._asker.arun(self._prepared(request), limits)
        async with self._asker.aopen(call, limits) as response:
            reader = self._reader(call, response.content_type)
            async for data in response.pieces():
                for event in reader.feed(data):
                    yield event
                if reader.done:
                    break
            for event in reader.close():
                yield event
            await response.drain()

    def _embed(self, request: EmbedRequest) -> list[list[float]]:
        check_options(request.options)
        return self._asker.run(self._embedded(request), self._limits(request), request.control)

    async def _aembed(self, request: EmbedRequest) -> list[list[float]]:
        check_options(request.options)
        return await self._asker.arun(self._embedded(request), self._limits(request))

    def _prepared(self, request: GenerationRequest) -> Steps[Call]:
        """The request for the answer, after what must be known of the model."""
        model = yield from self._model(request.model)
        facts = yield from self._facts_if_any(model)
        if facts is not None:
            self._check_needs(request, facts)
            yield from steps.check_context(facts, request, self._store, self._who)
        return calls.generation(request, model)

    def _embedded(self, request: EmbedRequest) -> Steps[list[list[float]]]:
        model = yield from self._model(request.model)
        found: list[list[float]] = []
        for start in range(0, len(request.texts), _EMBED_BATCH):
            texts = request.texts[start : start + _EMBED_BATCH]
            answer = yield calls.embedding(request, model, texts)
            found += vectors(answer, len(texts), self._who)
        return found

    def _reader(self, call: Call, content_type: str) -> AnswerReader:
        return AnswerReader(self._who, call.model or "", content_type, self._server.secrets)

    def _checked(self, request: GenerationRequest, kind: Capability) -> GenerationRequest:
        request = super()._checked(request, kind)
        check_options(request.options)
        if request.messages is not None and has_images(request.messages):
            request = request.replace(messages=calls.with_images(request.messages, self._load_image))
        return request

    def _check_needs(self, request: GenerationRequest, facts: ModelFacts) -> None:
        """Whether the model can do what is asked; from an event loop this could not be looked up before."""
        kind = Capability.TEXT if request.messages is None else Capability.CHAT
        needs = [kind]
        if request.images or (request.messages and has_images(request.messages)):
            needs.append(Capability.VISION)
        if request.think:
            needs.append(Capability.REASONING)
        for need in needs:
            if need not in facts.capabilities:
                raise CapabilityNotSupported(f"{self._who}: the model {facts.name!r} does not support {need}")

    def capabilities_of(self, model: str | None = None) -> frozenset[Capability]:
        """What `model` can do, as its server tells: asked once for each model.

        All that the class can do, if the server cannot be asked (that error comes with the request), if no model
        is named, or if this is an event loop's thread, which must not wait (the request itself then asks).
        """
        model = model or self.model_name or self._picked
        if model is None:
            return self.capabilities
        facts = self._facts.get(model)
        if facts is None and _running_loop() is None:
            limits = self._limits_once()
            facts = self._asker.run(self._facts_if_any(model), limits, None)
        return self.capabilities if facts is None else facts.capabilities & self.capabilities

    # Tokens -----------------------------------------------------------------------------------------------

    def tokenize(self, text: str, *, add_special: bool = False, parse_special: bool = False) -> list[int]:
        """The model's tokens of `text`, exactly as its server makes them.

        Args:
            text: any text.
            add_special: whether the tokens that the model wants at the ends of a document are added.
            parse_special: whether special-token text, such as ``<|im_end|>``, becomes that token.

        Raises:
            CapabilityNotSupported: the model's vocabulary is of a kind that cannot be done exactly.
            LollmsError: the server cannot be asked for it.
            TypeError: `text` is no str.
        """
        if not isinstance(text, str):
            raise TypeError(f"text must be a str, not {type(text).__name__}")
        found: list[int] = self._tokenizer().encode(text, add_special=add_special, parse_special=parse_special)
        return found

    def detokenize(self, tokens: list[int]) -> str:
        """The text of `tokens`, special ones included; bytes that are no character become U+FFFD.

        Raises:
            CapabilityNotSupported, LollmsError: as for :meth:`tokenize`.
            TypeError, ValueError: a token is no int, or not in the vocabulary.
        """
        text: str = self._tokenizer().decode(tokens)
        return text

    def count_tokens(self, text: str) -> int:
        """``len(tokenize(text))``."""
        return len(self.tokenize(text))

    def _tokenizer(self) -> Any:
        with self._fetching:
            return self._asker.run(self._vocabulary(), self._limits_of({}), None)

    def _vocabulary(self) -> Steps[Any]:
        model = yield from self._model(None)
        facts = yield from self._known_facts(model)
        if Capability.TOKENIZE not in facts.capabilities:
            raise CapabilityNotSupported(
                f"{self._who}: the vocabulary of the model {model!r} is of a kind whose tokens are not known exactly"
            )
        tokenizer, digest = yield from steps.vocabulary(facts, self._store, self._who)
        if digest is not None and facts.digest is None:
            self._facts[model] = ModelFacts(facts.name, facts.answer, digest)
        return tokenizer

    # Models -----------------------------------------------------------------------------------------------

    def get_model_info(self) -> dict[str, Any]:
        """The contract's keys, and what the server says about the model; without a server, what is known here.

        ``parameters`` are the defaults in force; ``n_params`` is the size of the model; ``size`` and
        ``size_vram`` are bytes of memory.
        """
        info = {**super().get_model_info(), "host_address": self._server.url}
        try:
            info.update(self._asker.run(self._info(), self._limits_once(), None))
        except LollmsError as error:
            _log.info("%s: nothing is known of the model now: %s", self._who, error)
        return info

    def _info(self) -> Steps[dict[str, Any]]:
        model = yield from self._model(None)
        facts = yield from self._known_facts(model, fresh=True)
        entry = loaded_entry((yield calls.PS), model)
        details = facts.details
        info: dict[str, Any] = {
            "model_name": model,
            "loaded": entry is not None,
            "ctx_size": (yield from steps.context_size(facts, self.defaults.get("ctx_size"), None, self._who)),
            "trained_ctx_size": facts.trained_ctx_size,
            "supports": sorted(able.value for able in facts.capabilities & self.capabilities),
            "architecture": facts.architecture or None,
            "family": details.get("family"),
            "n_params": facts.n_params,
            "parameter_size": details.get("parameter_size"),
            "quantization": details.get("quantization_level"),
        }
        if entry is not None:
            if type(entry.get("context_length")) is int:
                info["ctx_size"] = entry["context_length"]
            info.update((name, entry[name]) for name in ("size", "size_vram", "expires_at") if name in entry)
        return info

    def listModels(self) -> list[dict[str, Any]]:
        """The server's models, the one changed last first.

        Each is a dict with model_name, size (bytes), digest, modified_at, family, parameter_size, quantization and
        format.

        Raises:
            LollmsError: the server cannot be asked.
        """
        return self._asker.run(self._listed(), self._limits_of({}), None)

    def _listed(self) -> Steps[list[dict[str, Any]]]:
        return listed((yield calls.TAGS))

    def load_model(self, model_name: str, *, cancel: bool = False) -> bool:
        """Have the server load `model_name`, then make it the model in use; until then the old one is.

        Args:
            model_name: as the server lists it.
            cancel: whether what runs is cancelled rather than finished.

        Returns:
            Whether it worked; if not, the reason is in ``last_error`` and in the log.

        Raises:
            TypeError: `model_name` is no str.
        """
        if not isinstance(model_name, str):
            raise TypeError(f"model_name must be a str, not {type(model_name).__name__}")
        try:
            self._asker.run(steps.load(model_name, self.defaults), self._limits_of(self.defaults), None)
        except LollmsError as error:
            self.last_error = str(error)
            _log.warning("the binding %r cannot load %r: %s", self.binding_name, model_name, error)
            return False
        self._facts.pop(model_name, None)
        self.last_error = None
        self.model_name = model_name
        if cancel:
            self.cancel()
        return True

    # Ending -----------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Cancel what runs and close all connections; closing twice is fine."""
        super().close()
        self._asker.close()

    async def aclose(self) -> None:
        """:meth:`close` for asyncio; the connections of this event loop are closed when it returns."""
        super().close()
        await self._asker.aclose()

    # What is known of models ------------------------------------------------------------------------------

    def _model(self, named: str | None) -> Steps[str]:
        model = named or self.model_name or self._picked
        if model is None:
            model = self._picked = yield from steps.pick_model(self._who)
        return model

    def _known_facts(self, model: str, *, fresh: bool = False) -> Steps[ModelFacts]:
        loop = _running_loop()
        facts = self._facts.get(model)
        if facts is None and loop is not None and (loop, model) in self._asked:
            # Of many tasks that begin together one asks for all.
            yield Wait(self._asked[loop, model])
            facts = self._facts.get(model)
        if facts is None or fresh:
            with self._asking(loop, model):
                facts = self._facts[model] = yield from steps.facts_of(model)
        return facts

    @contextlib.contextmanager
    def _asking(self, loop: Any, model: str) -> Iterator[None]:
        if loop is None or (loop, model) in self._asked:
            yield
            return
        from asyncio import Event as Answered

        answered = self._asked[loop, model] = Answered()
        try:
            yield
        finally:
            del self._asked[loop, model]
            answered.set()

    def _facts_if_any(self, model: str) -> Steps[ModelFacts | None]:
        """The facts, None if the server cannot tell them: its error comes with the request itself."""
        try:
            return (yield from self._known_facts(model))
        except LollmsError as error:
            _log.debug("%s: nothing is known of the model %r: %s", self._who, model, error)
            return None

    # Running ----------------------------------------------------------------------------------------------

    def _limits(self, request: GenerationRequest | EmbedRequest) -> Limits:
        if isinstance(request, GenerationRequest):
            return Limits.of(request.options, timeout=request.timeout, deadline=request.deadline)
        return self._limits_of(request.options)

    def _limits_of(self, options: Mapping[str, Any]) -> Limits:
        own = {**self.defaults, **options}
        return Limits.of(own, timeout=self.defaults.get("timeout"), deadline=self.defaults.get("deadline"))

    def _limits_once(self) -> Limits:
        """For questions that are nice to have answered: nobody waits for a second try."""
        return Limits.of({**self.defaults, "retries": 0}, timeout=self.defaults.get("timeout"))


def _running_loop() -> Any:
    """The event loop of this thread, None if there is none."""
    asyncio = sys.modules.get("asyncio")
    if asyncio is None:
        return None
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
