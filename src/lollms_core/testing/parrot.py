"""A model that a server of the tests can stand for: it repeats what it was told, and does exactly what it is asked.

Its answers follow from the request alone, so a test can know them; and it honours the length, the stop texts, tools
and schemas, so a binding that does not send them, or does not read them, is found out.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Said", "Wanted", "answer", "instance_of", "vector_of"]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a request asks of the model, whatever the dialect.

    Attributes:
        messages: the conversation, each a dict with role and content.
        model: the model that is asked for, "" for whichever there is.
        n_predict: most pieces of the answer.
        stop: texts that end it.
        tools: the tools' names, each with the JSON schema of its parameters.
        must_call: the tool that must be called, "" for any; None if none must be.
        schema: what the answer must be.
        think: whether it thinks first.
        logprobs: with how many alternatives log probabilities are asked for; None for not at all.
    """

    messages: Sequence[Mapping[str, Any]] = ()
    model: str = ""
    n_predict: int | None = None
    stop: Sequence[str] = ()
    tools: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    must_call: str | None = None
    schema: Mapping[str, Any] | None = None
    think: bool = False
    logprobs: int | None = None


@dataclass(frozen=True, slots=True)
class Said:
    """An answer.

    Attributes:
        pieces: of the text.
        reason: why it ended: stop, length or tool_calls.
        calls: the tools that are called, with their arguments.
        thought: what the model thought before.
        prompt_tokens: how many tokens the conversation has: one for each word.
        logprobs: with how many alternatives each piece has a log probability; None without.
    """

    pieces: Sequence[str]
    reason: str = "stop"
    calls: Sequence[tuple[str, Mapping[str, Any]]] = ()
    thought: str = ""
    prompt_tokens: int = 1
    logprobs: int | None = None

    @property
    def text(self) -> str:
        """The whole text."""
        return "".join(self.pieces)


def answer(wanted: Wanted) -> Said:
    """The model's answer."""
    texts = [_text(message.get("content")) for message in wanted.messages]
    prompt_tokens = max(1, sum(len(text.split()) for text in texts))
    thought = "I repeat what I was told." if wanted.think else ""
    name = _to_call(wanted)
    if name is not None:
        call = (name, instance_of(wanted.tools[name]))
        return Said((), "tool_calls", (call,), thought, prompt_tokens)
    if wanted.schema is not None:
        text = json.dumps(instance_of(wanted.schema))
    else:
        heard = next((text for text in reversed(texts) if text), "nothing")
        text = f"You said: {heard} That is all I know of it \u2713."
    pieces, reason = _ended(_pieces(text), wanted)
    return Said(pieces, reason, thought=thought, prompt_tokens=prompt_tokens, logprobs=wanted.logprobs)


def _to_call(wanted: Wanted) -> str | None:
    """The tool that is called: the one that must be, else the first, unless the last word is a tool's result."""
    if wanted.must_call:
        return wanted.must_call
    answered = bool(wanted.messages) and wanted.messages[-1].get("role") == "tool"
    return next(iter(wanted.tools), None) if wanted.must_call is not None or not answered else None


def _pieces(text: str) -> list[str]:
    return re.findall(r"\s*\S+|\s+$", text)


def _ended(pieces: Sequence[str], wanted: Wanted) -> tuple[list[str], str]:
    """The pieces up to the first stop text or the limit, and which of them it was."""
    given: list[str] = []
    for piece in pieces:
        if wanted.n_predict is not None and len(given) >= wanted.n_predict:
            return given, "length"
        text = "".join(given) + piece
        places = [text.index(stop) for stop in wanted.stop if stop in text]
        if places:
            # A stop text may have begun in an earlier piece.
            return _pieces(text[: min(places)]), "stop"
        given.append(piece)
    return given, "stop"


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return " ".join(str(part.get("text", "")) for part in content if isinstance(part, Mapping))
    return ""


def instance_of(schema: Mapping[str, Any]) -> Any:
    """A value that fits `schema`, of the plain kinds: objects, arrays, numbers, texts, enums, references."""
    return _instance(schema, schema)


def _instance(schema: Any, root: Mapping[str, Any]) -> Any:
    if not isinstance(schema, Mapping):
        return "x"
    if "$ref" in schema:
        found: Any = root
        for part in str(schema["$ref"]).removeprefix("#/").split("/"):
            found = found[part]
        return _instance(found, root)
    for name in ("const", "default"):
        if name in schema:
            return schema[name]
    if schema.get("enum"):
        return schema["enum"][0]
    for name in ("anyOf", "oneOf", "allOf"):
        if schema.get(name):
            return _instance(schema[name][0], root)
    kind = schema.get("type")
    kind = kind[0] if isinstance(kind, list) else kind or ("object" if "properties" in schema else "string")
    if kind == "object":
        properties = schema.get("properties", {})
        return {name: _instance(part, root) for name, part in properties.items()}
    if kind == "array":
        return [_instance(schema.get("items", {}), root)] * max(1, schema.get("minItems", 1))
    return {"integer": schema.get("minimum", 1), "number": schema.get("minimum", 0.5), "boolean": True}.get(
        kind, None if kind == "null" else "x" * max(1, schema.get("minLength", 1))
    )


def vector_of(text: str, size: int = 8) -> list[float]:
    """A vector that follows from the text, of length 1."""
    digest = hashlib.sha256(text.encode()).digest()
    numbers = [byte - 127.5 for byte in digest[:size]]
    length = sum(number * number for number in numbers) ** 0.5
    return [number / length for number in numbers]
