"""Requests, events and errors as plain values, and back."""

from __future__ import annotations

import dataclasses
from array import array
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from lollms_core import (
    BackendError,
    EmbedRequest,
    Event,
    Finish,
    GenerationRequest,
    LollmsError,
    Progress,
    ReasoningDelta,
    ResponseFormat,
    TextDelta,
    Tool,
    ToolCall,
    Usage,
    errors,
)
from lollms_core.control import Control
from lollms_core.events import TokenLogprob
from lollms_core.messages import Image
from lollms_llamacpp.native import ClosedError
from lollms_llamacpp.options import LoadOptions

__all__ = [
    "embedding_in",
    "embedding_out",
    "error_in",
    "error_out",
    "event_in",
    "event_out",
    "options_in",
    "request_in",
    "request_out",
    "tokens_in",
    "tokens_out",
    "vectors_in",
    "vectors_out",
]

# Events -------------------------------------------------------------------------------------------------------


def event_out(event: Event) -> Any:
    """An event as a plain value: a text as itself, the others as a list of their class's name and their fields.

    Raises:
        TypeError: it is of no known kind.
    """
    if type(event) is TextDelta:
        return event.text
    fields = _EVENTS.get(type(event))
    if fields is None:
        raise TypeError(f"events of type {type(event).__name__} cannot be handed to another process")
    values = [getattr(event, name) for name in fields]
    if type(event) is TokenLogprob and values[-1] is not None:
        values[-1] = values[-1].decode("latin-1")
    return [type(event).__name__, *values]


def event_in(value: Any) -> Event:
    """The event that :func:`event_out` has made `value` of.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: it is of no event.
    """
    if type(value) is str:
        return TextDelta(value)
    name, *values = value
    return _MAKERS[name](*values)


def _logprob(token: str, logprob: float, top: Sequence[Sequence[Any]], data: str | None) -> TokenLogprob:
    pairs = tuple((text, likelihood) for text, likelihood in top)
    return TokenLogprob(token, logprob, pairs, None if data is None else data.encode("latin-1"))


def _usage(prompt: int | None, completion: int | None, cached: int | None, counted: Sequence[str]) -> Usage:
    return Usage(prompt, completion, cached, frozenset(counted))


_KINDS: Final[tuple[type[Any], ...]] = (TextDelta, ReasoningDelta, ToolCall, TokenLogprob, Usage, Finish, Progress)
_EVENTS: Final = {kind: tuple(field.name for field in dataclasses.fields(kind)) for kind in _KINDS}
_MAKERS: Final[dict[str, Callable[..., Event]]] = {
    **{kind.__name__: kind for kind in _KINDS},
    "TokenLogprob": _logprob,
    "Usage": _usage,
}

# Requests -----------------------------------------------------------------------------------------------------

# What has no meaning beyond the binding: hooks see the metadata, and whoever waits looks at the clock.
_KEPT_BACK: Final = frozenset({"control", "metadata", "model", "timeout", "deadline", "backend_options"})
_FIELDS: Final = tuple(f.name for f in dataclasses.fields(GenerationRequest) if f.name not in _KEPT_BACK)


class _Images:
    """The images of a request, whose bytes go beside it."""

    def __init__(self) -> None:
        self.kinds: list[tuple[str, int]] = []
        self.data: list[bytes] = []

    def out(self, image: Any) -> Any:
        """Its number; what is no image, such as a URL, stays what it is."""
        if not isinstance(image, Image):
            return image
        self.kinds.append((image.mime, len(image.data)))
        self.data.append(image.data)
        return len(self.kinds) - 1


def request_out(request: GenerationRequest) -> tuple[dict[str, Any], bytes]:
    """A request as plain values, and the bytes of its images."""
    images = _Images()
    found: dict[str, Any] = {}
    for name in _FIELDS:
        value = getattr(request, name)
        if value is not None and value not in ((), ""):
            found[name] = value
    # What may be empty and still be asked.
    if request.prompt is not None:
        found["prompt"] = request.prompt
    if request.messages is not None:
        found["messages"] = [_message(message, images.out) for message in request.messages]
    if request.images:
        found["images"] = [images.out(image) for image in request.images]
    if request.tools is not None:
        # Their functions are run by the caller.
        found["tools"] = [(tool.name, tool.description, tool.parameters) for tool in request.tools]
    if request.response_format is not None:
        wanted = request.response_format
        found["response_format"] = (wanted.name, wanted.schema, wanted.description, wanted.strict)
    if request.logit_bias is not None:
        found["logit_bias"] = list(request.logit_bias.items())  # JSON has only strings as keys
    return {"fields": found, "images": images.kinds}, b"".join(images.data)


