"""The server behind the documentation's examples: a well-behaved one, for Ollama's protocol and for OpenAI's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, ClassVar

from lollms_core.testing import Asked, FaultServer, OllamaDialect, OpenAIDialect, behave, response
from lollms_core.testing.parrot import Said

__all__ = ["doc_server"]

_WORDS = ("The sky ", "is blue because ", "air scatters blue light.")
_MODELS = ("llama3.2", "nomic-embed-text", "gpt-4o-mini", "mistral-small", "smollm2")


def _in_words(said: Said) -> Said:
    """An answer as a reader of the pages would expect it, in place of the parrot's; no call and no object."""
    return replace(said, pieces=_WORDS) if said.text.startswith("You said:") else said


class _Ollama(OllamaDialect):
    model = "llama3.2:latest"
    places: ClassVar[Mapping[str, Any]] = {
        **OllamaDialect.places,
        "/api/tags": {"models": [{"name": model, "model": model, "modified_at": "2026-09-01T00:00:00Z"}]},
        "/api/ps": {"models": [{"name": model, "model": model, "size": 2_000_000_000, "context_length": 8192}]},
        "/api/delete": None,
    }

    def knows(self, model: str) -> bool:
        return model.partition(":")[0] in ("", *_MODELS)

    def said(self, said: Said, *, stream: bool) -> bytes:
        return super().said(_in_words(said), stream=stream)


class _OpenAI(OpenAIDialect):
    model = "gpt-4o-mini"

    def knows(self, model: str) -> bool:
        return model in ("", *_MODELS)

    def said(self, said: Said, *, stream: bool) -> bytes:
        return super().said(_in_words(said), stream=stream)

    def routes(self) -> Mapping[str, Callable[[Asked], bytes]]:
        return {**super().routes(), "/props": lambda _: response({})}


def doc_server() -> FaultServer:
    """The server, listening."""
    server = FaultServer()
    behave(server, _Ollama())
    behave(server, _OpenAI())
    return server
