"""Requests to Ollama's API, without I/O: a method, a path and a JSON body.

Source: docs/api.md and docs/openapi.yaml of https://github.com/ollama/ollama.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from lollms_core import EmbedRequest, GenerationRequest
from lollms_http import Call
from lollms_ollama.chat_messages import as_base64, chat_messages
from lollms_ollama.facts import ModelFacts
from lollms_ollama.options import SERVER_OPTIONS

__all__ = [
    "PS",
    "TAGS",
    "VERSION",
    "deleting",
    "embedding",
    "generation",
    "is_plain",
    "loading",
    "pulling",
    "show",
]


TAGS: Final = Call("GET", "/api/tags")
PS: Final = Call("GET", "/api/ps")
VERSION: Final = Call("GET", "/api/version")


def show(model: str, *, verbose: bool = False) -> Call:
    """What the server knows of a model; `verbose` with its vocabulary, which may be 30 MB."""
    body: dict[str, Any] = {"model": model, "name": model}  # servers before 0.1.44 know only "name"
    if verbose:
        body["verbose"] = True
    return Call("POST", "/api/show", body, model, is_large=verbose)


def loading(model: str, options: Mapping[str, Any], *, embeds: bool = False) -> Call:
    """Has the server load a model: a generation, or an embedding, of nothing."""
    body: dict[str, Any] = {"model": model, "stream": False}
    if embeds:
        body["input"] = []
    if "keep_alive" in options:
        body["keep_alive"] = options["keep_alive"]
    return Call("POST", "/api/embed" if embeds else "/api/generate", body, model)


def pulling(model: str, *, insecure: bool = False) -> Call:
    """Has the server fetch a model; `insecure` from a registry without TLS."""
    body: dict[str, Any] = {"model": model, "name": model, "stream": True}
    if insecure:
        body["insecure"] = True
    return Call("POST", "/api/pull", body, model, stream=True)


def deleting(model: str) -> Call:
    """Has the server delete a model."""
    return Call("DELETE", "/api/delete", {"model": model, "name": model}, model, says_nothing=True)


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


def is_plain(request: GenerationRequest) -> bool:
    """Whether a request is a plain prompt that goes as it stands, and not into the model's template for chats.

    With tools it is a chat: only /api/chat has them.
    """
    plain = request.messages is None and request.options.get("completion_format") == "text"
    return plain and not _tools(request)


def generation(request: GenerationRequest, model: str, facts: ModelFacts | None = None) -> Call:
    """The request for one answer, streamed unless the caller has said ``stream=False``.

    A stream is asked for where nobody reads it in pieces, too: silence is then noticed, and what has come is not lost.

    A plain prompt goes to /api/generate if ``completion_format`` is "text", everything else to /api/chat.

    Args:
        request: what the caller asks.
        model: the model's name.
        facts: what is known of it.

    Raises:
        BadRequest: the arguments of a tool call are no JSON object.
    """
    body: dict[str, Any] = {"model": model}
    plain = is_plain(request)
    if plain:
        system = f"{request.system_prompt}\n\n" if request.system_prompt else ""
        body["prompt"] = system + (request.prompt or "")
        body["raw"] = True
        if "suffix" in request.options:
            body["suffix"] = request.options["suffix"]
            del body["raw"]  # it is the model's template that knows how to fill in
        images = as_base64(request.images)
        if images:
            body["images"] = images
    else:
        body["messages"] = list(chat_messages(request))
        tools = _tools(request)
        if tools:
            body["tools"] = tools
    streamed = body["stream"] = request.stream is not False
    if request.response_format is not None:
        body["format"] = dict(request.response_format.schema)
    options = {theirs: value for ours, theirs in _OPTIONS.items() if (value := getattr(request, ours)) is not None}
    if request.seed is not None and request.seed >= 0:
        options["seed"] = request.seed
    if request.stop is not None:
        options["stop"] = list(request.stop)
    options.update((name, request.options[name]) for name in SERVER_OPTIONS if name in request.options)
    _add(body, options, request.options)
    # Of a model that nothing is known of, the server itself says whether it thinks.
    think = facts.think(request.think) if facts is not None else request.think or None
    if think is not None:
        body["think"] = think
    if request.logprobs:
        body["logprobs"] = True
        if request.logprobs is not True:
            body["top_logprobs"] = request.logprobs
    path = "/api/generate" if plain else "/api/chat"
    return Call("POST", path, _merged(body, request.backend_options), model, stream=streamed)


def _tools(request: GenerationRequest) -> list[dict[str, Any]]:
    # Ollama has no field for tool_choice; a model that shall call none is told of none.
    return [] if request.tool_choice == "none" else [tool.definition for tool in request.tools or ()]


def embedding(request: EmbedRequest, texts: Sequence[str]) -> Call:
    """The request for the vectors of `texts`."""
    body: dict[str, Any] = {"model": request.model, "input": list(texts)}
    options = {name: request.options[name] for name in SERVER_OPTIONS if name in request.options}
    _add(body, options, request.options)
    if request.dimensions is not None:
        body["dimensions"] = request.dimensions
    return Call("POST", "/api/embed", body, request.model, is_large=True)


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
