"""The server behind the documentation's examples: it speaks Ollama's protocol and OpenAI's, and has no model.

It answers every prompt with the same sentence, asks for the first tool it is given, fills in a schema, and counts
bytes as tokens: as much as an example needs in order to run, and to go wrong where it is wrong.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ollama_wire import vocabulary

from lollms_core.testing import Asked, FaultServer, OllamaDialect, OpenAIDialect, Part, response
from lollms_core.testing.fault_server import Step

__all__ = ["doc_server"]

WORDS = ("The sky ", "is blue because ", "air scatters blue light.")
TOKENS = [(word, -0.1 * (place + 1)) for place, word in enumerate(WORDS)]
MODELS = ("llama3.2:latest", "nomic-embed-text:latest")
ABLE = ("completion", "tools", "thinking", "vision", "insert", "embedding")


def doc_server() -> FaultServer:
    """The server, listening."""
    server = FaultServer()
    for serve in (_ollama, _openai):
        serve(server)
    return server


def _whole(body: Any) -> Iterable[Step]:
    return (response(body),)


# What a model would say ---------------------------------------------------------------------------------


def _value(schema: Mapping[str, Any], whole: Mapping[str, Any]) -> Any:
    """Some value that a JSON schema allows."""
    if "$ref" in schema:
        found: Any = whole
        for name in schema["$ref"].split("/")[1:]:
            found = found[name]
        return _value(found, whole)
    if "enum" in schema:
        return schema["enum"][0]
    if "anyOf" in schema:
        return _value(schema["anyOf"][0], whole)
    kind = schema.get("type")
    if kind == "object":
        return {name: _value(part, whole) for name, part in schema.get("properties", {}).items()}
    if kind == "array":
        return [_value(schema.get("items", {}), whole)]
    return {"string": "Oslo", "integer": 20, "number": 20.0, "boolean": True}.get(str(kind))


def _call(body: Mapping[str, Any]) -> tuple[str, Any] | None:
    """The name and the arguments of the tool to call: the first, once, unless its results are there already."""
    if not body.get("tools") or body["messages"][-1]["role"] == "tool":
        return None
    function = body["tools"][0]["function"]
    return function["name"], _value(function["parameters"], function["parameters"])


def _vector(text: str) -> list[float]:
    return [float(len(text)), float(text.count(" ")), 1.0]


# Ollama -------------------------------------------------------------------------------------------------


def _ollama(server: FaultServer) -> None:
    dialect = OllamaDialect()
    listed = [
        {"name": name, "model": name, "modified_at": f"2026-0{9 - n}-01T00:00:00Z"} for n, name in enumerate(MODELS)
    ]
    loaded = [{**listed[0], "size": 2_000_000_000, "size_vram": 0, "context_length": 8192}]
    shown = dialect.places["/api/show"]
    verbose = {**shown, "capabilities": ABLE, "model_info": {**shown["model_info"], **vocabulary()}}
    brief = {name: None if isinstance(value, list) else value for name, value in verbose["model_info"].items()}
    facts = {**verbose, "model_info": brief}
    server.on("/api/chat", lambda asked: _ollama_answer(dialect, asked.json))
    server.on("/api/generate", lambda asked: _ollama_answer(dialect, asked.json))
    server.on("/api/show", lambda asked: _ollama_facts(asked.json, verbose if asked.json.get("verbose") else facts))
    server.on("/api/tags", _whole({"models": listed}))
    server.on("/api/ps", _whole({"models": loaded}))
    server.on("/api/version", _whole({"version": "0.20.0"}))
    server.on("/api/embed", lambda asked: _whole({"embeddings": [_vector(text) for text in asked.json["input"]]}))
    server.on("/api/delete", (response(b""),))
    layer = {"status": "pulling aabbccdd", "digest": "sha256:aabbccdd", "total": 1000}
    pulled = [{"status": "pulling manifest"}, layer, {**layer, "completed": 1000}, {"status": "success"}]
    server.on("/api/pull", (dialect.stream(*map(dialect.record, pulled)).data,))


def _ollama_facts(body: Mapping[str, Any], facts: Mapping[str, Any]) -> Iterable[Step]:
    name = body["model"]
    if name not in MODELS and f"{name}:latest" not in MODELS:
        return (response({"error": f"model '{name}' not found"}, "404 Not Found"),)
    return _whole(facts)


def _ollama_answer(dialect: OllamaDialect, body: Mapping[str, Any]) -> Iterable[Step]:
    if not body.get("prompt") and not body.get("messages"):  # to load the model, or to unload it
        return _whole({"model": dialect.model, "done": True, "response": ""})
    plain = "prompt" in body
    records = list(_ollama_records(dialect, body))
    if plain:
        records = [{**record, "response": record["message"]["content"]} for record in records]
        for record in records:
            del record["message"]
    if body.get("stream", True):
        return (dialect.stream(*map(dialect.record, records)).data,)
    texts = [record["response"] if plain else record["message"]["content"] for record in records]
    whole: dict[str, Any] = {}
    for record in records:
        whole |= record
    if plain:
        return _whole({**whole, "response": "".join(texts)})
    message: dict[str, Any] = {}
    for record in records:
        message |= record["message"]
    return _whole({**whole, "message": {**message, "content": "".join(texts)}})


def _ollama_records(dialect: OllamaDialect, body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    def said(text: str, **more: Any) -> dict[str, Any]:
        record: dict[str, Any] = dialect.piece(text)
        record["message"] |= more
        return record

    if body.get("think"):
        yield said("", thinking="Light and air. ")
    if (call := _call(body)) is not None:
        yield said("", tool_calls=[{"function": {"name": call[0], "arguments": call[1]}}])
    elif isinstance(body.get("format"), dict):
        yield said(json.dumps(_value(body["format"], body["format"])))
    else:
        for token, number in TOKENS:
            entry = {"token": token, "logprob": number, "bytes": list(token.encode())}
            entry["top_logprobs"] = [{"token": token, "logprob": number}][: body.get("top_logprobs") or 0]
            yield {**said(token), **({"logprobs": [entry]} if body.get("logprobs") else {})}
    yield from dialect.finish()


# OpenAI and servers that speak its protocol -------------------------------------------------------------


def _openai(server: FaultServer) -> None:
    dialect = OpenAIDialect()
    listed = [{"id": name.partition(":")[0], "object": "model", "created": 9 - n} for n, name in enumerate(MODELS)]
    server.on("/v1/models", _whole({"object": "list", "data": listed}))
    server.on("/v1/chat/completions", lambda asked: _openai_answer(dialect, asked.json))
    server.on("/v1/completions", _openai_plain)
    server.on("/v1/embeddings", lambda asked: _whole({"data": list(_openai_vectors(asked.json["input"]))}))
    server.on("/tokenize", lambda asked: _whole({"tokens": list(asked.json["content"].encode())}))
    server.on("/detokenize", lambda asked: _whole({"content": bytes(asked.json["tokens"]).decode()}))


def _openai_vectors(texts: list[str]) -> Iterator[dict[str, Any]]:
    for place, text in enumerate(texts):
        yield {"object": "embedding", "index": place, "embedding": _vector(text)}


def _openai_plain(asked: Asked) -> Iterable[Step]:
    choice = {"index": 0, "text": "".join(WORDS), "finish_reason": "stop"}
    body = {"id": "cmpl-1", "object": "text_completion", "model": "llama3.2", "choices": [choice]}
    if not asked.json.get("stream"):
        return _whole(body)
    dialect = OpenAIDialect()
    done = dialect.record({**body, "choices": [{**choice, "text": "", "finish_reason": "stop"}]})
    said = dialect.record({**body, "choices": [{**choice, "finish_reason": None}]})
    return (dialect.stream(said, done, Part(dialect.marker)).data,)


def _openai_answer(dialect: OpenAIDialect, body: Mapping[str, Any]) -> Iterable[Step]:
    message: dict[str, Any] = {"role": "assistant", "content": "".join(WORDS)}
    reason = "stop"
    schema = body.get("response_format", {}).get("json_schema", {}).get("schema")
    if (call := _call(body)) is not None:
        function = {"name": call[0], "arguments": json.dumps(call[1])}
        message |= {"content": None, "tool_calls": [{"id": "call_1", "type": "function", "function": function}]}
        reason = "tool_calls"
    elif schema is not None:
        message["content"] = json.dumps(_value(schema, schema))
    choice: dict[str, Any] = {"index": 0, "finish_reason": reason}
    if body.get("logprobs"):
        most = body.get("top_logprobs") or 0
        tops = [[{"token": token, "logprob": number, "bytes": None}][:most] for token, number in TOKENS]
        entries = [
            {"token": token, "logprob": number, "bytes": None, "top_logprobs": top}
            for (token, number), top in zip(TOKENS, tops, strict=True)
        ]
        choice["logprobs"] = {"content": entries}
    usage = {"prompt_tokens": 9, "completion_tokens": 7, "total_tokens": 16}
    about = {"id": "chatcmpl-1", "created": 1_700_000_000, "model": body.get("model")}
    if not body.get("stream"):
        choices = [{**choice, "message": message}]
        return _whole({**about, "object": "chat.completion", "choices": choices, "usage": usage})
    about["object"] = "chat.completion.chunk"
    delta = {**message, "tool_calls": [{"index": 0, **one} for one in message.get("tool_calls", ())]}
    records = [
        {**about, "choices": [{**choice, "delta": delta, "finish_reason": None}]},
        {**about, "choices": [{"index": 0, "delta": {}, "finish_reason": reason}]},
        {**about, "choices": [], "usage": usage},
    ]
    return (dialect.stream(*map(dialect.record, records), Part(dialect.marker)).data,)
