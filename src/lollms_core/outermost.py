"""The outermost call: an author's own generating methods go through the rules and hooks once, not twice.

A class may write its own generate_text, chat, embed and so on, and one may call another. Each that a
class defines itself is wrapped when the class is made; the wrapper of the call that comes from outside
applies checks, hooks and the return-or-raise table, and the calls below it go straight to the author's
code.
"""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar, Token, copy_context
from itertools import repeat
from typing import TYPE_CHECKING, Any

from lollms_core.embedding import aembed_through, embed_keywords, embed_through, subject_of, vectors_of
from lollms_core.errors import LollmsError
from lollms_core.generation import Emit, pull, push
from lollms_core.request import REQUEST_FIELDS, EmbedRequest, GenerationRequest
from lollms_core.stream import AsyncStream, Stream
from lollms_core.text_calls import Relay, TextSignature, produce_text

if TYPE_CHECKING:
    from lollms_core.binding import LollmsLLMBinding

__all__ = ["aiterate_inside", "derived", "inside", "is_derived", "is_inside", "iterate_inside", "wrap_own_methods"]

_log = logging.getLogger(__name__)

_INSIDE: ContextVar[tuple[int, ...]] = ContextVar("lollms_inside", default=())
_MARK = "__lollms_wrapped__"


class inside:  # noqa: N801 - a context manager, used like a function
    """While it is open, calls on this binding from this thread or task are inner ones."""

    __slots__ = ("_id", "_token")

    def __init__(self, binding: object) -> None:
        self._id = id(binding)
        self._token: Token[tuple[int, ...]] | None = None

    def __enter__(self) -> None:
        self._token = _INSIDE.set((*_INSIDE.get(), self._id))

    def __exit__(self, *_: object) -> None:
        if self._token is not None:
            _INSIDE.reset(self._token)


def is_inside(binding: object) -> bool:
    """Whether this code was called by the binding's own."""
    return id(binding) in _INSIDE.get()


class iterate_inside:  # noqa: N801 - used like the generator function that aiterate_inside is
    """`events`, whose code runs inside; between them, the caller's code does not.

    That code has a copy of the context in which this is made, to the end: entering one takes a quarter of the time
    that setting a variable and setting it back takes. And no code of Python's stands between the two: this runs for
    every event.
    """

    __slots__ = ("_events", "_run")

    def __init__(self, binding: object, events: Iterator[Any]) -> None:
        self._events = events
        self._run = copy_context().run
        self._run(_INSIDE.set, (*_INSIDE.get(), id(binding)))

    def __iter__(self) -> Iterator[Any]:
        return map(self._run, repeat(self._events.__next__))  # the StopIteration of `events` ends it

    def close(self) -> None:
        """Close `events`, inside."""
        close = getattr(self._events, "close", None)
        if close is not None:
            self._run(close)


async def aiterate_inside(binding: object, events: AsyncIterator[Any]) -> AsyncIterator[Any]:
    """The async twin of :func:`iterate_inside`."""
    try:
        while True:
            with inside(binding):
                try:
                    event = await anext(events)
                except StopAsyncIteration:
                    return
            yield event
    finally:
        aclose = getattr(events, "aclose", None)
        if aclose is not None:
            with inside(binding):
                await aclose()


def derived(function: Callable[..., Any]) -> Callable[..., Any]:
    """Mark a method that goes through rules and hooks by itself, so that it is not wrapped."""
    setattr(function, _MARK, True)
    return function


def is_derived(function: object) -> bool:
    """Whether `function` goes through rules and hooks by itself."""
    return hasattr(function, _MARK)


def wrap_own_methods(cls: type[LollmsLLMBinding]) -> None:
    """Wrap the generating and embedding methods that `cls` itself defines."""
    for name, wrap in _WRAPPERS.items():
        own = cls.__dict__.get(name)
        if inspect.isfunction(own) and not getattr(own, "__isabstractmethod__", False) and not is_derived(own):
            wrapped = functools.wraps(own)(wrap(own))
            setattr(wrapped, _MARK, True)
            setattr(cls, name, wrapped)


_Method = Callable[..., Any]


def _wrap_generate_text(own: _Method) -> _Method:
    def outer(self: LollmsLLMBinding, *args: Any, **kwargs: Any) -> Any:
        if is_inside(self):
            return own(self, *args, **kwargs)
        call = _TextCall(self, own, args, kwargs)
        generation = self._generation(call.request, live=call.sink is not None)
        try:
            return push(generation, call.produce, call.sink).text
        except LollmsError as error:
            return self._returned(error, call.sink)

    return outer


