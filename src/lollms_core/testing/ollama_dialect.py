"""Ollama's dialect: its own API, not the OpenAI-compatible one."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final

from lollms_core.testing.dialect import PIECES, NdjsonDialect
from lollms_core.testing.parrot import Said, Wanted, vector_of
from lollms_core.testing.wire import response

if TYPE_CHECKING:
    from lollms_core.testing.fault_server import Asked

__all__ = ["OllamaDialect"]

_COUNTS: Final = {"done_reason": "stop", "prompt_eval_count": 3, "eval_count": len(PIECES)}


class OllamaDialect(NdjsonDialect):
    """Ollama's own API: https://github.com/ollama/ollama/blob/main/docs/api.md.

    A server that behaves well has a model that can do all that Ollama knows, with a byte-level vocabulary.
    """

    name = "Ollama"
    model = "m1:latest"
    chat_path = "/api/chat"
    places: ClassVar[Mapping[str, Any]] = {
        "/api/show": {
            "parameters": "",
            "template": "{{ .Prompt }}",
            "details": {"format": "gguf", "family": "llama", "parameter_size": "8.0B", "quantization_level": "Q4_0"},
            "model_info": {
                "general.architecture": "llama",
                "general.parameter_count": 8030261248,
                "llama.context_length": 8192,
                "llama.embedding_length": 4096,
            },
            "capabilities": ["completion"],
        },
        "/api/tags": {"models": [{"name": "m1:latest", "model": "m1:latest", "modified_at": "2025-05-05T01:37:44Z"}]},
        "/api/ps": {"models": []},
        "/api/version": {"version": "0.20.0"},
    }

    def piece(self, text: str) -> Any:
        return {**self._about(text), "done": False}

    def finish(self) -> Sequence[Any]:
        return [{**self._about(""), "done": True, **_COUNTS}]

    def whole(self, text: str) -> Any:
        return {**self._about(text), "done": True, **_COUNTS}

    def failure(self, words: str) -> Any:
        return {"error": words}

    def refusal(self, words: str) -> Any:
        return {"error": words}

    def streams(self, body: bytes) -> bool:
        return bool(json.loads(body).get("stream", True))  # its default

    # A server that behaves well ----------------------------------------------------------------------------

    def wanted(self, body: bytes) -> Wanted:
        fields = json.loads(body)
        plain = super().wanted(body)
        tools = {
            tool["function"]["name"]: tool["function"].get("parameters") or {} for tool in fields.get("tools") or ()
        }
        return Wanted(
            messages=plain.messages,
            model=plain.model,
            n_predict=plain.n_predict,
            stop=plain.stop,
            tools=tools,
            schema=fields["format"] if isinstance(fields.get("format"), dict) else None,
            think=bool(fields.get("think")),
            logprobs=fields.get("top_logprobs", 0) if fields.get("logprobs") else None,
        )

    def said(self, said: Said, *, stream: bool) -> bytes:
        calls = [{"function": {"name": name, "arguments": dict(arguments)}} for name, arguments in said.calls]
        end = {
            "done": True,
            "done_reason": "length" if said.reason == "length" else "stop",
            "prompt_eval_count": said.prompt_tokens,
            "eval_count": max(1, len(said.pieces)),
        }
        if not stream:
            more: dict[str, Any] = {"thinking": said.thought} if said.thought else {}
            more |= {"tool_calls": calls} if calls else {}
            record = {**self._about(said.text, **more), **end}
            if said.logprobs is not None:
                record["logprobs"] = _logprobs(said.pieces, said.logprobs)
            return response(record)
        records = [{**self._about("", thinking=said.thought), "done": False}] if said.thought else []
        if calls:
            records.append({**self._about("", tool_calls=calls), "done": False})
        for piece in said.pieces:
            record = {**self._about(piece), "done": False}
            if said.logprobs is not None:
                record["logprobs"] = _logprobs([piece], said.logprobs)
            records.append(record)
        records.append({**self._about(""), **end})
        return self.stream(*map(self.record, records)).data

    def knows(self, model: str) -> bool:
        return model in ("", "m1", self.model)

    def routes(self) -> Mapping[str, Callable[[Asked], bytes]]:
        return {
            "/api/show": self._show,
            "/api/embed": self._embed,
            "/api/generate": self._generate,
            "/api/pull": self._pull,
        }

    def _show(self, asked: Asked) -> bytes:
        model = str(asked.json.get("model", ""))
        if not self.knows(model):
            return response(self.refusal(f"model '{model}' not found"), "404 Not Found")
        plain = self.places["/api/show"]
        info = plain["model_info"] | _VOCABULARY
        if not asked.json.get("verbose"):
            # What is long is only told on request.
            info |= dict.fromkeys((name for name, value in info.items() if isinstance(value, list)))
        able = ["completion", "tools", "thinking", "vision", "insert"]
        return response({**plain, "model_info": info, "capabilities": able})

    def _embed(self, asked: Asked) -> bytes:
        texts = asked.json["input"]
        vectors = [vector_of(text) for text in ([texts] if isinstance(texts, str) else texts)]
        return response({"model": self.model, "embeddings": vectors, "prompt_eval_count": len(vectors)})

    def _generate(self, asked: Asked) -> bytes:
        """Without a prompt: the model is loaded, or unloaded."""
        model = str(asked.json.get("model", ""))
        if not self.knows(model):
            return response(self.refusal(f"model '{model}' not found"), "404 Not Found")
        reason = "unload" if asked.json.get("keep_alive") == 0 else "load"
        about = {"model": self.model, "created_at": _WHEN, "response": ""}
        return response({**about, "done": True, "done_reason": reason})

    def _pull(self, asked: Asked) -> bytes:
        size = 1000
        records = [
            {"status": "pulling manifest"},
            {"status": "downloading", "digest": "sha256:1", "total": size, "completed": size},
            {"status": "success"},
        ]
        if not self.knows(str(asked.json.get("model", ""))):
            records = [{"error": "pull model manifest: file does not exist"}]
        return self.stream(*map(self.record, records)).data

    # Records -----------------------------------------------------------------------------------------------

    def _about(self, text: str, **more: Any) -> dict[str, Any]:
        return {"model": self.model, "created_at": _WHEN, "message": {"role": "assistant", "content": text, **more}}


_WHEN: Final = "2023-08-04T08:52:19.385406455-07:00"


def _logprobs(pieces: Sequence[str], top: int) -> list[dict[str, Any]]:
    return [
        {
            "token": piece,
            "logprob": -0.25,
            "top_logprobs": [{"token": piece if n == 0 else f"{piece}{n}", "logprob": -0.25 - n} for n in range(top)],
        }
        for piece in pieces
    ]


def _letters() -> list[str]:
    """The 256 letters that stand for bytes in a byte-level vocabulary: printable bytes for themselves."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return [chr(byte) if byte in plain else chr(next(others)) for byte in range(256)]


_VOCABULARY: Final[Mapping[str, Any]] = {
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.pre": "gpt-2",
    "tokenizer.ggml.tokens": [*_letters(), "<|endoftext|>", "<|im_start|>", "<|im_end|>", "th", "the"],
    "tokenizer.ggml.token_type": [1] * 256 + [3, 3, 3, 1, 1],
    "tokenizer.ggml.merges": ["t h", "th e"],
    "tokenizer.ggml.bos_token_id": 256,
    "tokenizer.ggml.eos_token_id": 258,
}
