"""The three servers that real folders talk to, well-behaved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from lollms_core.testing import Asked, Dialect, FaultServer, OllamaDialect, OpenAIDialect, Part, response
from lollms_core.testing.dialect import PIECES, TEXT

__all__ = ["DIALECTS", "serve"]


class LollmsDialect(Dialect):
    """The server of LoLLMs: an answer is plain text, a stream of it one line for each piece."""

    name = "lollms"
    chat_path = "/lollms_generate"
    content_type = "text/plain; charset=utf-8"
    places: ClassVar[Mapping[str, Any]] = {
        "/list_models": ["m1"],
        "/lollms_tokenize": [7, 8, 9],
        "/lollms_detokenize": "a text",
        "/lollms_embed": {"vector": [0.5, 0.25]},
    }

    def record(self, payload: Any) -> Part:
        data = str(payload).encode()
        return Part(data + b"\n", needed=len(data))

    def piece(self, text: str) -> Any:
        return text

    def finish(self) -> Sequence[Any]:
        return [""]

    def whole(self, text: str) -> Any:
        return text

    def failure(self, words: str) -> Any:
        return words


class Ollama(OllamaDialect):
    """With a vector for each text."""

    places: ClassVar[Mapping[str, Any]] = {
        **OllamaDialect.places,
        "/api/embed": {"model": "m1:latest", "embeddings": [[0.5, 0.25]]},
        "/api/embeddings": {"embedding": [0.5, 0.25]},
    }


class OpenAI(OpenAIDialect):
    """With a model whose name the folder lets through."""

    places: ClassVar[Mapping[str, Any]] = {
        "/v1/models": {
            "object": "list",
            "data": [{"id": "gpt-m1", "object": "model", "created": 1700000000, "owned_by": "me"}],
        }
    }


DIALECTS: dict[str, Dialect] = {"lollms": LollmsDialect(), "ollama": Ollama(), "openai": OpenAI()}
"""By the folder that speaks it."""


def serve(server: FaultServer, dialect: Dialect) -> None:
    """Have `server` answer as a good server does: generations with TEXT, in PIECES where they are streamed."""
    import json

    for path, body in dialect.places.items():
        server.on(path, (response(json.dumps(body)),))

    def answer(asked: Asked) -> tuple[bytes]:
        if dialect.streams(asked.body):
            return (dialect.stream(*dialect.pieces(*PIECES), *dialect.ending()).data,)
        whole = dialect.whole(TEXT)
        if isinstance(whole, str):
            return (response(whole, content_type=dialect.content_type),)
        return (response(whole),)

    server.on(dialect.chat_path, answer)
