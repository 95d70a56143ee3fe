"""An author's own ``generate_text`` seen as a source of events."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, Self

from lollms_core.errors import BackendError, CapabilityNotSupported, error_from_dict
from lollms_core.events import MSG_TYPE, Completion, Event, Finish, ReasoningDelta, TextDelta
from lollms_core.generation import Emit
from lollms_core.messages import AI_KEYWORD, USER_KEYWORD, Message, join_discussion, text_of
from lollms_core.request import REQUEST_FIELDS, GenerationRequest
from lollms_core.threads import ThreadedEvents

__all__ = ["CONTRACT", "CallbackSink", "Relay", "TextSignature", "events_of", "produce_text"]

_log = logging.getLogger(__name__)

CONTRACT = REQUEST_FIELDS | {"prompt", "streaming_callback", "split", "user_keyword", "ai_keyword"}
"""The parameters that generate_text may have beside an author's own."""

# What a parameter without a default gets where nothing is set.
_UNSET = {"system_prompt": "", "split": False, "user_keyword": USER_KEYWORD, "ai_keyword": AI_KEYWORD}


@dataclass(frozen=True, slots=True)
class TextSignature:
    """What an author's generate_text takes.

    Args:
        signature: of the function, ``self`` first.
        prompt: the name of the first parameter after ``self``.
        names: all parameter names after ``self``, without ``*args`` and ``**kwargs``.
        required: those without a default.
        extra: those that are not in the contract: the author's own options.
    """

    signature: inspect.Signature
    prompt: str
    names: frozenset[str]
    required: frozenset[str]
    extra: frozenset[str]

    @classmethod
    @lru_cache(maxsize=256)
    def of(cls, function: Callable[..., Any]) -> Self:
        signature = inspect.signature(function)
        parameters = [
            parameter
            for parameter in list(signature.parameters.values())[1:]
            if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        ]
        if not parameters:
            raise TypeError(f"{function.__qualname__} has no parameter for the prompt")
        names = frozenset(parameter.name for parameter in parameters)
        return cls(
            signature,
            parameters[0].name,
            names,
            frozenset(parameter.name for parameter in parameters if parameter.default is parameter.empty),
            names - CONTRACT - {parameters[0].name},
        )

    def left_out(self, kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Those of a call's keywords that the contract has and the function does not take, not even as ``**kwargs``."""
        if any(one.kind is one.VAR_KEYWORD for one in self.signature.parameters.values()):
            return {}
        return {name: value for name, value in kwargs.items() if name in CONTRACT - self.names - {self.prompt}}

    def bind(self, binding: object, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments of one call by name, those in ``**kwargs`` among them.

        Raises:
            TypeError: they do not fit.
        """
        arguments = dict(self.signature.bind(binding, *args, **kwargs).arguments)
        given: dict[str, Any] = {}
        for name, value in list(arguments.items())[1:]:
            if self.signature.parameters[name].kind is inspect.Parameter.VAR_KEYWORD:
                given |= value
            else:
                given[name] = value
        return given

    def arguments(self, request: GenerationRequest) -> tuple[str, dict[str, Any]]:
        """The prompt, and the keywords that the function takes and the request has a value for."""
        prompt, values = _as_prompt(request)
        for name in self.names & REQUEST_FIELDS - values.keys():
            value = getattr(request, name)
            if value is not None:
                values[name] = value
        for name in self.required - values.keys():
            values[name] = _UNSET.get(name)
        chosen = {name: value for name, value in values.items() if name in self.names}
        chosen.pop(self.prompt, None)
        return prompt, {**chosen, **request.options}


def _as_prompt(request: GenerationRequest) -> tuple[str, dict[str, Any]]:
    """Prompt, system prompt, split and images: what a conversation is for a class without messages.

    System messages become the system prompt; one user turn is the prompt, several are a discussion.
    """
    images = list(request.images)
    if request.messages is None:
        values: dict[str, Any] = {"images": images or None}
        if request.system_prompt:
            values["system_prompt"] = request.system_prompt
        return request.prompt or "", values
    systems: list[Message] = []
    turns: list[Message] = []
    for message in request.to_messages():
        if message["role"] == "tool" or message.get("tool_calls"):
            raise CapabilityNotSupported("this binding has no tools, so a conversation with tool calls cannot go on")
        (systems if message["role"] in ("system", "developer") else turns).append(message)
        if isinstance(message["content"], list):
            images += [_image_of(part) for part in message["content"] if part["type"] in ("image_url", "image")]
    values = {
        "system_prompt": "\n\n".join(text_of(message["content"]) for message in systems),
        "images": images or None,
    }
    if len(turns) == 1 and turns[0]["role"] == "user":
        return text_of(turns[0]["content"]), values
    # An author may have other keywords as defaults; the discussion is written with these.
    keywords = {"split": True, "user_keyword": USER_KEYWORD, "ai_keyword": AI_KEYWORD}
    return join_discussion(turns), {**values, **keywords}


def _image_of(part: Mapping[str, Any]) -> Any:
    image = part.get("image_url", part.get("image"))
    return image["url"] if isinstance(image, Mapping) else image


def produce_text(
    binding_name: str,
    generate_text: Callable[..., Any],
    signature: TextSignature,
    request: GenerationRequest,
    emit: Emit,
    *,
    streamed: bool,
) -> None:
    """Call an author's generate_text for `request` and give its answer to `emit`.

    It runs in this thread; where the request has a deadline, in one of its own, because nothing else would end the
    wait for an author's code that is silent. Such a thread ends when the author's code next calls back or returns.

    Raises:
        Exception: what the author raised, or what the returned error dict stands for.
    """
    call = partial(_call_text, binding_name, generate_text, signature, request, streamed)
    if request.deadline is None or isinstance(getattr(emit, "__self__", None), ThreadedEvents):
        call(emit)  # in the second case this is such a thread already
        return
    events = ThreadedEvents(call, name=f"lollms-{binding_name}")
    forget = request.on_cancel(events.close)
    try:
        for event in events:
            if not emit(event):
                break
    finally:
        forget()
        events.close()


def _call_text(
    binding_name: str,
    generate_text: Callable[..., Any],
    signature: TextSignature,
    request: GenerationRequest,
    streamed: bool,
    emit: Emit,
) -> None:
    relay = Relay(binding_name, request, emit)
    prompt, keywords = signature.arguments(request)
    if "stream" in signature.names:
        keywords["stream"] = streamed
    if "streaming_callback" in signature.names:
        keywords["streaming_callback"] = relay if streamed else None
    relay.finish(generate_text(prompt, **keywords))


class Relay:
    """The callback that an author's code gets: turns its chunks into events."""

    def __init__(self, binding_name: str, request: GenerationRequest, emit: Emit) -> None:
        self._binding_name = binding_name
        self._request = request
        self._emit = emit
        self._streamed: list[str] = []
        self._refused = False
        self._warned = False

    def __call__(self, chunk: Any, kind: MSG_TYPE = MSG_TYPE.MSG_TYPE_CHUNK, *_: Any) -> bool:
        if self._request.cancelled:
            if self._refused and not self._warned:
                self._warned = True
                _log.warning("the binding %r goes on generating after its callback returned False", self._binding_name)
            self._refused = True
            return False
        if kind is MSG_TYPE.MSG_TYPE_CHUNK:
            if not isinstance(chunk, str):
                raise TypeError(f"the binding {self._binding_name!r} streamed a {type(chunk).__name__}, not a str")
            self._streamed.append(chunk)
            more = self._emit(TextDelta(chunk))
        elif kind is MSG_TYPE.MSG_TYPE_THOUGHT_CHUNK:
            more = self._emit(ReasoningDelta(str(chunk)))
        else:
            return True  # steps, infos and the like are no part of the answer
        self._refused = not more
        return more

    def finish(self, result: Any) -> None:
        """Take what the author's method returned: what was not streamed of it, and the end."""
        streamed = "".join(self._streamed)
        stopped = self._request.cancelled
        for event in events_of(result):
            if isinstance(event, TextDelta) and streamed:
                # A class may stream a part and return all; one that returns something else has streamed it.
                if not stopped and event.text.startswith(streamed) and event.text != streamed:
                    self._emit(TextDelta(event.text[len(streamed) :]))
            elif isinstance(event, ReasoningDelta) and streamed:
                continue
            elif not (isinstance(event, Finish) and stopped):  # else it returned because it was stopped
                self._emit(event)


def events_of(result: Any) -> Iterator[Event]:
    """The events that a returned text or Completion stands for.

    Raises:
        LollmsError: the one that a returned error dict stands for; BackendError for anything else.
    """
    if isinstance(result, str):
        if result:
            yield TextDelta(result)
        yield Finish("stop")
    elif isinstance(result, Completion):
        if result.reasoning:
            yield ReasoningDelta(result.reasoning)
        if result.text:
            yield TextDelta(result.text)
        yield from result.logprobs
        yield from result.tool_calls
        yield result.usage
        yield Finish(result.finish_reason or "stop", result.model, result.id, result.provider, result.raw)
    elif isinstance(result, Mapping):
        raise error_from_dict(result)
    else:
        raise BackendError(f"generate_text returned a {type(result).__name__}, neither text nor an error dict")


class CallbackSink:
    """Gives the caller's events to a streaming callback; only a returned False stops."""

    def __init__(self, callback: Callable[..., Any]) -> None:
        self._callback = callback
        self.raised: BaseException | None = None

    def __call__(self, event: Event) -> bool:
        return self._call(event) is not False

    async def call_async(self, event: Event) -> bool:
        """The same; an awaitable that the callback returns is awaited."""
        result = self._call(event)
        if inspect.isawaitable(result):
            try:
                result = await result
            except BaseException as exc:
                self.raised = exc
                raise
        return result is not False

    def _call(self, event: Event) -> Any:
        if isinstance(event, TextDelta):
            kind = MSG_TYPE.MSG_TYPE_CHUNK
        elif isinstance(event, ReasoningDelta):
            kind = MSG_TYPE.MSG_TYPE_THOUGHT_CHUNK
        else:
            return None
        try:
            return self._callback(event.text, kind)
        except BaseException as exc:
            self.raised = exc
            raise