def request_in(value: Mapping[str, Any], data: bytes, control: Control) -> GenerationRequest:
    """The request that :func:`request_out` has made `value` and `data` of; `control` is what cancels it.

    Raises:
        TypeError, ValueError: it cannot be one.
    """
    images = []
    at = 0
    for mime, size in value["images"]:
        images.append(Image(data[at : at + size], mime))
        at += size

    def image(given: Any) -> Any:
        return images[given] if isinstance(given, int) else given

    fields = dict(value["fields"])
    if "messages" in fields:
        fields["messages"] = [_message(message, image) for message in fields["messages"]]
    if "images" in fields:
        fields["images"] = tuple(map(image, fields["images"]))
    if "tools" in fields:
        fields["tools"] = tuple(Tool(*tool) for tool in fields["tools"])
    if "response_format" in fields:
        fields["response_format"] = ResponseFormat(*fields["response_format"])
    if "logit_bias" in fields:
        fields["logit_bias"] = dict(fields["logit_bias"])
    return GenerationRequest(**fields, control=control)


def _message(message: Mapping[str, Any], image: Callable[[Any], Any]) -> dict[str, Any]:
    content = message.get("content")
    if not isinstance(content, list):
        return dict(message)
    parts = [{**part, "image": image(part.get("image"))} if part["type"] == "image" else part for part in content]
    return {**message, "content": parts}


def embedding_out(request: EmbedRequest) -> dict[str, Any]:
    """A request for vectors as plain values."""
    return {"texts": request.texts, "dimensions": request.dimensions, "options": request.options}


def embedding_in(value: Mapping[str, Any], control: Control) -> EmbedRequest:
    """The request that :func:`embedding_out` has made `value` of; `control` is what cancels it."""
    texts = tuple(value["texts"])
    return EmbedRequest(texts=texts, dimensions=value["dimensions"], options=value["options"], control=control)


def options_in(value: Mapping[str, Any]) -> LoadOptions:
    """Load options from their fields, in which JSON has made lists of tuples."""
    return LoadOptions(**{name: _frozen(one) for name, one in value.items()})


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


# Answers ------------------------------------------------------------------------------------------------------


def tokens_out(tokens: Sequence[int]) -> bytes:
    """Tokens, 32 bits each."""
    return array("i", tokens).tobytes()


def tokens_in(data: bytes) -> list[int]:
    """The tokens that :func:`tokens_out` has made `data` of.

    Raises:
        ValueError: it cannot be of tokens.
    """
    return _numbers("i", data)


def vectors_out(vectors: Sequence[Sequence[float]]) -> tuple[list[int], bytes]:
    """The lengths of vectors, and their figures, 64 bits each."""
    return [len(vector) for vector in vectors], b"".join(array("d", vector).tobytes() for vector in vectors)


def vectors_in(lengths: Sequence[int], data: bytes) -> list[list[float]]:
    """The vectors that :func:`vectors_out` has made them of.

    Raises:
        TypeError, ValueError: they do not go together.
    """
    figures = _numbers("d", data)
    if sum(lengths) != len(figures):
        raise ValueError(f"vectors of {sum(lengths)} figures have {len(figures)}")
    vectors = []
    at = 0
    for length in lengths:
        vectors.append(figures[at : at + length])
        at += length
    return vectors


def _numbers(kind: str, data: bytes) -> list[Any]:
    numbers = array(kind)
    numbers.frombytes(data)
    return numbers.tolist()


# Errors -------------------------------------------------------------------------------------------------------

_ERRORS: Final[dict[str, type[Exception]]] = {
    **{cls.__name__: cls for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, LollmsError)},
    "TypeError": TypeError,
    "ValueError": ValueError,
    "ClosedError": ClosedError,
}


def error_out(error: BaseException) -> list[Any]:
    """An error as the name of its class, its text and its attributes."""
    attributes = {
        name: value
        for name, value in vars(error).items()
        if value is None or isinstance(value, (str, bool, int, float))
    }
    return [type(error).__name__, str(error), attributes]


def error_in(value: Sequence[Any]) -> Exception:
    """The error that :func:`error_out` has made `value` of; of a class that is not ours, a BackendError.

    Raises:
        TypeError, ValueError: it is of none.
    """
    name, text, attributes = value
    cls = _ERRORS.get(name)
    if cls is None:
        return BackendError(f"{name}: {text}" if text else str(name))
    error = cls(text)
    vars(error).update(attributes)
    return error
