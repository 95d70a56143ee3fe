"""The models of an Ollama server: what they are, loading, fetching, deleting and unloading them."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import AsyncIterable, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any, ClassVar, Final, Literal

from lollms_core import BackendUnavailable, Capability, Finding, LollmsError, Progress
from lollms_core.control import Control
from lollms_core.redaction import Hidden
from lollms_http import HttpBinding, JsonLines, Steps
from lollms_http.address import base_url
from lollms_ollama import calls, steps
from lollms_ollama.facts import in_memory, listed, loaded_entry
from lollms_ollama.knowledge import Knowledge, running_loop
from lollms_ollama.probe import found_of, has_models
from lollms_ollama.pulls import PullReader
from lollms_ollama.vocabulary_store import VocabularyStore

__all__ = ["OllamaModels"]

_log = logging.getLogger(__name__)

_OF_NEARLY_ALL: Final = frozenset({Capability.TEXT, Capability.CHAT, Capability.STREAM})


class OllamaModels(HttpBinding):
    """The half of :class:`~lollms_ollama.OllamaBinding` that is about models and not about what they say."""

    default_host: ClassVar[str] = "http://127.0.0.1:11434"
    host_variable: ClassVar[str] = "OLLAMA_HOST"
    headers: ClassVar[Mapping[str, str]] = {"User-Agent": "lollms-ollama"}
    framing = JsonLines()

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
        insecure_pull: bool = False,
        **defaults: Any,
    ) -> None:
        # A traceback may show what a frame holds.
        given = Hidden(host_address=host_address, service_key=service_key)
        del host_address, service_key
        super().__init__(
            binding_name,
            model_name=model_name,
            models_path=models_path,
            verify_ssl_certificate=verify_ssl_certificate,
            **given,
            **defaults,
        )
        if not isinstance(insecure_pull, bool):
            raise TypeError(f"insecure_pull must be True or False, not {insecure_pull!r}")
        self._insecure_pull = insecure_pull
        self._knowledge = Knowledge(self._who)
        self._store = VocabularyStore(None if cache_folder is None else Path(cache_folder))

    @classmethod
    def _url(cls, host_address: str | None) -> str:
        if host_address is not None:
            return base_url(host_address.strip(), "host_address", default=cls.default_host)
        # Quotes are what is left of a badly written service file; Ollama takes them off too.
        named = os.environ.get(cls.host_variable, "").strip().strip("\"'").strip()
        return base_url(named, cls.host_variable, default=cls.default_host, lenient=True)

    @classmethod
    def unconfigured(cls) -> Literal["local"] | None:
        """``"local"`` if the Ollama of OLLAMA_HOST, or else of this machine, answers and has a model."""
        try:
            found = cls._server_of()
        except (TypeError, ValueError) as error:
            _log.debug("OLLAMA_HOST is not usable: %s", error)
            return None
        return "local" if has_models(found) else None

    @classmethod
    def diagnose(cls, timeout: float) -> Iterable[Finding]:
        """Whether the Ollama of OLLAMA_HOST, or else of this machine, answers, and its version."""
        try:
            server = cls._server_of()
        except (TypeError, ValueError) as error:
            remedy = f"set {cls.host_variable} to a host, host:port or URL, or unset it"
            return [Finding("problem", str(error), remedy, about="server")]
        return [found_of(server, min(timeout, 5.0), cls.host_variable)]

    # What is known ----------------------------------------------------------------------------------------

    def capabilities_of(self, model: str | None = None) -> frozenset[Capability]:
        """What `model` can do, as its server tells: asked once for each model.

        All that the class can do, if the server cannot be asked (that error comes with the request) or does not
        answer within 10 seconds, if no model is named, or if this is an event loop's thread, which must not wait (the
        request itself then asks).
        """
        model = model or self.model_name or self._knowledge.picked
        if model is None:
            return self.capabilities
        facts = self._knowledge.now(model)
        if facts is None and running_loop() is None:
            # Where it cannot be reached, the request says so, after as many tries as it has.
            with suppress(BackendUnavailable):
                facts = self._ask(self._knowledge.facts_if_any(model), once=True)
        return self.capabilities if facts is None else facts.capabilities & self.capabilities

    def _require(self, needs: Capability | Sequence[Capability], model: str | None = None) -> None:
        wanted = {needs} if isinstance(needs, Capability) else set(needs)
        if wanted <= _OF_NEARLY_ALL and self._knowledge.now(model or self.model_name or "") is None:
            # Nobody is to wait for an answer here that the request itself can ask for, where it can be ended.
            return
        super()._require(needs, model)

    def get_model_info(self) -> dict[str, Any]:
        """The contract's keys, and what the server says about the model; without a server, what is known here.

        ``parameters`` are the defaults in force; ``n_params`` is the size of the model; ``size`` and
        ``size_vram`` are bytes of memory.
        """
        info = super().get_model_info()
        try:
            info.update(self._ask(self._info(), once=True))
        except LollmsError as error:
            _log.info("%s: nothing is known of the model now: %s", self._who, error)
        return info

    def _info(self) -> Steps[dict[str, Any]]:
        model = yield from self._model()
        facts = yield from self._knowledge.facts(model, fresh=True)
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
        return self._ask(calls.TAGS, listed)

    def _model(self, named: str | None = None) -> Steps[str]:
        """The model that is meant: `named`, or the one in use."""
        return self._knowledge.model(named, self.model_name)

    # Care -------------------------------------------------------------------------------------------------

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

        def load() -> None:
            self._ask(steps.load(model_name, self.defaults))

        if not self._tried(model_name, load):
            return False
        self._knowledge.forget(model_name)
        self.model_name = model_name
        if cancel:
            self.cancel()
        return True

    def _pull(self, model_name: str, control: Control) -> Iterator[Progress]:
        call = calls.pulling(model_name, insecure=self._insecure_pull)
        reader = PullReader(self._who, model_name, self._server.redaction)
        try:
            for event in self._client.read(call, self._limits_without_deadline(), control, reader):
                if isinstance(event, Progress):
                    yield event
        finally:
            self._knowledge.forget(model_name)

    async def _apull(self, model_name: str, control: Control) -> AsyncIterable[Progress]:
        call = calls.pulling(model_name, insecure=self._insecure_pull)
        reader = PullReader(self._who, model_name, self._server.redaction)
        try:
            async with aclosing(self._client.aread(call, self._limits_without_deadline(), lambda: reader)) as lists:
                async for events in lists:
                    for event in events:
                        if isinstance(event, Progress):
                            yield event
        finally:
            self._knowledge.forget(model_name)

    def delete(self, model_name: str) -> None:
        """Delete a model from the server.

        Raises:
            ModelNotFound: there is no such model.
            LollmsError: the server failed, or cannot be asked.
            TypeError, ValueError: `model_name` is no text, or empty.
        """
        _check_name(model_name)
        try:
            self._ask(calls.deleting(model_name))
        finally:
            self._knowledge.forget(model_name)
        self._knowledge.forget_choice(model_name)

    def ps(self) -> list[dict[str, Any]]:
        """The models in the server's memory.

        Each is a dict with model_name, size and size_vram (bytes, in all and on the GPU), expires_at (RFC 3339; None
        for never), digest and, from newer servers, ctx_size (tokens).

        Raises:
            LollmsError: the server cannot be asked.
        """
        return self._ask(calls.PS, lambda answer: in_memory(answer, time.time()))

    def unload(self, model_name: str | None = None) -> None:
        """Have the server free the memory of a model (None: the one in use), as soon as no request needs it.

        A model that is not loaded is fine.

        Raises:
            ModelNotFound: there is no such model.
            LollmsError: the server failed, or cannot be asked.
            TypeError, ValueError: `model_name` is no text, or empty.
        """
        if model_name is not None:
            _check_name(model_name)
        self._ask(self._unloaded(model_name))

    def _unloaded(self, model_name: str | None) -> Steps[None]:
        yield from steps.unload((yield from self._model(model_name)))


def _check_name(model_name: object) -> None:
    if not isinstance(model_name, str):
        raise TypeError(f"model_name must be a str, not {type(model_name).__name__}")
    if not model_name.strip():
        raise ValueError("model_name must not be empty")
