"""A request's messages in OpenAI's form, as the server of a preset takes them."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from typing import Any, Final

from lollms_core import GenerationRequest, Image
from lollms_core.messages import ImageSource, Message, load_image
from lollms_openai.opaque import with_opaque
from lollms_openai.server import Server

__all__ = ["wire_messages"]

_SHORT_ID: Final = re.compile(r"[A-Za-z0-9]{9}")


def wire_messages(request: GenerationRequest, server: Server) -> list[Message]:
    """The messages, with the request's images in the last user's."""
    tools = bool(request.tools)
    messages = [_message(message, server, tools=tools) for message in request.to_messages()]
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


def _message(message: Message, server: Server, *, tools: bool) -> Message:
    preset = server.preset
    sent = with_opaque(message, server, tools=tools)
    if sent["role"] == "developer" and preset.name != "openai":
        sent["role"] = "system"
    if sent["role"] == "tool" and not preset.tool_names:
        sent.pop("name", None)
    if isinstance(sent.get("content"), list):
        sent["content"] = [_content_part(part) for part in sent["content"]]
    return _with_short_ids(sent) if preset.short_call_ids else sent


def _with_short_ids(message: Message) -> Message:
    """`message` with ids of calls as Mistral takes them, where they came from elsewhere (https://docs.mistral.ai/api)."""
    if isinstance(message.get("tool_call_id"), str):
        return {**message, "tool_call_id": _short(message["tool_call_id"])}
    if isinstance(message.get("tool_calls"), list):
        return {
            **message,
            "tool_calls": [{**call, "id": _short(str(call.get("id")))} for call in message["tool_calls"]],
        }
    return message


def _short(call_id: str) -> str:
    return call_id if _SHORT_ID.fullmatch(call_id) else hashlib.sha256(call_id.encode()).hexdigest()[:9]


def _content_part(part: Mapping[str, Any]) -> dict[str, Any]:
    """A part in OpenAI's form; images come as ``{"type": "image", "image": ..., "detail": ...}``, read already."""
    if part.get("type") != "image":
        return dict(part)
    rest = {name: value for name, value in part.items() if name not in ("type", "image", "detail")}
    sent = _part(part.get("image"))
    if "detail" in part:
        sent["image_url"]["detail"] = part["detail"]
    return {**sent, **rest}


def _part(source: ImageSource | Any) -> dict[str, Any]:
    image = load_image(source)
    return {"type": "image_url", "image_url": {"url": _data_url(image) if isinstance(image, Image) else image}}


def _data_url(image: Image) -> str:
    return f"data:{image.mime};base64,{base64.b64encode(image.data).decode('ascii')}"
