"""OpenAI's dialect, with what OpenAI-compatible servers add to it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from lollms_core.testing.dialect import PIECES, SseDialect
from lollms_core.testing.parrot import Said, Wanted, vector_of
from lollms_core.testing.wire import Part, response

if TYPE_CHECKING:
    from lollms_core.testing.fault_server import Asked

__all__ = ["OpenAIDialect"]

_USAGE: Final = {"prompt_tokens": 3, "completion_tokens": len(PIECES), "total_tokens": 3 + len(PIECES)}


class OpenAIDialect(SseDialect):
    """Chat completions: https://platform.openai.com/docs/api-reference/chat.

    A server that behaves well also has models, embeddings, and llama-server's /tokenize and /detokenize
    (https://github.com/ggml-org/llama.cpp/tree/master/tools/server), where a token is a byte of UTF-8.
    """

    name = "OpenAI"
    chat_path = "/v1/chat/completions"
    address = "/v1"

    @property
    def marker(self) -> bytes:
        return b"data: [DONE]\n\n"

    def piece(self, text: str) -> Any:
        return self._chunk({"content": text})

    def finish(self) -> Sequence[Any]:
        return [self._chunk({}, "stop"), self._figures(_USAGE)]

    def whole(self, text: str) -> Any:
        return self._whole({"content": text}, "stop", _USAGE)

    def failure(self, words: str) -> Any:
        return {"error": {"message": words, "code": 500}}

    # A server that behaves well ----------------------------------------------------------------------------

    def wanted(self, body: bytes) -> Wanted:
        fields = json.loads(body)
        plain = super().wanted(body)
        choice = fields.get("tool_choice")
        wanted_format = fields.get("response_format") or {}
        return Wanted(
            messages=plain.messages,
            model=plain.model,
            n_predict=plain.n_predict,
            stop=plain.stop,
            tools={} if choice == "none" else _tools(fields.get("tools")),
            must_call=choice["function"]["name"] if isinstance(choice, dict) else "" if choice == "required" else None,
            schema=(wanted_format.get("json_schema") or {}).get("schema"),
            think=bool(fields.get("reasoning_effort") or fields.get("reasoning")),
            logprobs=fields.get("top_logprobs", 0) if fields.get("logprobs") else None,
        )

    def said(self, said: Said, *, stream: bool) -> bytes:
        usage = {"prompt_tokens": said.prompt_tokens, "completion_tokens": max(1, len(said.pieces))}
        usage["total_tokens"] = sum(usage.values())
        calls = [
            {"id": f"call_{n}", "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}
            for n, (name, arguments) in enumerate(said.calls)
        ]
        if not stream:
            message: dict[str, Any] = {"content": said.text if said.pieces else None}
            message |= {"reasoning_content": said.thought} if said.thought else {}
            message |= {"tool_calls": calls} if calls else {}
            return response(self._whole(message, said.reason, usage, _logprobs(said.pieces, said.logprobs)))
        records: list[Any] = []
        if said.thought:
            records.append(self._chunk({"reasoning_content": said.thought}))
        for place, call in enumerate(calls):
            # As OpenAI streams them: the name first, then the arguments in pieces.
            text = str(call["function"]["arguments"])  # type: ignore[index]
            begun = {**call, "index": place, "function": {**call["function"], "arguments": ""}}  # type: ignore[dict-item]
            records.append(self._chunk({"tool_calls": [begun]}))
            halves = (text[: len(text) // 2], text[len(text) // 2 :])
            deltas = [{"tool_calls": [{"index": place, "function": {"arguments": half}}]} for half in halves]
            records += map(self._chunk, deltas)
        records += [self._chunk({"content": one}, logprobs=_logprobs([one], said.logprobs)) for one in said.pieces]
        records += [self._chunk({}, said.reason), self._figures(usage)]
        return self.stream(*map(self.record, records), Part(self.marker)).data

    def routes(self) -> Mapping[str, Callable[[Asked], bytes]]:
        return {
            "/v1/models": self._models,
            "/v1/embeddings": self._embeddings,
            "/tokenize": _tokens,
            "/detokenize": _text,
        }

    def _models(self, _: Asked) -> bytes:
        entry = {"id": self.model, "object": "model", "created": 1700000000, "owned_by": "tests"}
        return response({"object": "list", "data": [entry]})

    def _embeddings(self, asked: Asked) -> bytes:
        texts = asked.json["input"]
        vectors = [vector_of(text) for text in ([texts] if isinstance(texts, str) else texts)]
        data = [{"object": "embedding", "index": n, "embedding": vector} for n, vector in enumerate(vectors)]
        usage = {"prompt_tokens": 1, "total_tokens": 1}
        return response({"object": "list", "data": data, "model": self.model, "usage": usage})

    # Records -----------------------------------------------------------------------------------------------

    def _chunk(self, delta: Mapping[str, Any], reason: str | None = None, **more: Any) -> Any:
        more = {name: value for name, value in more.items() if value is not None}
        return {
            **self._about("chat.completion.chunk"),
            "choices": [{"index": 0, "delta": delta, "finish_reason": reason, **more}],
        }

    def _figures(self, usage: Mapping[str, int]) -> Any:
        return {**self._about("chat.completion.chunk"), "choices": [], "usage": usage}

    def _whole(self, message: Mapping[str, Any], reason: str, usage: Mapping[str, int], logprobs: Any = None) -> Any:
        choice: dict[str, Any] = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": reason}
        if logprobs is not None:
            choice["logprobs"] = logprobs
        return {**self._about("chat.completion"), "choices": [choice], "usage": usage}

    def _about(self, kind: str) -> dict[str, Any]:
        return {"id": "chatcmpl-1", "object": kind, "created": 1700000000, "model": self.model}


def _tools(found: Any) -> dict[str, Mapping[str, Any]]:
    return {tool["function"]["name"]: tool["function"].get("parameters") or {} for tool in found or ()}


def _logprobs(pieces: Sequence[str], top: int | None) -> Any:
    if top is None:
        return None
    return {"content": [{"token": piece, "logprob": -0.25, "top_logprobs": _top(piece, top)} for piece in pieces]}


def _top(piece: str, top: int) -> list[dict[str, Any]]:
    return [{"token": piece if n == 0 else f"{piece}{n}", "logprob": -0.25 - n} for n in range(top)]


def _tokens(asked: Asked) -> bytes:
    return response({"tokens": list(asked.json["content"].encode())})


def _text(asked: Asked) -> bytes:
    return response({"content": bytes(asked.json["tokens"]).decode("utf-8", "replace")})
