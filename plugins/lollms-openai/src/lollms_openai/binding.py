"""The binding: the contract of lollms-core on one server."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Final, Literal, TypeVar

from lollms_core import (
    BadRequest,
    Capability,
    CapabilityNotSupported,
    EmbedRequest,
    Event,
    EventBinding,
    Finding,
    GenerationRequest,
    LollmsError,
    ModelNotFound,
)
from lollms_core.errors import close_names
from lollms_core.messages import has_images
from lollms_core.redaction import Hidden, forget_locals
from lollms_openai import models
from lollms_openai.async_side import AsyncSide
from lollms_openai.async_side import run_all as arun_all
from lollms_openai.bodies import check_plain, generation_body, thinking_fields
from lollms_openai.clients import Clients
from lollms_openai.embeddings import batches, joined
from lollms_openai.exchange import Operation
from lollms_openai.generations import Reading, started
from lollms_openai.limits import Limits, policy_of
from lollms_openai.options import OpenAIOptions, check_options
from lollms_openai.preset import OPENAI, Preset
from lollms_openai.probe import answers, found_of
from lollms_openai.server import server_of
from lollms_openai.sync_side import SyncSide, run_all
from lollms_openai.thinking import switch_of
from lollms_openai.tokens import checked_text, checked_tokens, server_detokenize, server_tokenize, tiktoken_encoding

__all__ = ["OpenAIBinding"]

_log = logging.getLogger(__name__)

_T = TypeVar("_T")

_NOTHING_GIVEN: Final = dict.fromkeys(
    ("host_address", "service_key", "verify", "organization", "project", "extra_headers")
)


def _needs(request: GenerationRequest) -> list[Capability]:
    """What `request` needs and a model may lack, as may turn out only now that the model is known."""
    asked = {
        Capability.VISION: request.images or (request.messages and has_images(request.messages)),
        Capability.TOOLS: request.tools,
        Capability.JSON_SCHEMA: request.response_format,
        Capability.REASONING: request.think,
        Capability.LOGPROBS: request.logprobs,
    }
    return [capability for capability, value in asked.items() if value]


def _at_once(request: EmbedRequest) -> int:
    return int(request.options.get("embed_concurrency", 4))


def _uses(preset: Preset) -> frozenset[str]:
    return frozenset({"model", "n_predict", "timeout", *preset.fields})


class OpenAIBinding(EventBinding):
    """OpenAI, or any server that speaks its protocol.

    The constructor does no I/O. Any number of threads, tasks and event loops may use one binding at the same
    time. With no model named, the one that the server has loaded is taken, else the newest it lists.

    A parameter that the service does not have is in ``Completion.ignored``; of a server that it knows nothing
    of, this class sends what OpenAI's API has, and the rest only through ``backend_options``, which go into the
    body of the request unchecked.

    Args:
        binding_name: the name shown in messages.
        host_address: the base URL, up to and with ``/v1`` (added where the URL has no path). Default:
            OPENAI_BASE_URL, else OpenAI's.
        model_name: the model in use.
        service_key: the key. Default: OPENAI_API_KEY for OpenAI's own address, none for others.
        verify_ssl_certificate: False switches the check of TLS certificates off, and warns.
        models_path: means nothing here and must be None.
        organization, project: whose account pays, at OpenAI.
        extra_headers: sent with every request.
        **defaults: request fields and :class:`OpenAIOptions`. ``timeout`` is by default 600 s.

    Raises:
        TypeError, ValueError: an unknown keyword, or a value of the wrong type or out of range.
    """

    preset: ClassVar[Preset] = OPENAI
    capabilities: ClassVar[frozenset[Capability]] = OPENAI.capabilities
    options: ClassVar[type] = OpenAIOptions
    uses: ClassVar[frozenset[str]] = _uses(OPENAI)
    image_urls: ClassVar[bool] = True

    def __init__(
        self,
        binding_name: str | None = None,
        *,
        host_address: str | None = None,
        model_name: str | None = None,
        service_key: str | None = None,
        verify_ssl_certificate: bool | None = None,
        models_path: None = None,
        organization: str | None = None,
        project: str | None = None,
        extra_headers: Mapping[str, str] | None = None,
        **defaults: Any,
    ) -> None:
        # A traceback may show what a frame holds.
        given = Hidden(host_address=host_address, service_key=service_key, extra_headers=extra_headers)
        del host_address, service_key, extra_headers
        super().__init__(binding_name or self.preset.name, models_path=models_path, **defaults)
        check_options(self.defaults)
        if model_name is not None and not isinstance(model_name, str):
            raise TypeError(f"model_name must be a str, not {type(model_name).__name__}")
        self.model_name = model_name or None
        more = {"verify": verify_ssl_certificate, "organization": organization, "project": project}
        try:
            self._server = server_of(self.preset, self.binding_name, **given, **more)
        except (TypeError, ValueError) as error:
            forget_locals(error)
            raise
        self._clients = Clients(self._server, f"the binding {self.binding_name!r}")
        self._chosen: dict[bool, str] = {}  # where no model is named: to generate with, to embed with
        self._listed_lacks: dict[str, frozenset[Capability]] = {}  # what listed models lack, by the list
        self._lacking: frozenset[Capability] = frozenset()  # what the server turned out to lack, whatever the model
        self._looked = False
        if not self._server.verify:
            _log.warning("%s: the check of TLS certificates is off", self._server.who)

    @classmethod
    def of_preset(cls, preset: Preset, module: str) -> type[OpenAIBinding]:
        """A class for one service or server, which lives in `module` under the preset's name."""
        namespace = {
            "__module__": module,
            "__qualname__": preset.name,
            "__doc__": f"The binding ``{preset.name}``: :class:`OpenAIBinding` at {preset.base_url}.",
            "preset": preset,
            "capabilities": preset.capabilities,
            "uses": _uses(preset),
        }
        return type(preset.name, (cls,), namespace)

    @classmethod
    def unconfigured(cls) -> Literal["local", "remote"] | None:
        """``"local"`` if the preset's server on this machine lists models, ``"remote"`` if the service's key is set."""
        try:
            server = server_of(cls.preset, cls.preset.name, **_NOTHING_GIVEN)
        except (TypeError, ValueError) as error:
            _log.debug("the environment is not usable for %s: %s", cls.preset.name, error)
            return None
        if cls.preset.local:
            return "local" if answers(server) else None
        return "remote" if server.key is not None else None

    @classmethod
    def diagnose(cls, timeout: float) -> Iterable[Finding]:
        """Whether the preset's server answers, with its version, or whether the service's key is set."""
        preset = cls.preset
        variables = " or ".join(filter(None, (preset.key_variable, preset.base_variable)))
        try:
            server = server_of(preset, preset.name, **_NOTHING_GIVEN)
        except (TypeError, ValueError) as error:
            return [Finding("problem", str(error), f"set {variables} anew, or unset it", about="key")]
        named = server.preset is not preset  # the environment has another server in the service's place
        if preset.local or named:
            return [found_of(server, min(timeout, 5.0), named=named)]
        facts = {"variable": preset.key_variable}
        if server.key is not None:
            return [Finding("ok", f"{preset.key_variable} is set", None, "key", facts)]
        remedy = f"put the service's key into {preset.key_variable}, or keep it with: lollms keys set {preset.name}"
        return [Finding("absent", f"{preset.key_variable} is not set", remedy, "key", facts)]

    def capabilities_of(self, model: str | None = None) -> frozenset[Capability]:
        name = model or self.model_name
        preset = self._server.preset
        able = self.capabilities - self._lacking
        if not preset.thinking or (name is not None and switch_of(preset.thinking, name) is None):
            able -= {Capability.REASONING}
        if name is None:
            return able
        if preset is OPENAI:
            able -= models.lacking_by_name(name)
        return able - self._listed_lacks.get(name, frozenset())

    def _require(self, needs: Capability | Sequence[Capability], model: str | None = None) -> None:
        try:
            super()._require(needs, model)
        except CapabilityNotSupported as error:
            raise CapabilityNotSupported(f"{self._server.who}: {error}") from None

    def _checked(self, request: GenerationRequest, kind: Capability) -> GenerationRequest:
        check_options(request.options)
        check_plain(request)
        return super()._checked(request, kind)

    def _embed_request(self, text: Any, kwargs: Mapping[str, Any]) -> EmbedRequest:
        request = super()._embed_request(text, kwargs)
        check_options(request.options)
        return request

    # Generating and embedding ---------------------------------------------------------------------------

    def _events(self, request: GenerationRequest) -> Iterator[Event]:
        limits = Limits.of(request.options, timeout=request.timeout, deadline=request.deadline)
        with SyncSide(self._clients, self._server, limits, request.control) as side:
            reading = side.run(self._started(request))
            yield from reading.events
            if not reading.streamed:
                return
            failure, piece = None, b""
            try:
                for piece in side.pieces(reading.who):
                    yield from reading.take(piece)
                    if reading.worth is not None:
                        side.hurry(reading.worth)
                        if reading.enough:
                            break
            except LollmsError as exc:
                failure = exc
            finally:
                piece = b""  # a traceback may show what a frame holds
            yield from reading.end(failure)

    async def _aevents(self, request: GenerationRequest) -> AsyncIterator[Event]:
        limits = Limits.of(request.options, timeout=request.timeout, deadline=request.deadline)
        async with AsyncSide(self._clients, self._server, limits) as side:
            reading = await side.run(self._started(request))
            for event in reading.events:
                yield event
            if not reading.streamed:
                return
            failure, piece = None, b""
            try:
                async with contextlib.aclosing(side.pieces(reading.who)) as pieces:  # type: ignore[type-var]
                    async for piece in pieces:
                        for event in reading.take(piece):
                            yield event
                        if reading.worth is not None:
                            side.hurry(reading.worth)
                            if reading.enough:
                                break
            except LollmsError as exc:
                failure = exc
            finally:
                piece = b""  # a traceback may show what a frame holds
            for event in reading.end(failure):
                yield event

    def _embed(self, request: EmbedRequest) -> list[list[float]]:
        limits, options = self._limits_of(request.options), request.options
        with SyncSide(self._clients, self._server, limits, request.control) as side:
            model = side.run(self._model(request.model, options, to_embed=True))
        work = batches(request, self._server, model)
        parts = run_all(self._clients, self._server, limits, request.control, work, _at_once(request))
        return joined(parts, request, self._server, model)

    async def _aembed(self, request: EmbedRequest) -> list[list[float]]:
        limits, options = self._limits_of(request.options), request.options
        async with AsyncSide(self._clients, self._server, limits) as side:
            model = await side.run(self._model(request.model, options, to_embed=True))
        operations = batches(request, self._server, model)
        parts = await arun_all(self._clients, self._server, limits, operations, _at_once(request))
        return joined(parts, request, self._server, model)

    def _started(self, request: GenerationRequest) -> Operation[Reading]:
        model = request.model or self.model_name
        body = generation_body(request, self._server, model)
        if model is None and "model" not in body:
            model = yield from self._model(None, request.options)
            if model is not None:
                body["model"] = model
        needs = _needs(request)
        if needs:
            if not self._looked and models.TOLD_BY_PROPS.intersection(needs):
                yield from self._look(request.options)
            self._require(needs, model)
        body = {**thinking_fields(request, self._server.preset, model), **body}
        try:
            return (yield from started(request, body, self._server, model))
        except ModelNotFound:
            self._chosen.clear()  # what was the newest may be gone
            raise

    def _limits_of(self, options: Mapping[str, Any]) -> Limits:
        own = {**self.defaults, **options}
        return Limits.of(own, timeout=own.get("timeout"), deadline=own.get("deadline"))

    def _done(self, operation: Operation[_T]) -> _T:
        with SyncSide(self._clients, self._server, self._limits_of({})) as side:
            return side.run(operation)

    # Tokens -----------------------------------------------------------------------------------------------

    def tokenize(self, text: str, *, add_special: bool = False, parse_special: bool = False) -> list[int]:
        """The model's tokens of `text`.

        llama-server and vLLM are asked for them; for OpenAI's own models tiktoken knows them.

        Args:
            text: any text.
            add_special: whether the server adds the tokens with which it begins and ends a prompt; tiktoken has none.
            parse_special: whether the text of a control token becomes that token. vLLM always does so.

        Raises:
            CapabilityNotSupported: nobody knows the tokens of this server's models.
            TypeError, ValueError: `text` is no str, or holds a lone surrogate.
            LollmsError: the server cannot be asked.
        """
        text = checked_text(text)
        self._require(Capability.TOKENIZE)
        if self._server.preset.tokens == "tiktoken":
            encoding = tiktoken_encoding(self._done(self._model()))
            return list(encoding.encode(text, allowed_special="all" if parse_special else set(), disallowed_special=()))
        return self._done(self._told_tokens(text, add_special, parse_special))

    def detokenize(self, tokens: list[int]) -> str:
        """The text of `tokens`.

        Raises:
            CapabilityNotSupported: nobody knows the tokens of this server's models.
            TypeError, ValueError: `tokens` is no list of whole numbers from 0, or one of them is no token.
            LollmsError: the server cannot be asked.
        """
        numbers = checked_tokens(tokens)
        self._require(Capability.TOKENIZE)
        if self._server.preset.tokens == "tiktoken":
            encoding = tiktoken_encoding(self._done(self._model()))
            try:
                return str(encoding.decode(numbers))
            except (KeyError, OverflowError):
                raise ValueError("one of the numbers is no token of this model") from None
        return self._done(self._told_text(numbers))

    def _told_tokens(self, text: str, add_special: bool, parse_special: bool) -> Operation[list[int]]:
        model = yield from self._model()
        with self._noting(Capability.TOKENIZE):
            return (
                yield from server_tokenize(
                    text,
                    self._server,
                    model,
                    policy_of(self.defaults),
                    add_special=add_special,
                    parse_special=parse_special,
                )
            )

    def _told_text(self, tokens: list[int]) -> Operation[str]:
        model = yield from self._model()
        with self._noting(Capability.TOKENIZE):
            return (yield from server_detokenize(tokens, self._server, model, policy_of(self.defaults)))

    @contextlib.contextmanager
    def _noting(self, capability: Capability) -> Iterator[None]:
        """Remember if the server lacks `capability`, so that the next call says so at once."""
        try:
            yield
        except CapabilityNotSupported:
            self._lacking |= {capability}
            raise

    # Models -----------------------------------------------------------------------------------------------

    def listModels(self) -> list[dict[str, Any]]:
        """The models that the server lists, sorted by name.

        Each is a dict with model_name and, where the server says them, ctx_size (tokens), created (seconds since
        the epoch), owned_by, n_params, size (bytes), type and loaded.

        Raises:
            LollmsError: it cannot be asked.
        """
        return sorted(self._done(self._listed()), key=lambda model: str(model["model_name"]))

    def get_model_info(self) -> dict[str, Any]:
        """The contract's keys, and what the server says of the model in use.

        ``loaded`` is whether the server has it ready; of an unreachable one it is False, and ``error`` says why.
        """
        info = {**super().get_model_info(), "host_address": self._server.base}
        try:
            facts = self._done(self._facts())
        except LollmsError as error:
            return {**info, "error": str(error)}
        return {
            **info,
            **facts,
            "supports": sorted(able.value for able in self.capabilities_of(facts.get("model_name"))),
        }

    def load_model(self, model_name: str) -> bool:
        """Make `model_name` the model in use, if the server lists it; servers load by themselves.

        Returns:
            Whether it worked; if not, the reason is in ``last_error`` and in the log.

        Raises:
            TypeError: `model_name` is no str.
        """

        def find() -> None:
            names = [str(model["model_name"]) for model in self._done(self._listed())]
            if not models.is_listed(model_name, names):
                raise ModelNotFound(
                    f"{self._server.who} does not list the model {model_name!r}.{close_names(model_name, names)}"
                )

        if not self._tried(model_name, find):
            return False
        self.model_name = model_name
        return True

    def close(self) -> None:
        """Cancel what runs and close all connections; closing twice is fine."""
        super().close()
        self._clients.close()

    async def aclose(self) -> None:
        """:meth:`close`, and wait for what belongs to the running event loop."""
        self.cancel()
        await self._clients.aclose()
        self.close()

    def _model(
        self, named: str | None = None, options: Mapping[str, Any] | None = None, *, to_embed: bool = False
    ) -> Operation[str | None]:
        """The model to ask for; None where the server lists none because it has no list."""
        name = named or self.model_name or self._chosen.get(to_embed)
        if name is not None:
            return name
        try:
            found = yield from self._listed(options)
        except (BadRequest, CapabilityNotSupported):
            return None
        name = models.chosen(found, self._server, to_embed=to_embed)
        if name is None:
            raise ModelNotFound(f"{self._server.who} lists no model: name one, or load one there")
        self._chosen[to_embed] = name
        return name

    def _listed(self, options: Mapping[str, Any] | None = None) -> Operation[list[dict[str, Any]]]:
        found = yield from models.listed(self._server, policy_of(options or self.defaults))
        self._listed_lacks = {str(model["model_name"]): lacks for model, lacks in found}
        return [model for model, _ in found]

    def _facts(self) -> Operation[dict[str, Any]]:
        found = yield from self._listed()
        name = self.model_name or models.chosen(found, self._server)
        told = next((model for model in found if model["model_name"] == name), None)
        facts = {**(told or {}), "model_name": name, "loaded": told is not None and told.get("loaded") is not False}
        props = yield from self._look()
        settings = props.get("default_generation_settings")
        if isinstance(settings, Mapping) and isinstance(settings.get("n_ctx"), int):
            facts["ctx_size"] = settings["n_ctx"]
        return facts

    def _look(self, options: Mapping[str, Any] | None = None) -> Operation[Mapping[str, Any]]:
        """What a llama-server says of itself, noting what its model lacks; {} of another server."""
        if self._server.preset.details != "props":
            self._looked = True
            return {}
        props = yield from models.props(self._server, policy_of(options or self.defaults))
        self._lacking |= models.lacking_by_props(props)
        self._looked = True
        return props
