"""Bindings that the tests play with, each with the dialect of its server: the README's, and one over SSE."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import metadata
from pathlib import Path
from typing import Any, ClassVar

from lollms_core import Capability, Event, Finish, GenerationRequest, TextDelta, Usage
from lollms_core.testing import NdjsonDialect
from lollms_http import Call, HttpBinding, Reader, ServerSentEvents

__all__ = ["AcmeBinding", "AcmeDialect", "CompletionsBinding", "readme_blocks"]


def readme_blocks() -> list[str]:
    """The Python blocks of the README: of the checkout, else of what is installed."""
    page = Path(__file__).parents[2] / "README.md"
    text = page.read_text("utf-8") if page.exists() else str(metadata("lollms-http").json["description"])
    return re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def _from_readme() -> type[HttpBinding]:
    names: dict[str, Any] = {"__name__": "lollms_acme"}
    exec(compile(readme_blocks()[0], "README.md", "exec"), names)  # noqa: S102 - our own text
    found: type[HttpBinding] = names["AcmeBinding"]
    return found


AcmeBinding = _from_readme()
"""The README's example."""


class AcmeDialect(NdjsonDialect):
    """What its server says."""

    name = "Acme"
    chat_path = "/api/chat"
    address = "/api"
    places: ClassVar[Mapping[str, Any]] = {"/api/models": [{"id": "m1", "size": 7}, {"id": "m2", "size": 9}]}

    def piece(self, text: str) -> Any:
        return {"text": text}

    def finish(self) -> Sequence[Any]:
        return [{"done": "stop", "read": 3, "written": 4, "model": self.model}]

    def whole(self, text: str) -> Any:
        return {"text": text, **self.finish()[0]}

    def failure(self, words: str) -> Any:
        return {"error": words}


class _ChoiceReader(Reader):
    def feed(self, record: Any) -> Iterator[Event]:
        for choice in record["choices"]:
            said = choice.get("delta") or choice.get("message") or {}
            if said.get("content"):
                yield TextDelta(said["content"])
            if choice.get("finish_reason"):
                yield Finish(choice["finish_reason"], model=record["model"], id=record["id"], raw=record)
        usage = record.get("usage")
        if usage:
            yield Usage(usage["prompt_tokens"], usage["completion_tokens"])


class CompletionsBinding(HttpBinding):
    """Chat completions, with the tokens told after the end: https://platform.openai.com/docs/api-reference/chat."""

    default_host: ClassVar[str | None] = "http://127.0.0.1:9001/v1"
    framing = ServerSentEvents()
    capabilities = frozenset({Capability.TEXT, Capability.CHAT, Capability.STREAM, Capability.ASYNC})
    uses = frozenset({"model", "timeout"})

    def _call(self, request: GenerationRequest) -> Call:
        body: dict[str, Any] = {"model": request.model, "messages": request.to_messages()}
        if request.stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        return Call("POST", "/chat/completions", body, request.model, stream=bool(request.stream))

    def _reader(self, request: GenerationRequest) -> Reader:
        return _ChoiceReader()


def text_of(events: Iterable[Event]) -> str:
    """The text that events carry."""
    return "".join(event.text for event in events if isinstance(event, TextDelta))
