"""What the loopback server answers, as bytes: the fields and the framing of OpenAI's service and of Ollama.

https://platform.openai.com/docs/api-reference/chat/streaming, https://github.com/ollama/ollama/blob/main/docs/api.md
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, Final

from bench.contestants.prompts import passage

__all__ = [
    "chunked",
    "head",
    "model",
    "n_words",
    "ollama_model",
    "ollama_stream",
    "ollama_whole",
    "openai_stream",
    "openai_whole",
    "words",
]

_PREFIX: Final = "words-"
_CREATED: Final = 1_764_000_000
_ID: Final = "chatcmpl-CfXqk3bUJm2v8Yw1dTz0aRnPo5sEg"
_FINGERPRINT: Final = "fp_b547601dbd"


def model(count: int) -> str:
    """The name of the model whose answers have so many words."""
    return f"{_PREFIX}{count}"


def n_words(name: str) -> int:
    """How many words the answers of this model have.

    Raises:
        ValueError: there is no such model.
    """
    return int(name.removeprefix(_PREFIX))


def words(count: int) -> list[str]:
    """The pieces of an answer, each a word and the blank before it."""
    return [f" {word}" for word in passage(0, count - 1).split()]


def openai_stream(pieces: Sequence[str], *, usage: bool) -> Iterator[bytes]:
    """The server-sent events of a streamed chat completion; with `usage` as ``stream_options`` asks for it."""

    def event(choices: list[dict[str, Any]], **more: Any) -> bytes:
        record = {
            "id": _ID,
            "object": "chat.completion.chunk",
            "created": _CREATED,
            "model": model(len(pieces)),
            "service_tier": "default",
            "system_fingerprint": _FINGERPRINT,
            "choices": choices,
            **({"usage": None} if usage else {}),
            **more,
        }
        return f"data: {_compact(record)}\n\n".encode()

    def choice(delta: dict[str, Any], reason: str | None = None) -> list[dict[str, Any]]:
        return [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}]

    yield event(choice({"role": "assistant", "content": "", "refusal": None}))
    for piece in pieces:
        yield event(choice({"content": piece}))
    yield event(choice({}, "stop"))
    if usage:
        yield event([], usage=_openai_usage(len(pieces)))
    yield b"data: [DONE]\n\n"


def openai_whole(pieces: Sequence[str]) -> bytes:
    """A chat completion that is not streamed."""
    message: dict[str, Any] = {"role": "assistant", "content": "".join(pieces), "refusal": None, "annotations": []}
    record = {
        "id": _ID,
        "object": "chat.completion",
        "created": _CREATED,
        "model": model(len(pieces)),
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
        "usage": _openai_usage(len(pieces)),
        "service_tier": "default",
        "system_fingerprint": _FINGERPRINT,
    }
    return _compact(record).encode()


def ollama_stream(pieces: Sequence[str]) -> Iterator[bytes]:
    """The lines of a streamed answer of /api/chat."""
    for number, piece in enumerate(pieces):
        yield f"{_compact(_ollama(len(pieces), number, piece, done=False))}\n".encode()
    yield f"{_compact(_ollama(len(pieces), len(pieces), '', done=True))}\n".encode()


def ollama_whole(pieces: Sequence[str]) -> bytes:
    """An answer of /api/chat that is not streamed."""
    return _compact(_ollama(len(pieces), len(pieces), "".join(pieces), done=True)).encode()


def ollama_model(name: str) -> bytes:
    """The answer of /api/show, with what a client may want to know of a small model."""
    kind = "llama"
    sizes = {"block_count": 32, "context_length": 131072, "embedding_length": 4096, "attention.head_count": 32}
    record = {
        "license": "apache-2.0",
        "modelfile": f"FROM {name}",
        "template": "{{ range .Messages }}<|{{ .Role }}|>{{ .Content }}<|end|>{{ end }}<|assistant|>",
        "details": {
            "parent_model": "",
            "format": "gguf",
            "family": kind,
            "families": [kind],
            "parameter_size": "8.0B",
            "quantization_level": "Q4_K_M",
        },
        "model_info": {"general.architecture": kind, **{f"{kind}.{key}": size for key, size in sizes.items()}},
        "capabilities": ["completion", "tools"],
        "modified_at": "2025-11-24T16:00:00.123456789Z",
    }
    return _compact(record).encode()


def head(content_type: str, length: int | None = None) -> bytes:
    """The head of a response; without a length, its body comes in chunks."""
    size = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    return f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\n{size}\r\n\r\n".encode()


def chunked(records: Iterator[bytes], together: int) -> list[bytes]:
    """The chunks of a body, with so many records in each; the last one ends it."""
    every = list(records)
    bodies = [b"".join(every[begin : begin + together]) for begin in range(0, len(every), together)]
    return [*(b"%x\r\n%b\r\n" % (len(body), body) for body in bodies), b"0\r\n\r\n"]


def _ollama(count: int, number: int, text: str, *, done: bool) -> dict[str, Any]:
    # The time of each record, in nanoseconds; a record comes every 10 ms.
    seconds, hundredths = divmod(number, 100)
    minutes, seconds = divmod(seconds, 60)
    ending: dict[str, Any] = {
        "done_reason": "stop",
        "done": True,
        "total_duration": 50_174_250_000,
        "load_duration": 21_343_292,
        "prompt_eval_count": 21,
        "prompt_eval_duration": 85_140_375,
        "eval_count": count,
        "eval_duration": 50_063_417_208,
    }
    return {
        "model": model(count),
        "created_at": f"2025-11-24T16:{minutes:02}:{seconds:02}.{hundredths:02}{number * 7919 % 10**7:07}Z",
        "message": {"role": "assistant", "content": text},
        **(ending if done else {"done": False}),
    }


def _openai_usage(count: int) -> dict[str, Any]:
    return {
        "prompt_tokens": 21,
        "completion_tokens": count,
        "total_tokens": 21 + count,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 0,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _compact(record: dict[str, Any]) -> str:
    return json.dumps(record, ensure_ascii=False, separators=(",", ":"))
