"""From a call's arguments to a checked request: what an author declares, and what follows from it."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, TypeAlias

from lollms_core import messages as discussions
from lollms_core.capabilities import Capability
from lollms_core.errors import CapabilityNotSupported, ImageError, UnsupportedParameter, close_names
from lollms_core.messages import ImageSource
from lollms_core.other_names import close_parameters
from lollms_core.outermost import is_derived
from lollms_core.redaction import Hidden
from lollms_core.request import PARAMETERS, REQUEST_FIELDS, EmbedRequest, GenerationRequest
from lollms_core.text_calls import CallbackSink, TextSignature

__all__ = ["COMMON_NAMES", "Arguments", "NoOptions", "StreamingCallback"]

_log = logging.getLogger(__name__)

StreamingCallback: TypeAlias = Callable[..., Any]
"""``callback(chunk: str, kind: MSG_TYPE) -> bool | None``; only a returned False stops."""

COMMON_NAMES = frozenset({"host_address", "models_path", "model_name", "service_key", "verify_ssl_certificate"})
"""Constructor keywords that every binding accepts; one that means nothing to it must be None."""

_EIGHT_METHODS = frozenset({Capability.TEXT, Capability.CHAT, Capability.STREAM, Capability.EMBED, Capability.TOKENIZE})


class NoOptions:
    """The ``options`` of a binding that has none of its own."""


class Arguments:
    """The declarations of a binding class, and the requests that calls on it stand for.

    Attributes:
        capabilities: what the binding can do. Of an eight-method class: TEXT, CHAT, STREAM, EMBED,
            TOKENIZE, and VISION if ``images`` stands in its generate_text.
        options: a TypedDict naming the binding's own options.
        uses: the contract's parameters that the backend honours; others that are set are reported in
            ``Completion.ignored``. Of an eight-method class: those in generate_text's signature.
        image_urls: whether the backend takes http(s) URLs of images; we never fetch one.
        binding_name: the name shown in messages.
        model_name: the model in use, None if there is none.
        defaults: what the constructor was given of request fields and own options; frozen.
    """

    capabilities: ClassVar[frozenset[Capability]] = frozenset()
    options: ClassVar[type] = NoOptions
    uses: ClassVar[frozenset[str]] = frozenset()
    image_urls: ClassVar[bool] = False

    # Class-level values, so that a class whose __init__ does not call ours works all the same.
    binding_name: str = "unknown"
    model_name: str | None = None
    defaults: Mapping[str, Any] = MappingProxyType({})
    _signature: ClassVar[TextSignature | None] = None
    _derived: ClassVar[tuple[str, ...]] = ()

    def __init__(self, binding_name: str = "unknown", **defaults: Any) -> None:
        defaults = Hidden(defaults)  # a misspelt name may stand for a key
        self.binding_name = binding_name
        self.model_name = defaults.pop("model_name", None)
        for name in COMMON_NAMES & defaults.keys():
            if defaults.pop(name) is not None:
                raise UnsupportedParameter(f"the binding {binding_name!r} has no use for {name}; leave it out")
        options = self._option_names()
        for name in defaults.keys() - REQUEST_FIELDS - options:
            known = REQUEST_FIELDS | options | COMMON_NAMES
            raise UnsupportedParameter(
                f"the binding {binding_name!r} has no option {name!r}.{close_parameters(name, known)}"
            )
        given = Hidden({name: value for name, value in defaults.items() if value is not None})
        # Built once to have it checked.
        request = GenerationRequest(prompt="", **{name: given[name] for name in given.keys() & REQUEST_FIELDS})
        checked = {name: getattr(request, name) if name in REQUEST_FIELDS else given[name] for name in given}
        self.defaults = MappingProxyType(checked)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        own = cls.__dict__.get("generate_text")
        if inspect.isfunction(own) and not getattr(own, "__isabstractmethod__", False) and not is_derived(own):
            cls._signature = TextSignature.of(own)
            cls._derive(cls._signature)

    @classmethod
    def _derive(cls, signature: TextSignature) -> None:
        """Capabilities and uses of an eight-method class that does not declare them itself."""

        def declared(name: str) -> bool:
            return any(
                name in base.__dict__ and name not in base.__dict__.get("_derived", ())
                for base in cls.__mro__
                if base is not Arguments
            )

        derived = []
        if not declared("capabilities"):
            cls.capabilities = _EIGHT_METHODS | ({Capability.VISION} if "images" in signature.names else set())
            derived.append("capabilities")
        if not declared("uses"):
            cls.uses = PARAMETERS & signature.names
            derived.append("uses")
        cls._derived = tuple(derived)

    def capabilities_of(self, model: str | None = None) -> frozenset[Capability]:
        """What `model` (None: the one in use) can do: the class's capabilities, or fewer, never more."""
        return self.capabilities

    @classmethod
    def _option_names(cls) -> frozenset[str]:
        """The binding's own options: those declared, and what an eight-method class has in its signature."""
        declared: frozenset[str] = getattr(cls.options, "__required_keys__", frozenset()) | getattr(
            cls.options, "__optional_keys__", frozenset()
        )
        return declared | (cls._signature.extra if cls._signature is not None else frozenset())

    def _request(self, fields: Mapping[str, Any], **what: Any) -> GenerationRequest:
        """The checked request, with the instance's defaults where `fields` has None."""
        options = dict.fromkeys(self._option_names())
        values = dict(what)
        for name, value in {**self.defaults, **{n: v for n, v in fields.items() if v is not None}}.items():
            if name in REQUEST_FIELDS:
                values[name] = value
            elif name in options:
                options[name] = value
            else:
                known = REQUEST_FIELDS | options.keys()
                raise UnsupportedParameter(
                    f"the binding {self.binding_name!r} has no parameter {name!r}.{close_parameters(name, known)}"
                )
        for name in fields.keys() - REQUEST_FIELDS - options.keys():
            raise UnsupportedParameter(f"the binding {self.binding_name!r} has no parameter {name!r}")
        values["options"] = {name: value for name, value in options.items() if value is not None}
        return GenerationRequest(**values)

    def _chat_request(self, messages: Any, fields: Mapping[str, Any]) -> GenerationRequest:
        if isinstance(messages, str):
            messages = [{"role": "user", "content": messages}]
        request = self._request(fields, messages=messages)
        return self._checked(request, Capability.CHAT)

    def _text_request(
        self,
        prompt: str,
        fields: Mapping[str, Any],
        callback: StreamingCallback | None,
        split: bool,
        keywords: Mapping[str, str],
    ) -> tuple[GenerationRequest, CallbackSink | None]:
        if split:
            request = self._request(fields, messages=discussions.split_discussion(prompt, **keywords))
            return self._with_callback(self._checked(request, Capability.TEXT), callback)
        return self._with_callback(self._text_checked(fields, prompt), callback)

    def _text_checked(self, fields: Mapping[str, Any], prompt: str) -> GenerationRequest:
        return self._checked(self._request(fields, prompt=prompt), Capability.TEXT)

    def _with_callback(
        self, request: GenerationRequest, callback: StreamingCallback | None
    ) -> tuple[GenerationRequest, CallbackSink | None]:
        """Settle whether the answer is streamed, and where to."""
        if callback is not None and not callable(callback):
            raise TypeError(f"streaming_callback must be callable, not {type(callback).__name__}")
        streamed = request.stream if request.stream is not None else callback is not None
        if streamed:
            self._require(Capability.STREAM, request.model)
        if request.stream is not streamed and callback is not None:
            request = request.replace(stream=streamed)
        return request, CallbackSink(callback) if streamed and callback is not None else None

    def _checked(self, request: GenerationRequest, kind: Capability) -> GenerationRequest:
        """`request` if this binding and model can do what it asks, its images read.

        A binding that has checks of its own (its options, say) extends this: here misuse is raised before anything
        is sent, also by the methods that return other errors.

        Raises:
            CapabilityNotSupported, ImageError: otherwise.
        """
        needs = [kind]
        if request.stream:
            needs.append(Capability.STREAM)
        if request.images or (request.messages and discussions.has_images(request.messages)):
            needs.append(Capability.VISION)
        if request.tools:
            needs.append(Capability.TOOLS)
        _check_tool_choice(request)
        if request.response_format is not None:
            needs.append(Capability.JSON_SCHEMA)
        if request.think:
            needs.append(Capability.REASONING)
        if request.logprobs:
            needs.append(Capability.LOGPROBS)
        self._require(needs, request.model)
        if Capability.VISION not in needs:
            return request
        messages = request.messages
        if messages is not None:
            messages = self._checked_parts(messages)
        return request.replace(images=self._checked_images(request.images), messages=messages)

    def _require(self, needs: Capability | Sequence[Capability], model: str | None = None) -> None:
        able = self.capabilities_of(model or self.model_name)
        for need in [needs] if isinstance(needs, Capability) else needs:
            if need not in able:
                of_model = f" (model {model or self.model_name!r})" if need in self.capabilities else ""
                raise CapabilityNotSupported(f"the binding {self.binding_name!r}{of_model} does not support {need}")

    def _checked_images(self, images: Sequence[ImageSource]) -> tuple[ImageSource, ...]:
        # An eight-method class gets the images as the caller gave them; they are only looked at.
        for image in images:
            self._load_image(image)
        return tuple(images)

    def _checked_parts(self, messages: Sequence[discussions.Message]) -> tuple[discussions.Message, ...]:
        discussions.load_parts(messages, self._load_image)
        return tuple(messages)

    def _load_image(self, source: ImageSource) -> discussions.Image | str:
        image = discussions.load_image(source)
        if isinstance(image, str) and not self.image_urls:
            raise ImageError(f"the binding {self.binding_name!r} does not take image URLs; give the file or its bytes")
        return image

    def _embed_request(self, text: Any, kwargs: Mapping[str, Any]) -> EmbedRequest:
        self._require(Capability.EMBED, kwargs.get("model"))
        texts = (text,) if isinstance(text, str) else text
        given = {name: value for name, value in kwargs.items() if value is not None}
        model, dimensions = given.pop("model", None), given.pop("dimensions", None)
        return EmbedRequest(texts=texts, model=model, dimensions=dimensions, options=given)

    def _ignored(self, request: GenerationRequest) -> tuple[str, ...]:
        """The parameters that are set and that this backend has no use for; told once for each."""
        ignored = tuple(sorted(name for name in PARAMETERS - self.uses if getattr(request, name) is not None))
        if request.model == self.model_name:
            ignored = tuple(name for name in ignored if name != "model")
        told = self.__dict__.setdefault("_told", set())
        for name in ignored:
            if name not in told:
                told.add(name)
                _log.warning("the binding %r has no use for %s and ignores it", self.binding_name, name)
        return ignored


def _check_tool_choice(request: GenerationRequest) -> None:
    """Whether the tools that must be called are there.

    Raises:
        ValueError: they are not.
    """
    if request.tool_choice in (None, "auto", "none"):
        return
    names = [tool.name for tool in request.tools or ()]
    if not names:
        raise ValueError("tool_choice asks for a tool to be called, but there are no tools")
    chosen = request.chosen_tool
    if chosen is not None and chosen not in names:
        raise ValueError(
            f"tool_choice names the tool {chosen!r}, which is not among tools.{close_names(chosen, names)}"
        )
