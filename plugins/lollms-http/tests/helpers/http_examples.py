"""Bindings that the tests play with, each with the dialect of its server: the README's, and one over SSE."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from importlib.metadata import metadata
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

from lollms_core import Capability, Event, Finish, GenerationRequest, TextDelta, Usage
from lollms_core.testing import NdjsonDialect
from lollms_core.testing.conformance import HttpConformance
from lollms_http import Call, HttpBinding, Reader, ServerSentEvents, Steps

__all__ = ["AcmeBinding", "AcmeConformance", "AcmeDialect", "CompletionsBinding", "readme_blocks", "text_of"]


def readme_blocks() -> list[str]:
    """The Python blocks of the README: of the checkout, else of what is installed."""
    page = Path(__file__).parents[2] / "README.md"
    text = page.read_text("utf-8") if page.exists() else str(metadata("lollms-http").json["description"])
    return re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def _run(number: int) -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": "lollms_acme"}
    exec(compile(readme_blocks()[number], "README.md", "exec"), names)  # noqa: S102 - our own text
    return names


AcmeBinding: type[HttpBinding] = _run(0)["AcmeBinding"]
"""The README's example."""

_module = ModuleType("lollms_acme")
_module.__dict__["AcmeBinding"] = AcmeBinding
sys.modules["lollms_acme"] = _module

_TESTS = _run(1)

AcmeDialect: type[NdjsonDialect] = _TESTS["AcmeDialect"]
"""What its server says, from the README's test."""

AcmeConformance: type[HttpConformance] = _TESTS["TestAcme"]
"""That test."""


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
    uses = frozenset({"model"})

    def _call(self, request: GenerationRequest) -> Call | Steps[Call]:
        body: dict[str, Any] = {"model": request.model, "messages": request.to_messages()}
        if request.stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        return Call("POST", "/chat/completions", body, request.model, stream=bool(request.stream))

    def _reader(self, request: GenerationRequest) -> Reader:
        return _ChoiceReader()


def text_of(events: Iterable[Event]) -> str:
    """The text that events carry."""
    return "".join(event.text for event in events if isinstance(event, TextDelta))
