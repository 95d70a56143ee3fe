"""Requests to Ollama's API, without I/O: a method, a path and a JSON body.

Source: docs/api.md of https://github.com/ollama/ollama.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from lollms_core import BadRequest, GenerationRequest, Image
from lollms_core.messages import text_of
from lollms_core.request import EmbedRequest
from lollms_ollama.options import SERVER_OPTIONS

__all__ = ["PS", "TAGS", "VERSION", "Call", "contents", "embedding", "generation", "loading", "show", "with_images"]


@dataclass(frozen=True, slots=True)
class Call:
    """One request. ``model`` is the model that it is about, for messages."""

    method: str
    path: str
    body: Mapping[str, Any] | None = field(default=None, repr=False)
    model: str | None = None

    def content(self) -> bytes:
        """The body's bytes, "" if there is none.

        Raises:
            BadRequest: it holds something that JSON has no form for.
        """
        if self.body is None:
            return b""
        try:
            text = json.dumps(self.body, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        except (TypeError, ValueError) as error:
            raise BadRequest(f"the request cannot be written as JSON: {error}") from error
        return text.encode("utf-8", "replace")  # a lone surrogate has no UTF-8 form


TAGS: Final = Call("GET", "/api/tags")
PS: Final = Call("GET", "/api/ps")
VERSION: Final = Call("GET", "/api/version")


def show(model: str, *, verbose: bool = False) -> Call:
    """What the server knows of a model; `verbose` with its vocabulary, which may be 30 MB."""
    body: dict[str, Any] = {"model": model, "name": model}  # servers before 0.1.44 know only "name"
    if verbose:
        body["verbose"] = True
    return Call("POST", "/api/show", body, model)


def loading(model: str, options: Mapping[str, Any], *, embeds: bool = False) -> Call:
    """Has the server load a model: a generation, or an embedding, of nothing."""
    body: dict[str, Any] = {"model": model, "stream": False}
    if embeds:
        body["input"] = []
    if "keep_alive" in options:
        body["keep_alive"] = options["keep_alive"]
    return Call("POST", "/api/embed" if embeds else "/api/generate", body, model)


# A request's field and Ollama's name for it.
_OPTIONS: Final = {
    "n_predict": "num_predict",
    "temperature": "temperature",
    "top_k": "top_k",
    "top_p": "top_p",
    "min_p": "min_p",
    "repeat_penalty": "repeat_penalty",
    "repeat_last_n": "repeat_last_n",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
    "n_threads": "num_thread",
    "ctx_size": "num_ctx",
}


def generation(request: GenerationRequest, model: str) -> Call:
    """The request for one answer, always streamed: silence is then noticed, and what has come is not lost.

    A plain prompt goes to /api/generate if ``completion_format`` is "text", everything else to /api/chat.
    """
    body: dict[str, Any] = {"model": model}
    as_text = request.messages is None and request.options.get("completion_format") == "text"
    if as_text:
        system = f"{request.system_prompt}\n\n" if request.system_prompt else ""
        body["prompt"] = system + (request.prompt or "")
        body["raw"] = True
        if "suffix" in request.options:
            body["suffix"] = request.options["suffix"]
            del body["raw"]  # it is the model's template that knows how to fill in
        images = [_base64(image) for image in request.images if isinstance(image, Image)]
        if images:
            body["images"] = images
    else:
        body["messages"] = list(_messages(request))
    body["stream"] = True
    options = {theirs: value for ours, theirs in _OPTIONS.items() if (value := getattr(request, ours)) is not None}
    if request.seed is not None and request.seed >= 0:
        options["seed"] = request.seed
    if request.stop is not None:
        options["stop"] = list(request.stop)
    options.update((name, request.options[name]) for name in SERVER_OPTIONS if name in request.options)
    _add(body, options, request.options)
    if request.think is not None:
        body["think"] = request.think
    return Call("POST", "/api/generate" if as_text else "/api/chat", _merged(body, request.backend_options), model)


def embedding(request: EmbedRequest, model: str, texts: Sequence[str]) -> Call:
    """The request for the vectors of `texts`."""
    body: dict[str, Any] = {"model": model, "input": list(texts)}
    options = {name: request.options[name] for name in SERVER_OPTIONS if name in request.options}
    _add(body, options, request.options)
    if request.dimensions is not None:
        body["dimensions"] = request.dimensions
    return Call("POST", "/api/embed", body, model)


def _add(body: dict[str, Any], options: dict[str, Any], own: Mapping[str, Any]) -> None:
    if options:
        body["options"] = options
    if "keep_alive" in own:
        body["keep_alive"] = own["keep_alive"]
    body["truncate"] = own.get("truncate", False)
    if "shift" in own:
        body["shift"] = own["shift"]


def _merged(body: dict[str, Any], unchecked: Mapping[str, Any]) -> dict[str, Any]:
    """`body` with ``backend_options``; of its own ``options`` only those that are named are replaced."""
    options = unchecked.get("options")
    merged = {**body, **unchecked}
    if isinstance(options, Mapping):
        merged["options"] = {**body.get("options", {}), **options}
    return merged


# Messages ---------------------------------------------------------------------------------------------


def _messages(request: GenerationRequest) -> Iterator[dict[str, Any]]:
    messages = request.to_messages()
    last = max((place for place, message in enumerate(messages) if message["role"] == "user"), default=None)
    for place, message in enumerate(messages):
        images = [part["image"] for part in _image_parts(message)]
        if place == last:
            images += request.images
        yield _message(message, [_base64(image) for image in images if isinstance(image, Image)])
    if last is None and request.images:
        yield _message({"role": "user", "content": ""}, [_base64(i) for i in request.images if isinstance(i, Image)])


def _message(message: Mapping[str, Any], images: list[str]) -> dict[str, Any]:
    role = message["role"]
    made: dict[str, Any] = {
        "role": "system" if role == "developer" else role,  # OpenAI's newer name of the same role
        "content": text_of(message.get("content")),
    }
    if images:
        made["images"] = images
    if message.get("tool_calls"):
        made["tool_calls"] = [_tool_call(call) for call in message["tool_calls"]]
    if role == "tool":
        name = message.get("name") or message.get("tool_name")
        if name:
            made["tool_name"] = name
        if message.get("tool_call_id"):
            made["tool_call_id"] = message["tool_call_id"]
    provider = message.get("provider")
    if isinstance(provider, Mapping) and isinstance(provider.get("thinking"), str):
        made["thinking"] = provider["thinking"]
    return made


def _tool_call(call: Mapping[str, Any]) -> dict[str, Any]:
    """Ollama wants the arguments as an object, not as JSON text."""
    function = dict(call.get("function") or {})
    arguments = function.get("arguments")
    if isinstance(arguments, str):
        try:
            function["arguments"] = json.loads(arguments or "{}")
        except ValueError as error:
            raise BadRequest(f"a tool call's arguments are no JSON: {error}") from error
    made = {"function": function}
    return {"id": call["id"], **made} if call.get("id") else made


def _image_parts(message: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    content = message.get("content")
    if not isinstance(content, list):
        return []
    return [part for part in content if part.get("type") == "image"]


def with_images(messages: Sequence[Mapping[str, Any]], load: Any) -> tuple[dict[str, Any], ...]:
    """`messages` with the images in their parts read by `load`, each part then ``{"type": "image", "image": Image}``.

    Raises:
        ImageError: an image cannot be read.
        TypeError: a part is of an unknown kind.
    """
    return tuple(_with_images(place, message, load) for place, message in enumerate(messages))


def _with_images(place: int, message: Mapping[str, Any], load: Any) -> dict[str, Any]:
    content = message.get("content")
    if not isinstance(content, list):
        return dict(message)
    parts = []
    for part in content:
        kind = part["type"]
        if kind == "image_url":
            url = part.get("image_url")
            parts.append({"type": "image", "image": load(url.get("url") if isinstance(url, Mapping) else url)})
        elif kind == "image":
            parts.append({"type": "image", "image": load(part.get("image"))})
        elif kind == "text":
            parts.append(part)
        else:
            raise TypeError(f"messages[{place}] has a part of the kind {kind!r}, which Ollama has no place for")
    return {**message, "content": parts}


def _base64(image: Image) -> str:
    return base64.b64encode(image.data).decode("ascii")


def contents(request: GenerationRequest) -> list[str]:
    """The texts that the prompt is made of, without what the model's template adds."""
    if request.messages is None:
        return [text for text in (request.system_prompt, request.prompt) if text]
    return [text for message in request.to_messages() if (text := text_of(message.get("content")))]
