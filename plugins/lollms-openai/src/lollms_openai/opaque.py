"""What a server wants back with an assistant message, as it gave it.

OpenRouter's ``reasoning_details`` (https://openrouter.ai/docs/use-cases/reasoning-tokens, preserving reasoning
blocks), the ``extra_content`` of Gemini's calls (https://ai.google.dev/gemini-api/docs/thought-signatures), the
thinking itself where :attr:`~lollms_openai.preset.Preset.thinking_back` names it. It travels in the message's
``provider``, under a name that no other server's data has, and goes back to the same service only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from lollms_core.messages import Message
from lollms_openai.server import Server

__all__ = ["Opaque", "with_opaque"]

_JOINED: Final = ("text", "summary")  # of reasoning_details: what a stream gives in pieces


class Opaque:
    """What one answer brings of it."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._fields: dict[str, Any] = {}
        self._details: list[dict[str, Any]] = []
        self._thinking: list[str] = []

    def take(self, message: Mapping[str, Any], thought: str) -> None:
        """Note what a message, or a piece of one, has."""
        details = message.get("reasoning_details")
        for detail in details if isinstance(details, list) else ():
            if isinstance(detail, Mapping):
                self._add(dict(detail))
        extra = message.get("extra_content")
        if isinstance(extra, Mapping):
            self._fields["extra_content"] = dict(extra)
        if thought and self._server.preset.thinking_back is not None:
            self._thinking.append(thought)

    def provider(self, calls: Mapping[str, Mapping[str, Any]]) -> dict[str, Any] | None:
        """The Finish's ``provider``; `calls` is what belongs to each call, by its id."""
        fields = dict(self._fields)
        if self._details:
            fields["reasoning_details"] = list(self._details)
        own: dict[str, Any] = {"message": fields} if fields else {}
        if self._thinking:
            own["thinking"] = "".join(self._thinking)
        kept = {call: dict(extra) for call, extra in calls.items() if extra}
        if kept:
            own["tool_calls"] = kept
        return {self._server.origin: own} if own else None

    def _add(self, detail: dict[str, Any]) -> None:
        last = self._details[-1] if self._details else None
        index = detail.get("index")
        # Fragments of one block have its type and its index; blocks without an index are whole.
        if last is None or index is None or last.get("index") != index or last.get("type") != detail.get("type"):
            self._details.append(detail)
            return
        for name, value in detail.items():
            if name in _JOINED and isinstance(value, str) and isinstance(last.get(name), str):
                last[name] += value
            elif value is not None:
                last[name] = value


def with_opaque(message: Message, server: Server, *, tools: bool) -> Message:
    """`message` as it goes to `server`: with what is its own, without what is another's.

    Args:
        message: in the contract's form.
        server: which service that is.
        tools: whether the request has tools; DeepSeek then refuses a conversation without its thinking
            (https://api-docs.deepseek.com/guides/thinking_mode), which is of no use otherwise.
    """
    sent = {name: value for name, value in message.items() if name != "provider"}
    provider = message.get("provider")
    own = provider.get(server.origin) if isinstance(provider, Mapping) else None
    if not isinstance(own, Mapping) or sent["role"] != "assistant":
        return sent
    fields = own.get("message")
    if isinstance(fields, Mapping):
        sent = {**fields, **sent}
    calls, found = sent.get("tool_calls"), own.get("tool_calls")
    if isinstance(calls, list) and isinstance(found, Mapping):
        sent["tool_calls"] = [{**found.get(call.get("id"), {}), **call} for call in calls]
    name, thinking = server.preset.thinking_back, own.get("thinking")
    if name is not None and isinstance(thinking, str) and (tools or calls):
        sent.setdefault(name, thinking)
    return sent
