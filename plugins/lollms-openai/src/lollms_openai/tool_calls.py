"""The calls of tools that an answer asks for, put together from what the server sends.

OpenAI sends a call in fragments, told apart by ``index``, with id and name in the first
(https://platform.openai.com/docs/api-reference/chat/streaming). Others send whole calls, leave out the index or
the id, give all calls the same index, or repeat the name in each fragment.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from lollms_core import ProtocolError, ToolCall, peer_json

__all__ = ["ToolCalls"]


@dataclass(slots=True)
class _Call:
    id: str = ""
    name: str = ""
    arguments: list[str] = field(default_factory=list)
    # What the server wants back with the call.
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def text(self) -> str:
        return "".join(self.arguments)


class ToolCalls:
    """The calls of one answer.

    Attributes:
        extra: by the id of a call, what the server wants back with it; complete after :meth:`events`.
    """

    def __init__(self) -> None:
        self._calls: list[_Call] = []
        self._by_index: dict[int, _Call] = {}
        self._listed = False  # whether there were tool_calls
        self.extra: dict[str, dict[str, Any]] = {}

    def __bool__(self) -> bool:
        return bool(self._calls)

    def add(self, message: Mapping[str, Any], *, whole: bool = False) -> None:
        """Take the ``tool_calls`` of a message (`whole`) or of a piece of one.

        Where there are none, its ``function_call``, which is what they were before there could be several;
        llama-cpp-python's server says the same in both.
        """
        found = message.get("tool_calls")
        if not found:
            function = message.get("function_call")
            if isinstance(function, Mapping) and not self._listed:
                self._take(0, None, function, None, whole)
            return
        for item in found if isinstance(found, list) else ():
            if not isinstance(item, Mapping):
                continue
            self._listed = True
            function = item.get("function")
            function = function if isinstance(function, Mapping) else {}
            self._take(item.get("index"), item.get("id"), function, item.get("extra_content"), whole)

    def events(self, who: str) -> Iterator[ToolCall]:
        """The calls, each with an id of its own.

        Raises:
            ProtocolError: one has arguments and no name.
        """
        calls, self._calls = self._calls, []
        self._by_index.clear()
        for call in calls:
            text = call.text.strip() or "{}"
            if not call.name:
                if text == "{}":
                    continue
                raise ProtocolError(f"{who} sent a tool call without a name")
            # Ids must differ in the whole conversation, so they are not counted up from 0.
            name = call.id if call.id and call.id not in self.extra else f"call_{uuid.uuid4().hex[:24]}"
            self.extra[name] = call.extra
            yield ToolCall(name, call.name, text)

    def _take(self, index: Any, call_id: Any, function: Mapping[str, Any], extra: Any, whole: bool) -> None:
        given = str(call_id) if isinstance(call_id, (str, int)) and call_id != "" else ""
        name = function.get("name")
        name = name if isinstance(name, str) else ""
        arguments = function.get("arguments")
        if isinstance(arguments, (Mapping, list)):  # written out as JSON text everywhere but at a few servers
            arguments = json.dumps(arguments, ensure_ascii=False)
        arguments = arguments if isinstance(arguments, str) else ""
        call = None if whole else self._begun(index, given, name, arguments)
        if call is None:
            call = _Call()
            self._calls.append(call)
        if type(index) is int:
            self._by_index[index] = call
        call.id = call.id or given
        call.name = name or call.name
        if arguments:
            call.arguments.append(arguments)
        if isinstance(extra, Mapping):
            call.extra["extra_content"] = dict(extra)

    def _begun(self, index: Any, call_id: str, name: str, arguments: str) -> _Call | None:
        """The call that a fragment goes on with, None if it begins another."""
        if type(index) is int:
            call = self._by_index.get(index)
        elif call_id:
            call = next((one for one in self._calls if one.id == call_id), None)
        else:
            call = self._calls[-1] if self._calls else None
        if call is None or not name:
            return call
        if call_id and call.id and call_id != call.id:
            return None
        # A name with arguments from their beginning, where there is a whole call already, is the next one's.
        if not call_id and arguments.lstrip().startswith("{") and _is_whole(call.text):
            return None
        return call


def _is_whole(text: str) -> bool:
    try:
        peer_json.loads(text)
    except ValueError:
        return False
    return True