class _TextCall:
    """A call of an author's generate_text as a request."""

    def __init__(self, binding: LollmsLLMBinding, own: _Method, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._binding = binding
        self._own = functools.partial(own, binding)
        self._signature = TextSignature.of(own)
        left_out = self._signature.left_out(kwargs)
        given = self._signature.bind(binding, args, {n: v for n, v in kwargs.items() if n not in left_out})
        prompt = given.pop(self._signature.prompt)
        callback = given.pop("streaming_callback", left_out.pop("streaming_callback", None))
        # What the author's signature has beside the contract, and what goes into its **kwargs, is passed on as it is.
        fields = {name: given.pop(name) for name in list(given) if name in REQUEST_FIELDS & self._signature.names}
        if "stream" in given:
            fields["stream"] = given["stream"]  # whether a callback is called is decided here, also for such an author
        split = bool(left_out.pop("split", False))
        keywords: dict[str, str] = {
            name: left_out.pop(name) for name in ("user_keyword", "ai_keyword") if name in left_out
        }
        self.request, self.sink = binding._text_request(prompt, {**fields, **left_out}, callback, split, keywords)
        self.request = self.request.replace(stream=bool(self.request.stream), options={**self.request.options, **given})

    def produce(self, request: GenerationRequest, emit: Emit) -> None:
        with inside(self._binding):
            produce_text(
                self._binding.binding_name, self._own, self._signature, request, emit, streamed=bool(request.stream)
            )


class _ChatCall:
    """A call of an author's method that takes messages (or a prompt) and keywords."""

    def __init__(self, binding: LollmsLLMBinding, own: _Method, subject: Any, fields: dict[str, Any]) -> None:
        self._binding = binding
        self._own = functools.partial(own, binding)
        self._subject = subject
        self._fields = fields
        known = {name: value for name, value in fields.items() if name in REQUEST_FIELDS}
        self.request = binding._chat_request(subject, known)
        self._asked = self.request

    def arguments(self, request: GenerationRequest) -> tuple[Any, dict[str, Any]]:
        """What to call the author's method with: as the caller did, but for what a middleware has changed."""
        changed = {
            name: getattr(request, name)
            for name in REQUEST_FIELDS
            if getattr(request, name) is not getattr(self._asked, name)
        }
        subject = self._subject if request.messages is self._asked.messages else list(request.messages or ())
        return subject, {**self._fields, **changed}

    def relayed(self, request: GenerationRequest, emit: Emit) -> tuple[Any, dict[str, Any], Relay]:
        """The same, the caller's callback replaced by one that gives the chunks to `emit`."""
        subject, fields = self.arguments(request)
        relay = Relay(self._binding.binding_name, request, emit)
        if fields.get("streaming_callback") is not None:
            fields["streaming_callback"] = relay
        return subject, fields, relay

    def produce(self, request: GenerationRequest, emit: Emit) -> None:
        subject, fields, relay = self.relayed(request, emit)
        with inside(self._binding):
            result = self._own(subject, **fields)
        relay.finish(result)

    async def aproduce(self, request: GenerationRequest, emit: Emit) -> None:
        subject, fields, relay = self.relayed(request, emit)
        with inside(self._binding):
            result = await self._own(subject, **fields)
        relay.finish(result)

    def source(self, request: GenerationRequest) -> Iterable[Any]:
        subject, fields = self.arguments(request)
        with inside(self._binding):
            stream = self._own(subject, **fields)
        return iterate_inside(self._binding, iter(stream))

    def asource(self, request: GenerationRequest) -> AsyncIterator[Any]:
        subject, fields = self.arguments(request)
        with inside(self._binding):
            stream = self._own(subject, **fields)
        return aiterate_inside(self._binding, aiter(stream))


def _wrap_chat(own: _Method) -> _Method:
    def outer(self: LollmsLLMBinding, messages: Any, **fields: Any) -> Any:
        if is_inside(self):
            return own(self, messages, **fields)
        if not self._hooks:
            with inside(self):
                return own(self, messages, **fields)
        call = _ChatCall(self, own, messages, fields)
        return push(self._generation(call.request, live=False), call.produce, None)

    return outer


def _wrap_achat(own: _Method) -> _Method:
    async def outer(self: LollmsLLMBinding, messages: Any, **fields: Any) -> Any:
        if is_inside(self):
            return await own(self, messages, **fields)
        if not self._hooks:
            with inside(self):
                return await own(self, messages, **fields)
        from lollms_core.async_generation import apush

        call = _ChatCall(self, own, messages, fields)
        return await apush(self._generation(call.request, live=False), call.aproduce, None)

    return outer


def _wrap_generate_from_messages(own: _Method) -> _Method:
    def outer(self: LollmsLLMBinding, messages: Any, **fields: Any) -> Any:
        if is_inside(self):
            return own(self, messages, **fields)
        if not self._hooks:
            with inside(self):
                return own(self, messages, **fields)
        call = _ChatCall(self, own, messages, fields)
        _, sink = self._with_callback(call.request, fields.get("streaming_callback"))
        try:
            return push(self._generation(call.request, live=sink is not None), call.produce, sink).text
        except LollmsError as error:
            return self._returned(error, sink)

    return outer


def _wrap_agenerate_text(own: _Method) -> _Method:
    async def outer(self: LollmsLLMBinding, prompt: Any, **fields: Any) -> Any:
        if is_inside(self):
            return await own(self, prompt, **fields)
        if not self._hooks:
            with inside(self):
                return await own(self, prompt, **fields)
        from lollms_core.async_generation import apush

        call = _PromptCall(self, own, prompt, fields)
        _, sink = self._with_callback(call.request, fields.get("streaming_callback"))
        try:
            return (await apush(self._generation(call.request, live=sink is not None), call.aproduce, sink)).text
        except LollmsError as error:
            return self._returned(error, sink)

    return outer


class _PromptCall(_ChatCall):
    """A call of an author's method that takes a prompt and keywords."""

    def __init__(self, binding: LollmsLLMBinding, own: _Method, subject: Any, fields: dict[str, Any]) -> None:
        self._binding = binding
        self._own = functools.partial(own, binding)
        self._fields = fields
        known = {name: value for name, value in fields.items() if name in REQUEST_FIELDS}
        self.request = self._asked = binding._text_checked(known, subject)

    def arguments(self, request: GenerationRequest) -> tuple[Any, dict[str, Any]]:
        self._subject = request.prompt
        return super().arguments(request)


def _wrap_stream(own: _Method) -> _Method:
    def outer(self: LollmsLLMBinding, messages: Any, **fields: Any) -> Any:
        if is_inside(self):
            return own(self, messages, **fields)
        call = _ChatCall(self, own, messages, fields)
        generation = self._generation(call.request, live=True)
        return Stream(generation, functools.partial(pull, generation, call.source))

    return outer


def _wrap_astream(own: _Method) -> _Method:
    def outer(self: LollmsLLMBinding, messages: Any, **fields: Any) -> Any:
        if is_inside(self):
            return own(self, messages, **fields)
        call = _ChatCall(self, own, messages, fields)
        from lollms_core.async_generation import apull

        generation = self._generation(call.request, live=True)
        return AsyncStream(generation, functools.partial(apull, generation, call.asource))

    return outer


def _wrap_embed(own: _Method) -> _Method:
    def outer(self: LollmsLLMBinding, text: Any, **kwargs: Any) -> Any:
        if is_inside(self):
            return own(self, text, **kwargs)

        def compute(request: EmbedRequest) -> Any:
            with inside(self):
                return vectors_of(text, own(self, subject_of(text, request), **embed_keywords(request)))

        request = self._embed_request(text, kwargs)
        vectors = embed_through(self._embedding(request), compute) if request.texts else []
        return vectors[0] if isinstance(text, str) else vectors

    return outer


def _wrap_aembed(own: _Method) -> _Method:
    async def outer(self: LollmsLLMBinding, text: Any, **kwargs: Any) -> Any:
        if is_inside(self):
            return await own(self, text, **kwargs)

        async def compute(request: EmbedRequest) -> Any:
            with inside(self):
                return vectors_of(text, await own(self, subject_of(text, request), **embed_keywords(request)))

        request = self._embed_request(text, kwargs)
        vectors = await aembed_through(self._embedding(request), compute) if request.texts else []
        return vectors[0] if isinstance(text, str) else vectors

    return outer


def _wrap_load_model(own: _Method) -> _Method:
    def outer(self: LollmsLLMBinding, *args: Any, **kwargs: Any) -> Any:
        self.last_error = None
        loaded = own(self, *args, **kwargs)
        if loaded is False and not self.last_error:
            wanted = args[0] if args else next(iter(kwargs.values()), None)
            self.last_error = f"the binding {self.binding_name!r} cannot load {wanted!r}, and does not say why"
            _log.warning("%s", self.last_error)
        return loaded

    return outer


_WRAPPERS: Mapping[str, Callable[[_Method], _Method]] = {
    "generate_text": _wrap_generate_text,
    "agenerate_text": _wrap_agenerate_text,
    "generate_from_messages": _wrap_generate_from_messages,
    "chat": _wrap_chat,
    "achat": _wrap_achat,
    "stream": _wrap_stream,
    "astream": _wrap_astream,
    "embed": _wrap_embed,
    "aembed": _wrap_aembed,
    "load_model": _wrap_load_model,
}
