"""A generation's parameters: checked once, then frozen."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import index
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self

from lollms_core.control import Control
from lollms_core.discovery.reports import bounded, message_of
from lollms_core.errors import LollmsError, UnsupportedParameter
from lollms_core.messages import ImageSource, Message, check_messages
from lollms_core.other_names import close_parameters

if TYPE_CHECKING:
    from lollms_core.response_format import ResponseFormat
    from lollms_core.tools import Tool

__all__ = ["PARAMETERS", "REQUEST_FIELDS", "EmbedRequest", "GenerationRequest"]

_NOTHING: Mapping[str, Any] = MappingProxyType({})


def _nothing() -> Mapping[str, Any]:
    return _NOTHING


class _Controlled:
    """What requests of both kinds have: a switch that ends them."""

    __slots__ = ()
    control: Control

    @property
    def cancelled(self) -> bool:
        """Whether the caller has ended this request; to be looked at between pieces of blocking work."""
        return self.control.cancelled

    def on_cancel(self, callback: Callable[[], object]) -> Callable[[], None]:
        """Have `callback` called from the cancelling thread; see :meth:`Control.on_cancel`."""
        return self.control.on_cancel(callback)


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationRequest(_Controlled):
    """Everything that one generation can carry. None means: the backend's own default.

    Either ``prompt`` or ``messages`` is given, not both.

    Args:
        prompt: plain text for the model.
        messages: chat messages in OpenAI's form.
        model: a model for this request alone.
        images: they belong to the prompt, or to the last user message.
        system_prompt: stands before the messages' own system message.
        stream: whether the caller wants pieces; a backend may answer in one piece if not.
        n_predict: most tokens of the answer, >= 1.
        temperature: >= 0; 0 is greedy.
        top_k: >= 0; 0 is off.
        top_p: 0 to 1; 1 is off.
        min_p: 0 to 1; 0 is off.
        repeat_penalty: > 0; 1 is off.
        repeat_last_n: tokens that the penalty looks back; 0 is off, -1 the whole context.
        presence_penalty: any finite number; 0 is off.
        frequency_penalty: any finite number; 0 is off.
        logit_bias: token id to an addition to its logit.
        logprobs: True for the log probability of each token, or how many alternatives to give with it.
        stop: one or several strings that end the answer and are not part of it.
        seed: same seed, same sampling; None or -1 is random.
        n_threads: CPU threads, >= 1.
        ctx_size: context length in tokens, >= 1.
        think: whether the model thinks before it answers, or how much: True, False, "low", "medium" or "high".
        tools: what the model may ask to have called: Python functions, or definitions in OpenAI's form.
        tool_choice: "auto", "none", "required", or the one tool that must be called (its name will do).
        response_format: what the answer must be: a JSON schema, a dataclass, a TypedDict or a pydantic model.
        timeout: seconds without a sign of life.
        deadline: seconds in total; what has come by then is in the BackendTimeout's ``partial``.
        cache_prompt: whether the backend may reuse an earlier prompt's work.
        metadata: the caller's own data; hooks see it, backends don't.
        backend_options: sent to the backend unchecked.
        options: the binding's own options, by name.

    Raises:
        TypeError, ValueError: a value of the wrong type or out of range; the text names the parameter.
    """

    prompt: str | None = None
    messages: tuple[Message, ...] | None = None
    model: str | None = None
    images: tuple[ImageSource, ...] = ()
    system_prompt: str = ""
    stream: bool | None = None
    n_predict: int | None = None
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repeat_penalty: float | None = None
    repeat_last_n: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: Mapping[Any, float] | None = None
    logprobs: bool | int | None = None
    stop: tuple[str, ...] | None = None
    seed: int | None = None
    n_threads: int | None = None
    ctx_size: int | None = None
    think: bool | str | None = None
    tools: tuple[Tool, ...] | None = None
    tool_choice: str | Mapping[str, Any] | None = None
    response_format: ResponseFormat | None = None
    timeout: float | None = None
    deadline: float | None = None
    cache_prompt: bool | None = None
    metadata: Mapping[str, Any] = field(default_factory=_nothing)
    backend_options: Mapping[str, Any] = field(default_factory=_nothing)
    options: Mapping[str, Any] = field(default_factory=_nothing)
    control: Control = field(default_factory=Control, repr=False, compare=False)

    def __post_init__(self) -> None:
        self._settle(_CHECKS)

    def _settle(self, names: Iterable[str]) -> None:
        """Check the fields of these names, and put what readers rely on in place of None."""
        if (self.prompt is None) == (self.messages is None):
            raise TypeError("a request needs either a prompt or messages")
        for name in names:
            value = getattr(self, name)
            if value is not None:
                checked = _check(name, _CHECKS[name], value)
                if checked is not value:
                    object.__setattr__(self, name, checked)
            elif name in _EMPTY:
                object.__setattr__(self, name, _EMPTY[name])

    def replace(self, **changes: Any) -> Self:
        """This request with some fields changed; it stays the same request for cancelling.

        Raises:
            UnsupportedParameter: there is no such field.
        """
        for name in changes:
            if name not in self.__dataclass_fields__:
                raise UnsupportedParameter(f"a request has no field {name!r}.{close_parameters(name, REQUEST_FIELDS)}")
        # Not dataclasses.replace, which would check once more what has not changed, for every request.
        changed = object.__new__(type(self))
        for name in self.__dataclass_fields__:
            object.__setattr__(changed, name, changes[name] if name in changes else getattr(self, name))
        changed._settle([name for name in changes if name in _CHECKS])
        return changed

    @property
    def chosen_tool(self) -> str | None:
        """The name of the one tool that must be called, None if it is not settled which."""
        choice = self.tool_choice
        return choice["function"]["name"] if isinstance(choice, Mapping) else None

    def to_messages(self) -> list[Message]:
        """The conversation as chat messages: the system prompt, then the messages or the prompt as a user's.

        The system prompt and a system message that begins the conversation are joined by an empty line.
        Images are not put in: they are in ``images``.
        """
        if self.messages is None:
            messages: list[Message] = [{"role": "user", "content": self.prompt}]
        else:
            messages = [dict(message) for message in self.messages]
        if not self.system_prompt:
            return messages
        first = messages[0]
        if first["role"] == "system" and isinstance(first["content"], str):
            joined = f"{self.system_prompt}\n\n{first['content']}" if first["content"] else self.system_prompt
            return [{**first, "content": joined}, *messages[1:]]
        return [{"role": "system", "content": self.system_prompt}, *messages]


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedRequest(_Controlled):
    """Texts to turn into vectors, in this order.

    Raises:
        TypeError, ValueError: a value of the wrong type or out of range.
    """

    texts: tuple[str, ...]
    model: str | None = None
    dimensions: int | None = None
    options: Mapping[str, Any] = field(default_factory=_nothing)
    control: Control = field(default_factory=Control, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name, check in _EMBED_CHECKS.items():
            value = getattr(self, name)
            if value is not None or name not in ("model", "dimensions"):
                object.__setattr__(self, name, _check(name, check, value))

    def replace(self, **changes: Any) -> Self:
        """This request with some fields changed; it stays the same request for cancelling."""
        for name in changes:
            if name not in self.__dataclass_fields__:
                raise UnsupportedParameter(f"an embedding request has no field {name!r}")
        return dataclasses.replace(self, **changes)


# Checks -----------------------------------------------------------------------------------------------

_Check = Callable[[str, Any], Any]

_MAX_SHOWN = 100  # characters of a value in a message


def _check(name: str, check: _Check, value: Any) -> Any:
    """``check(name, value)``; whatever the methods of `value` itself raise becomes one sentence about `name`."""
    try:
        return check(name, value)
    except LollmsError:
        raise
    except Exception as exc:
        said = message_of(exc)
        line = bounded(" ".join(said.split()))
        kind = ValueError if isinstance(exc, ValueError) else TypeError
        if isinstance(exc, kind) and said == line and name in said:
            raise
        raise kind(f"{name}: {line or type(exc).__name__}") from exc


def _shown(value: Any) -> str:
    """`value` for a message: bounded, and without a ``__repr__`` that fails."""
    try:
        shown = repr(value)
    except Exception:  # noqa: BLE001 - its type says enough
        return f"a value of type {type(value).__name__}"
    return shown if len(shown) <= _MAX_SHOWN else f"{shown[:_MAX_SHOWN]}..."


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a str, not {type(value).__name__}")
    return value


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, not {_shown(value)}")
    return value


def _whole(low: int) -> _Check:
    def check(name: str, value: Any) -> int:
        if isinstance(value, bool) or not hasattr(value, "__index__"):
            raise TypeError(f"{name} must be a whole number, not {_shown(value)}")
        number = index(value)
        if number < low:
            raise ValueError(f"{name} must be at least {low}, not {_shown(number)}")
        return number

    return check


def _number(low: float = -math.inf, high: float = math.inf, *, above: bool = False) -> _Check:
    def check(name: str, value: Any) -> float:
        if isinstance(value, bool) or not hasattr(value, "__float__"):
            raise TypeError(f"{name} must be a number, not {_shown(value)}")
        try:
            number = float(value)
        except OverflowError:
            raise ValueError(f"{name} must be a finite number, not one too large for a float") from None
        if not math.isfinite(number):
            raise ValueError(f"{name} must be a finite number, not {number}")
        if number < low or (above and number == low):
            raise ValueError(f"{name} must be {'greater than' if above else 'at least'} {low:g}, not {number:g}")
        if number > high:
            raise ValueError(f"{name} must be at most {high:g}, not {number:g}")
        return number

    return check


def _mapping(name: str, value: Any) -> Mapping[str, Any]:
    if isinstance(value, MappingProxyType):
        return value
    if not isinstance(value, Mapping):
        raise TypeError(f"{name} must be a dict, not {type(value).__name__}")
    return MappingProxyType(dict(value))


def _logit_bias(name: str, value: Any) -> Mapping[Any, float]:
    biases = _mapping(name, value)
    for token, bias in biases.items():
        _number()(f"{name}[{_shown(token)}]", bias)
    return biases


def _logprobs(name: str, value: Any) -> bool | int:
    return value if isinstance(value, bool) else int(_whole(0)(name, value))


def _stop(name: str, value: Any) -> tuple[str, ...]:
    stops = (value,) if isinstance(value, str) else _sequence(name, value)
    for stop in stops:
        if not _text(name, stop):
            raise ValueError(f"{name} must not contain an empty string")
    return stops


def _sequence(name: str, value: Any) -> tuple[Any, ...]:
    if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Sequence):
        raise TypeError(f"{name} must be a list, not {type(value).__name__}")
    return value if isinstance(value, tuple) else tuple(value)


def _think(name: str, value: Any) -> bool | str:
    if isinstance(value, bool) or (isinstance(value, str) and value in ("low", "medium", "high")):
        return value
    raise ValueError(f'{name} must be True, False, "low", "medium" or "high", not {_shown(value)}')


# These three are imported where they are used: a request without them needs none of it.
def _tools(name: str, value: Any) -> tuple[Tool, ...]:
    from lollms_core.tools import check_tools

    return check_tools(_sequence(name, value))


def _tool_choice(_: str, value: Any) -> str | Mapping[str, Any]:
    from lollms_core.tools import check_tool_choice

    return check_tool_choice(value)


def _response_format(_: str, value: Any) -> ResponseFormat:
    from lollms_core.response_format import ResponseFormat

    return ResponseFormat.of(value)


def _messages(_: str, value: Any) -> tuple[Message, ...]:
    return check_messages(value)


def _texts(name: str, value: Any) -> tuple[str, ...]:
    texts = _sequence(name, value)
    for text in texts:
        _text("a text to embed", text)
    return texts


_EMBED_CHECKS: dict[str, _Check] = {"texts": _texts, "model": _text, "dimensions": _whole(1), "options": _mapping}

# The parameters that a backend may or may not have a use for (a binding's `uses`).
_PARAMETER_CHECKS: dict[str, _Check] = {
    "model": _text,
    "n_predict": _whole(1),
    "temperature": _number(0),
    "top_k": _whole(0),
    "top_p": _number(0, 1),
    "min_p": _number(0, 1),
    "repeat_penalty": _number(0, above=True),
    "repeat_last_n": _whole(-1),
    "presence_penalty": _number(),
    "frequency_penalty": _number(),
    "logit_bias": _logit_bias,
    "stop": _stop,
    "seed": _whole(-1),
    "n_threads": _whole(1),
    "ctx_size": _whole(1),
    "timeout": _number(0, above=True),
    "cache_prompt": _flag,
}
_CHECKS: dict[str, _Check] = {
    "prompt": _text,
    "messages": _messages,
    "images": _sequence,
    "system_prompt": _text,
    "stream": _flag,
    "logprobs": _logprobs,
    "think": _think,
    "tools": _tools,
    "tool_choice": _tool_choice,
    "response_format": _response_format,
    "deadline": _number(0, above=True),
    "metadata": _mapping,
    "backend_options": _mapping,
    "options": _mapping,
    **_PARAMETER_CHECKS,
}

# What None stands for where a reader may rely on there being something.
_EMPTY: dict[str, Any] = {
    "images": (),
    "system_prompt": "",
    "metadata": _NOTHING,
    "backend_options": _NOTHING,
    "options": _NOTHING,
}

PARAMETERS: frozenset[str] = frozenset(_PARAMETER_CHECKS)
"""Parameters that a backend may have no use for; what it honours is in its class attribute ``uses``."""

REQUEST_FIELDS: frozenset[str] = frozenset(GenerationRequest.__dataclass_fields__) - {
    "prompt",
    "messages",
    "control",
    "options",
}
"""Field names that methods and constructors take as keywords."""
