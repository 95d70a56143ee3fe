"""From a request of the contract to the JSON that is sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from lollms_core import CapabilityNotSupported, EmbedRequest, GenerationRequest
from lollms_openai.exchange import Ask
from lollms_openai.preset import Preset
from lollms_openai.schemas import response_format
from lollms_openai.server import Server
from lollms_openai.thinking import switch_of
from lollms_openai.wire_messages import wire_messages

__all__ = ["adapted", "check_plain", "embedding_body", "generation_body", "is_plain", "thinking_fields"]


def is_plain(request: GenerationRequest) -> bool:
    """Whether `request` goes to /completions: a prompt that is to be continued as it stands."""
    return request.prompt is not None and request.options.get("completion_format") == "text"


def check_plain(request: GenerationRequest) -> None:
    """Whether /completions has what `request` asks for, if that is where it goes.

    Raises:
        CapabilityNotSupported: it has not.
    """
    if not is_plain(request):
        return
    asked = {
        "images": request.images,
        "tools": request.tools,
        "a response_format": request.response_format,
        "think": request.think,
    }
    for name, value in asked.items():
        if value:
            raise CapabilityNotSupported(f'a plain completion has no place for {name}: use completion_format="chat"')


def generation_body(request: GenerationRequest, server: Server, model: str | None) -> dict[str, Any]:
    """The body for /chat/completions, or for /completions where :func:`is_plain`.

    What depends on the model's name is in :func:`thinking_fields`.
    """
    preset = server.preset
    body: dict[str, Any] = {} if model is None else {"model": model}
    if is_plain(request):
        prompt = request.prompt or ""
        body["prompt"] = f"{request.system_prompt}\n\n{prompt}" if request.system_prompt else prompt
    else:
        body["messages"] = wire_messages(request, server)
    if request.n_predict is not None:
        body["max_tokens" if is_plain(request) else preset.max_tokens] = request.n_predict
    for name, wire in preset.fields.items():
        value = getattr(request, name)
        if value is not None:
            body[wire] = _plain_value(value)
    if request.seed == -1:  # the contract's "random", which is what leaving it out means
        body.pop(preset.fields.get("seed", ""), None)
    body |= _tools(request, preset) | response_format(request, preset) | _logprobs(request, preset)
    if request.logprobs or request.response_format is not None:
        body |= preset.insisting
    if request.stream:
        body["stream"] = True
        if preset.stream_usage:
            body["stream_options"] = {"include_usage": True}
    return {**body, **request.backend_options}


def thinking_fields(request: GenerationRequest, preset: Preset, model: str | None) -> Mapping[str, Any]:
    """What goes into the body for ``think``; nothing for a model that has no switch."""
    if request.think is None or is_plain(request):
        return {}
    switch = switch_of(preset.thinking, model)
    return {} if switch is None else switch.fields[request.think]


def embedding_body(request: EmbedRequest, texts: Sequence[str], preset: Preset, model: str | None) -> dict[str, Any]:
    """The body for /embeddings with some of the request's texts."""
    body: dict[str, Any] = {} if model is None else {"model": model}
    body["input"] = list(texts)
    if request.dimensions is not None:
        body["dimensions"] = request.dimensions
    if preset.embed_encoding is not None:
        body["encoding_format"] = preset.embed_encoding
    return body


def adapted(status: int, words: str, ask: Ask) -> Ask | None:
    """`ask` in a form that the server takes, where its words say so and that changes nothing for the caller.

    ``stream_options`` only asks for figures, the limit of the answer has two names, a tool that must be called is the
    only one and required, and llama-cpp-python's server has a schema beside ``json_object``
    (https://llama-cpp-python.readthedocs.io/en/latest/#json-schema-mode), which it says with status 500.
    """
    if ask.body is None:
        return None
    body = dict(ask.body)
    if status == 500 and "literal_error" in words:
        return replace(ask, body=body) if _schema_beside(words, body) else None
    if status not in (400, 422):
        return None
    if "stream_options" in words and "stream_options" in body:
        del body["stream_options"]
    elif "max_completion_tokens" in words and "max_tokens" in body:
        body["max_completion_tokens"] = body.pop("max_tokens")
    elif "tool_choice" in words and isinstance(body.get("tool_choice"), Mapping):
        body |= _only(body["tool_choice"]["function"]["name"], body.get("tools", []))
    elif not _schema_beside(words, body):
        return None
    return replace(ask, body=body)


def _schema_beside(words: str, body: dict[str, Any]) -> bool:
    """Whether the server knows no ``json_schema`` but ``json_object``, in `body` then with the schema."""
    wanted = body.get("response_format")
    schema = wanted.get("json_schema") if isinstance(wanted, Mapping) else None
    if not isinstance(schema, Mapping) or "response_format" not in words or "json_object" not in words:
        return False
    body["response_format"] = {"type": "json_object", "schema": schema.get("schema")}
    return True


def _tools(request: GenerationRequest, preset: Preset) -> dict[str, Any]:
    if not request.tools:
        return {}
    fields: dict[str, Any] = {"tools": [tool.definition for tool in request.tools]}
    choice, name = request.tool_choice, request.chosen_tool
    if name is not None and not preset.named_choice:
        fields |= _only(name, fields["tools"])
        choice = "required"
    if choice is not None:
        fields["tool_choice"] = preset.required if choice == "required" else choice
    return fields


def _only(name: str, tools: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What says that the tool `name` must be called where it can't be said by its name."""
    return {"tools": [tool for tool in tools if tool["function"]["name"] == name], "tool_choice": "required"}


def _logprobs(request: GenerationRequest, preset: Preset) -> dict[str, Any]:
    if not request.logprobs:
        return {}
    # llama-server takes 0 for none at all, and sends 20 alternatives where no number is named.
    count = max(1, int(request.logprobs))
    if is_plain(request) or preset.counted_logprobs:
        return {"logprobs": count}
    return {"logprobs": True, "top_logprobs": count}


def _plain_value(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(token): bias for token, bias in value.items()}
    return list(value) if isinstance(value, tuple) else value
