"""From a request of the contract to the JSON that is sent."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from lollms_core import CapabilityNotSupported, EmbedRequest, GenerationRequest, Image
from lollms_core.messages import ImageSource, Message, load_image
from lollms_openai.exchange import Ask
from lollms_openai.preset import Preset

__all__ = ["adapted", "embedding_body", "generation_body", "is_plain"]


def is_plain(request: GenerationRequest) -> bool:
    """Whether `request` goes to /completions: a prompt that is to be continued as it stands."""
    return request.prompt is not None and request.options.get("completion_format") == "text"


def generation_body(request: GenerationRequest, preset: Preset, model: str | None) -> dict[str, Any]:
    """The body for /chat/completions, or for /completions where :func:`is_plain`.

    Reads the images that its messages name.

    Raises:
        ImageError: one of them cannot be read.
        CapabilityNotSupported: images with a plain completion.
    """
    body: dict[str, Any] = {} if model is None else {"model": model}
    if is_plain(request):
        if request.images:
            raise CapabilityNotSupported('images need completion_format="chat"')
        prompt = request.prompt or ""
        body["prompt"] = f"{request.system_prompt}\n\n{prompt}" if request.system_prompt else prompt
    else:
        body["messages"] = _messages(request, preset)
    if request.n_predict is not None:
        body["max_tokens" if is_plain(request) else preset.max_tokens] = request.n_predict
    for name, wire in preset.fields.items():
        value = getattr(request, name)
        if value is not None:
            body[wire] = _plain_value(value)
    if request.seed == -1:  # the contract's "random", which is what leaving it out means
        body.pop(preset.fields.get("seed", ""), None)
    if request.stream:
        body["stream"] = True
        if preset.stream_usage:
            body["stream_options"] = {"include_usage": True}
    return {**body, **request.backend_options}


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
    """`ask` without what the server says it does not know, where that changes nothing for the caller.

    ``stream_options`` only asks for figures, and the limit of the answer has two names.
    """
    if status not in (400, 422) or ask.body is None:
        return None
    body = dict(ask.body)
    if "stream_options" in words and "stream_options" in body:
        del body["stream_options"]
    elif "max_completion_tokens" in words and "max_tokens" in body:
        body["max_completion_tokens"] = body.pop("max_tokens")
    else:
        return None
    return replace(ask, body=body)


def _plain_value(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(token): bias for token, bias in value.items()}
    return list(value) if isinstance(value, tuple) else value


def _messages(request: GenerationRequest, preset: Preset) -> list[Message]:
    messages = [_message(message, preset) for message in request.to_messages()]
    if request.images:
        last = next((message for message in reversed(messages) if message["role"] == "user"), None)
        if last is None:
            last = {"role": "user", "content": ""}
            messages.append(last)
        content = last["content"]
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else list(content or ())
        last["content"] = [
            *(part for part in parts if part != {"type": "text", "text": ""}),
            *map(_part, request.images),
        ]
    return messages


def _message(message: Message, preset: Preset) -> Message:
    # What another backend wants back is no business of this one's.
    sent = {name: value for name, value in message.items() if name != "provider"}
    if sent["role"] == "developer" and preset.name != "openai":
        sent["role"] = "system"
    if isinstance(sent.get("content"), list):
        sent["content"] = [_content_part(part) for part in sent["content"]]
    return sent


def _content_part(part: Mapping[str, Any]) -> dict[str, Any]:
    if part.get("type") == "image":
        return _part(part.get("image"))
    if part.get("type") == "image_url":
        image = part.get("image_url")
        if isinstance(image, Mapping):
            return {"type": "image_url", "image_url": {**image, **_part(image.get("url"))["image_url"]}}
        return _part(image)
    return dict(part)


def _part(source: ImageSource | Any) -> dict[str, Any]:
    image = load_image(source)
    if isinstance(image, Image):
        return {"type": "image_url", "image_url": {"url": _data_url(image)}}
    return {"type": "image_url", "image_url": {"url": image}}


def _data_url(image: Image) -> str:
    return f"data:{image.mime};base64,{base64.b64encode(image.data).decode('ascii')}"
