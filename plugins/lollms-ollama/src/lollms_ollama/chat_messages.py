"""Chat messages in Ollama's form, without I/O.

Source: "Generate a chat completion" in docs/api.md and docs/capabilities/tool-calling.mdx of
https://github.com/ollama/ollama.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lollms_core import BadRequest, GenerationRequest, Image
from lollms_core.messages import text_of
from lollms_ollama.answers import PROVIDER

__all__ = ["as_base64", "chat_messages", "check_parts", "contents"]


def chat_messages(request: GenerationRequest) -> Iterator[dict[str, Any]]:
    """The messages of /api/chat.

    Raises:
        BadRequest: the arguments of a tool call are no JSON object.
    """
    messages = request.to_messages()
    last = max((place for place, message in enumerate(messages) if message["role"] == "user"), default=None)
    called: dict[Any, Any] = {}  # the name of the tool, by the id of the call
    for place, message in enumerate(messages):
        images = [part["image"] for part in _image_parts(message)]
        if place == last:
            images += request.images
        for call in message.get("tool_calls") or ():
            if call.get("id"):
                called[call["id"]] = (call.get("function") or {}).get("name")
        yield _message(message, as_base64(images), called)
    if last is None and request.images:
        yield _message({"role": "user", "content": ""}, as_base64(request.images), called)


def _message(message: Mapping[str, Any], images: list[str], called: Mapping[Any, Any]) -> dict[str, Any]:
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
        # Ollama goes by the tool's name, OpenAI by the call's id.
        call = message.get("tool_call_id")
        name = message.get("name") or message.get("tool_name") or called.get(call)
        if name:
            made["tool_name"] = name
        if call:
            made["tool_call_id"] = call
    provider = message.get("provider")
    ours = provider.get(PROVIDER) if isinstance(provider, Mapping) else None
    if isinstance(ours, Mapping) and isinstance(ours.get("thinking"), str):
        made["thinking"] = ours["thinking"]
    return made


def _tool_call(call: Mapping[str, Any]) -> dict[str, Any]:
    """Ollama wants the arguments as an object, not as JSON text."""
    function = dict(call.get("function") or {})
    arguments = function.get("arguments")
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments or "{}")
        except ValueError as error:
            raise BadRequest(f"the arguments of the tool call {function.get('name')!r} are no JSON: {error}") from error
    if not isinstance(arguments, Mapping) and arguments is not None:
        raise BadRequest(f"the arguments of the tool call {function.get('name')!r} are no JSON object")
    function["arguments"] = arguments or {}
    made = {"function": function}
    return {"id": call["id"], **made} if call.get("id") else made


def _image_parts(message: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    content = message.get("content")
    if not isinstance(content, list):
        return []
    return [part for part in content if part.get("type") == "image"]


def check_parts(messages: Sequence[Mapping[str, Any]]) -> None:
    """Whether the parts of contents are of kinds that Ollama has a place for: text, and images that have been read.

    Raises:
        TypeError: one is not.
    """
    for place, message in enumerate(messages):
        content = message.get("content")
        for part in content if isinstance(content, list) else ():
            if part["type"] not in ("text", "image"):
                raise TypeError(
                    f"messages[{place}] has a part of the kind {part['type']!r}, which Ollama has no place for"
                )


def as_base64(images: Sequence[Any]) -> list[str]:
    """The images that have been read, as the API takes them."""
    return [base64.b64encode(image.data).decode("ascii") for image in images if isinstance(image, Image)]


def contents(request: GenerationRequest) -> list[str]:
    """The texts that the prompt is made of, without what the model's template adds."""
    if request.messages is None:
        return [text for text in (request.system_prompt, request.prompt) if text]
    return [text for message in request.to_messages() if (text := text_of(message.get("content")))]
