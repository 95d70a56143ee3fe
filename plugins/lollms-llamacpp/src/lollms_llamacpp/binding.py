"""The binding: the contract of lollms-core on one engine at a time."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
import os
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar

from lollms_core import (
    Capability,
    EmbedRequest,
    Event,
    Finding,
    GenerationRequest,
    LollmsError,
    UnsupportedParameter,
)
from lollms_core.threads import ThreadedEvents
from lollms_llamacpp.batching.begun import Begun
from lollms_llamacpp.engine import Engine
from lollms_llamacpp.hub.pulls import HubPulls
from lollms_llamacpp.library import Library, as_path
from lollms_llamacpp.loaded_model import LoadedModel
from lollms_llamacpp.model_file import CAPABILITIES, ModelFile, model_file, shard_of
from lollms_llamacpp.native import ClosedError
from lollms_llamacpp.options import LlamaCppOptions, LoadOptions, check_request_options
from lollms_llamacpp.residents import GoOn, Residents
from lollms_llamacpp.vision import projector_beside, projector_file, projector_if_usable, sees

__all__ = ["LlamaCppBinding"]

_log = logging.getLogger(__name__)


class LlamaCppBinding(HubPulls):
    """A GGUF model in this process, through llama.cpp.

    The model is loaded at once if one is named, by ``model_path``, or by ``model_name`` inside
    ``models_path``; the name ``smollm2`` is the embedded model of the extra ``lollms-llamacpp[smollm2]``. Names that
    begin with ``ollama:``, ``hf:`` or ``llama.cpp:`` are models that those programs have on this machine.

    Requests from any thread or event loop are answered together, ``n_parallel`` at once; others wait, first come, first
    served. With the same seed and parameters the answer is the same, alone or in company, if ``cache_prompt`` is False;
    else what is reused of earlier requests may change it after some tokens.

    Where a parameter is None, what the model's file recommends counts, else llama.cpp's default: temperature 0.8, top_k
    40, top_p 0.95, min_p 0.05, no penalties; an answer without ``n_predict`` ends where the model or the context ends
    it. The tokens counted in ``usage`` are those of the text: the token by which the model ends its answer is not among
    them.

    A plain prompt is put into the model's chat template as a user's message, or, where the model has no
    template, continued as it stands (``completion_format``). Only the template's own text can contain control
    tokens; ``<|im_end|>`` in a message is plain text.

    Args:
        binding_name: the name shown in messages.
        model_path: a GGUF file; of a split model any of its files.
        model_name: a model in `models_path`, or the name under which to show that of `model_path`.
        models_path: a folder with GGUF files, also in folders below.
        host_address, service_key, verify_ssl_certificate: mean nothing here and must be None.
        **defaults: request fields and :class:`LlamaCppOptions`. ``ctx_size`` is the context to load with
            (default: what the model was trained for, at most 8192 tokens), which a request may use in part;
            ``n_threads`` is by default the number of physical cores.

    Raises:
        TypeError, ValueError: an unknown keyword, or a value of the wrong type or out of range.
        ModelNotFound: there is no such model.
        BackendError: its file is damaged, or llama.cpp refuses it.
        BackendUnavailable: llama-cpp-python cannot be imported.
    """

    capabilities: ClassVar[frozenset[Capability]] = CAPABILITIES | {Capability.PULL, Capability.ASYNC}
    options: ClassVar[type] = LlamaCppOptions
    uses: ClassVar[frozenset[str]] = frozenset(
        {
            "cache_prompt",
            "ctx_size",
            "frequency_penalty",
            "logit_bias",
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
            "top_k",
            "top_p",
        }
    )

    def __init__(
        self,
        binding_name: str = "llamacpp",
        *,
        model_path: str | os.PathLike[str] | None = None,
        model_name: str | None = None,
        models_path: str | os.PathLike[str] | None = None,
        host_address: str | None = None,
        service_key: str | None = None,
        verify_ssl_certificate: bool | None = None,
        **defaults: Any,
    ) -> None:
        # Refused below; a traceback that prints the locals does not show it.
        service_key = None if service_key is None else "***"
        super().__init__(
            binding_name,
            host_address=host_address,
            service_key=service_key,
            verify_ssl_certificate=verify_ssl_certificate,
            **defaults,
        )
        self._load_options = LoadOptions.of(self.defaults)
        self._library = Library(None if models_path is None else as_path(models_path, "models_path"))
        self._models = Residents(binding_name, self._make, self._library.find)
        if model_name is not None and not isinstance(model_name, str):
            raise TypeError(f"model_name must be a str, not {type(model_name).__name__}")
        if model_path is not None:
            self._load(as_path(model_path, "model_path"), model_name)
        elif model_name is not None:
            self._load(self._library.find(model_name), model_name)

    @classmethod
    def diagnose(cls, timeout: float) -> Iterable[Finding]:
        """Whether llama.cpp computes on this machine, tried in a further process as :func:`probe` does."""
        from lollms_llamacpp.probing import probe

        found = probe(timeout=timeout)
        facts = {"version": found.version, "system_info": found.system_info, "seconds": found.seconds}
        if found.ok:
            return [Finding("ok", f"{found.version} computes on this machine", facts=facts)]
        slow = "run lollms doctor again while the machine is less busy, with a longer --timeout"
        return [Finding("problem", str(found.error), found.remedy or slow, facts=facts | {"signal": found.signal})]

    # Generating and embedding ---------------------------------------------------------------------------

    def _events(self, request: GenerationRequest) -> Iterator[Event]:
        while True:
            engine, release = self._models.engine_for(request.model, go_on=lambda: not request.cancelled)
            try:
                events = engine.generate(request)
                # Entered before the engine may be given up: a guest is freed when nobody uses it.
                first = next(events, None)
            except ClosedError:
                self._models.check_replaced(engine)
                continue
            finally:
                release()
            with contextlib.closing(events):
                if first is not None:
                    yield first
                    yield from events
            return

    async def _aevents(self, request: GenerationRequest) -> AsyncIterator[Event]:
        # Only an async request imports asyncio.
        from lollms_llamacpp.batching.waking import Wakeup, in_thread

        if self._load_options.isolate:  # a thread for each request speaks with the child
            threaded = ThreadedEvents(functools.partial(self._produce, request), name=f"lollms-{self.binding_name}")
            async with contextlib.aclosing(aiter(threaded)) as events:
                async for event in events:
                    yield event
            return
        wakeup = Wakeup()
        begun = await in_thread(functools.partial(self._begin, request, wakeup), undo=_leave)
        if begun is not None:
            async with contextlib.aclosing(begun.aevents(wakeup)) as events:
                async for event in events:
                    yield event

    def _begin(self, request: GenerationRequest, notify: Callable[[], object]) -> Begun | None:
        """An answer of a model in this process, begun; None if the request was cancelled before."""
        while True:
            engine, release = self._models.engine_for(request.model, go_on=lambda: not request.cancelled)
            assert isinstance(engine, Engine)
            try:
                return engine.begin(request, notify)
            except ClosedError:
                self._models.check_replaced(engine)
            finally:
                release()

    def _embed(self, request: EmbedRequest) -> list[list[float]]:
        check_request_options(request.options, self.defaults)
        return self._models.use(lambda engine: engine.embed(request), request.model)

    def _checked(self, request: GenerationRequest, kind: Capability) -> GenerationRequest:
        request = super()._checked(request, kind)
        if request.backend_options:
            raise UnsupportedParameter(
                "backend_options has no meaning for llama.cpp: it is called as a library, and all it takes has a name"
            )
        check_request_options(request.options, self.defaults)
        engine = self._models.engine
        if engine is not None and request.model in {None, self.model_name}:
            with contextlib.suppress(ClosedError):  # what comes after it will check
                engine.check(request)
        return request

    def capabilities_of(self, model: str | None = None) -> frozenset[Capability]:
        """What `model` can do by its file: an embedding model doesn't generate, CHAT needs a chat template.

        Of a model that cannot be found or read, all that the class can do: that error comes with its use.
        """
        try:
            if model is None or model == self._models.name:
                file = self._models.file
            else:
                file = model_file(self._library.find(model))
        except LollmsError:
            return self.capabilities
        if file is None:
            return self.capabilities
        able = file.capabilities(self.defaults.get("chat_template"))
        engine = self._models.engine
        own = engine is not None and engine.file.path == file.path
        if engine.sees if engine is not None and own else self._sees(file, own=model in {None, self._models.name}):
            able |= {Capability.VISION}
        return able | {Capability.PULL, Capability.ASYNC}  # whatever the model

    # Tokens -----------------------------------------------------------------------------------------------

    def tokenize(self, text: str, *, add_special: bool = False, parse_special: bool = False) -> list[int]:
        """The model's tokens of `text`.

        Args:
            text: any text.
            add_special: whether the tokens that the model wants at the ends of a document are added.
            parse_special: whether special-token text, such as ``<|im_end|>``, becomes that token.

        Raises:
            ModelNotFound: no model is loaded.
            TypeError, ValueError: `text` is no str, or holds a lone surrogate.
        """
        if not isinstance(text, str):
            raise TypeError(f"text must be a str, not {type(text).__name__}")
        return self._models.use(
            lambda engine: engine.tokenize(text, add_special=add_special, parse_special=parse_special)
        )

    def detokenize(self, tokens: list[int]) -> str:
        """The text of `tokens`, special ones included; bytes that are no character become U+FFFD.

        Raises:
            ModelNotFound: no model is loaded.
            TypeError, ValueError: a token is no int, or not in the vocabulary.
        """
        return self._models.use(lambda engine: engine.detokenize(_checked_tokens(tokens, engine.n_vocab)))

    def count_tokens(self, text: str) -> int:
        """``len(tokenize(text))``."""
        return len(self.tokenize(text))

    # Models -----------------------------------------------------------------------------------------------

    def get_model_info(self) -> dict[str, Any]:
        """What is loaded: the contract's keys, and of a loaded model its file's facts.

        ``parameters`` are the defaults in force; ``n_params`` is the size of the model; ``lora`` are its adapters, each
        a dict with path and scale; ``pid`` is the process that it is in, None if that has died, and ``isolated`` tells
        whether it is one of its own.
        """
        engine = self._models.engine
        info = super().get_model_info()
        if engine is None:
            path = self._models.path
            return {**info, "path": None if path is None else str(path)}
        facts, pid = engine.file.facts(), engine.pid
        return {
            **facts,
            **info,
            "loaded": pid is not None,
            "pid": pid,
            "isolated": engine.options.isolate,
            "ctx_size": engine.ctx_size,
            "trained_ctx_size": facts["ctx_size"],
            "n_params": facts["parameters"],
            "n_threads": engine.options.n_threads,
            "lora": [{"path": str(as_path(path, "lora")), "scale": scale} for path, scale in engine.options.lora],
            "parameters": {**engine.sampling_defaults, **info["parameters"]},
            "supports": sorted(able.value for able in self.capabilities_of(None)),
        }

    def listModels(self) -> list[dict[str, Any]]:
        """The models in ``models_path``, the embedded one, and those of other programs, sorted by name.

        Each is a dict with model_name, source, path, size (bytes), architecture, parameters (their number),
        quantization, ctx_size (tokens it was trained for) and loaded; a file that cannot be used has
        model_name, source, path, loaded and error. ``source`` is ``models_path``, ``package`` for the embedded model,
        ``ollama``, ``huggingface`` or ``llama.cpp`` for the stores of these, ``model_path`` for one loaded by its path.
        """
        path, in_memory = self._models.path, self._models.engine is not None
        models = [{**model, "loaded": in_memory and model["path"] == str(path)} for model in self._library.models()]
        if path is not None and not any(model["path"] == str(path) for model in models):
            own = {"model_name": self._models.name, "source": "model_path"}
            models.append({**own, **_facts(path), "loaded": in_memory})
        return sorted(models, key=lambda model: str(model["model_name"]))

    def load_model(self, model_name: str, *, cancel: bool = False) -> bool:
        """Make `model_name` the model in use; the old one stays usable until the new one is loaded.

        Args:
            model_name: as for the constructor; without ``models_path`` also the path of a GGUF file.
            cancel: whether what runs on the old model is cancelled rather than finished.

        Returns:
            Whether it worked; if not, the reason is in ``last_error`` and in the log.

        Raises:
            TypeError: `model_name` is no str.
        """

        def load() -> None:
            self._models.ensure_open()
            old = self._load(self._library.find(model_name), model_name)
            if old is not None:
                if cancel:
                    old.close()
                else:
                    old.retire()

        return self._tried(model_name, load)

    def ps(self) -> list[dict[str, Any]]:
        """The models in memory: the one in use, and those of requests with a model of their own.

        Each is a dict with model_name, size (bytes of its weights), expires_at (None: it stays until it is
        unloaded; a request's own model goes with the request), path, and pid, the process that it is in.
        """
        return [
            {
                "model_name": engine.name,
                "size": engine.size,
                "expires_at": None,
                "path": str(engine.file.path),
                "pid": pid,
            }
            for engine in self._models.present()
            if (pid := engine.pid) is not None
        ]

    def unload(self, model_name: str | None = None) -> None:
        """Free a model's memory as soon as the requests that run on it have ended; the next one loads it again.

        Args:
            model_name: one of those in :meth:`ps`; None is the one in use, which stays it.

        Raises:
            ModelNotFound: it is not in memory.
            TypeError: `model_name` is no str.
            BackendUnavailable: the binding is closed.
        """
        if model_name is not None and not isinstance(model_name, str):
            raise TypeError(f"model_name must be a str, not {type(model_name).__name__}")
        self._models.unload(model_name)

    def close(self) -> None:
        """Cancel what runs and free the model's memory; closing twice is fine."""
        super().close()
        self._models.close()

    def _load(self, path: Path, name: str | None) -> LoadedModel | None:
        """Make the model of a file the one in use; what was there."""
        old = self._models.load(path, name)
        self.model_name = self._models.name
        return old

    def _projector_for(self, file: ModelFile, *, own: bool) -> Path | None:
        """The projector of a model: the one that was given is for the binding's own model, not for guests."""
        given = self.defaults.get("mmproj")
        if given is not None and own:
            return as_path(given, "mmproj")
        if not file.generates:
            return None
        return projector_beside(file) or projector_if_usable(self._library.projector_of(file))

    def _sees(self, file: ModelFile, *, own: bool) -> bool:
        path = self._projector_for(file, own=own)
        try:
            return path is not None and file.generates and sees(projector_file(path))
        except LollmsError:
            return False  # it comes out when the model is loaded

    def _make(self, file: ModelFile, name: str | None, go_on: GoOn, guest: bool) -> LoadedModel:
        load: Callable[..., LoadedModel] = Engine
        if self._load_options.isolate:
            from lollms_llamacpp.isolated.remote import RemoteEngine

            load = RemoteEngine
        return load(
            name or _name_of(file),
            file,
            # What was given for the binding's own model fits no other, or changes it in ways that nobody asked for.
            dataclasses.replace(self._load_options, lora=()) if guest else self._load_options,
            chat_template=self.defaults.get("chat_template"),
            mmproj=self._projector_for(file, own=not guest),
            go_on=go_on,
        )


def _facts(path: Path) -> dict[str, Any]:
    try:
        return model_file(path).facts()
    except LollmsError as error:
        return {"path": str(path), "error": str(error)}


def _name_of(file: ModelFile) -> str:
    shard = shard_of(file.path)
    return shard[0] if shard is not None else file.path.stem


def _checked_tokens(tokens: object, n_vocab: int) -> list[int]:
    if isinstance(tokens, (str, bytes)) or not hasattr(tokens, "__iter__"):
        raise TypeError(f"tokens must be a list of int, not {type(tokens).__name__}")
    checked = []
    for token in tokens:
        if isinstance(token, bool) or not hasattr(token, "__index__"):
            raise TypeError(f"a token must be an int, not {token!r}")
        number = token.__index__()
        if not 0 <= number < n_vocab:
            raise ValueError(f"{number} is no token of this model, which has the tokens 0 to {n_vocab - 1}")
        checked.append(number)
    return checked


def _leave(begun: Begun | None) -> None:
    """Nobody waits for it any more."""
    if begun is not None:
        begun.leave()
