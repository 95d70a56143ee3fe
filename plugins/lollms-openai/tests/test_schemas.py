"""Answers bound to a schema: what is sent, what an answer that is none becomes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from openai_wire import CHAT, Loopback, chunk, chunked, completion, http, sse

from lollms_core import CapabilityNotSupported, InvalidOutput
from lollms_openai import OpenAIBinding
from lollms_openai.presets import deepseek, groq, llamaserver, lmstudio, mistral, openrouter, together, vllm
from lollms_openai.schemas import is_strict

Bind = Callable[..., OpenAIBinding]
Ask = Callable[..., Any]

STRICT: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
LOOSE: dict[str, Any] = {"type": "object", "properties": {"city": {"type": "string"}}}


@dataclass
class City:
    """A city."""

    name: str


def asked(server: Loopback) -> Any:
    return server.bodies()[-1].get("response_format")


@pytest.mark.parametrize(
    ("cls", "schema", "strict"),
    [
        # No other server is known to mind: only OpenAI's and OpenRouter's schemas are made strict by themselves.
        (openrouter, STRICT, True),
        (openrouter, LOOSE, None),
        (OpenAIBinding, STRICT, None),
        (groq, STRICT, None),
        (together, STRICT, None),
        (mistral, STRICT, None),
        (vllm, STRICT, None),
        (lmstudio, STRICT, None),
        (llamaserver, STRICT, None),
    ],
)
def test_a_schema(
    server: Loopback, bind: Bind, cls: type[OpenAIBinding], schema: dict[str, Any], strict: bool | None
) -> None:
    server.on(CHAT, http(completion('{"city": "Rome"}')))
    done = bind(cls).chat("x", response_format=schema)
    assert done.parsed == {"city": "Rome"}
    described = {"name": "answer", "schema": schema} | ({} if strict is None else {"strict": strict})
    assert asked(server) == {"type": "json_schema", "json_schema": described}


@pytest.mark.parametrize("strict", [True, False])
def test_what_the_caller_says_of_it(server: Loopback, bind: Bind, ask: Ask, strict: bool) -> None:
    server.on(CHAT, http(completion('{"city": "Rome"}')))
    wrapped = {"name": "place", "description": "Where.", "schema": LOOSE, "strict": strict}
    ask(bind(), "chat", "x", response_format={"type": "json_schema", "json_schema": wrapped})
    assert asked(server) == {"type": "json_schema", "json_schema": wrapped}


def test_a_type(server: Loopback, bind: Bind, ask: Ask) -> None:
    server.on(CHAT, chunked(sse(chunk('{"name":'), chunk(' "Rome"}'), chunk(finish="stop"))))
    done = ask(bind(openrouter), "chat", "x", response_format=City, stream=True)
    assert done.parsed == City("Rome")
    assert asked(server)["json_schema"]["name"] == "City"
    assert asked(server)["json_schema"]["schema"]["required"] == ["name"]


@pytest.mark.parametrize(("cls", "plain"), [(OpenAIBinding, True), (llamaserver, True), (lmstudio, False)])
def test_any_object(server: Loopback, bind: Bind, cls: type[OpenAIBinding], plain: bool) -> None:
    """LM Studio knows schemas alone: https://lmstudio.ai/docs/developer/openai-compat/structured-output."""
    server.on(CHAT, http(completion("{}")))
    assert bind(cls).chat("x", response_format={"type": "json_object"}).parsed == {}
    schema = {"type": "json_schema", "json_schema": {"name": "answer", "schema": {"type": "object"}}}
    assert asked(server) == ({"type": "json_object"} if plain else schema)


def test_openrouter_is_told_to_insist(server: Loopback, bind: Bind) -> None:
    server.on(CHAT, http(completion('{"city": "Rome"}')))
    binding = bind(openrouter)
    binding.chat("x", response_format=STRICT)
    assert server.bodies()[-1]["provider"] == {"require_parameters": True}
    binding.chat("x", response_format=STRICT, backend_options={"provider": {"order": ["a"]}})
    assert server.bodies()[-1]["provider"] == {"order": ["a"]}
    binding.chat("x")
    assert "provider" not in server.bodies()[-1]


def test_deepseek_has_none(server: Loopback, bind: Bind, ask: Ask) -> None:
    with pytest.raises(CapabilityNotSupported, match=r"deepseek.*json_schema"):
        ask(bind(deepseek), "chat", "x", response_format=STRICT)
    assert server.seen == []


def test_llama_cpp_pythons_server_has_it_beside_json_object(server: Loopback, bind: Bind, ask: Ask) -> None:
    """https://llama-cpp-python.readthedocs.io/en/latest/#json-schema-mode; the refusal is that of 0.3.36."""
    words = (
        "1 validation error:\n  {'type': 'literal_error', 'loc': ('body', 'response_format', 'type'), "
        "'msg': \"Input should be 'text' or 'json_object'\", 'input': 'json_schema'}"
    )
    error = {"message": words, "type": "internal_server_error", "param": None, "code": None}
    server.on(CHAT, http({"error": error}, "500 Internal Server Error"), http(completion('{"city": "Rome"}')))
    assert ask(bind(), "chat", "x", response_format=STRICT).parsed == {"city": "Rome"}
    assert asked(server) == {"type": "json_object", "schema": STRICT}
    assert len(server.bodies()) == 2


def test_a_server_that_passes_over_it_does_not_go_unnoticed(server: Loopback, bind: Bind, ask: Ask) -> None:
    server.on(CHAT, http(completion("Rome, I think.")))
    with pytest.raises(InvalidOutput):
        ask(bind(), "chat", "x", response_format=STRICT)


@pytest.mark.parametrize("stream", [False, True])
def test_a_refusal_is_said_to_be_one(server: Loopback, bind: Bind, ask: Ask, stream: bool) -> None:
    """https://developers.openai.com/api/docs/guides/structured-outputs, refusals."""
    pieces = ["I'm sorry, ", "I cannot."]
    records = [{**chunk(), "choices": [{"index": 0, "delta": {"content": None, "refusal": one}}]} for one in pieces]
    message = {"role": "assistant", "content": None, "refusal": "".join(pieces)}
    whole = completion(choices=[{"index": 0, "message": message, "finish_reason": "stop"}])
    server.on(CHAT, chunked(sse(*records, chunk(finish="stop"))) if stream else http(whole))
    binding = bind()
    with pytest.raises(InvalidOutput, match=r"127\.0\.0\.1.*m1.*refuses: I'm sorry, I cannot\.") as caught:
        ask(binding, "chat", "x", response_format=STRICT, stream=stream)
    assert caught.value.text == "I'm sorry, I cannot."
    assert ask(binding, "chat", "x", stream=stream).text == "I'm sorry, I cannot."


@pytest.mark.parametrize(
    "words",
    [
        "This model does not support response format `json_schema`. See supported models",
        "Invalid parameter: 'response_format' of type 'json_schema' is not supported with this model.",
    ],
)
def test_a_model_that_has_none(server: Loopback, bind: Bind, ask: Ask, words: str) -> None:
    server.on(CHAT, http({"error": {"message": words}}, "400 Bad Request"))
    with pytest.raises(CapabilityNotSupported, match="'m1' cannot keep to a schema"):
        ask(bind(groq), "chat", "x", response_format=STRICT)


def test_no_provider_of_openrouters(server: Loopback, bind: Bind, ask: Ask) -> None:
    words = "No endpoints found that can handle the requested parameters. To learn more about provider routing, visit"
    server.on(CHAT, http({"error": {"message": words, "code": 404}}, "404 Not Found"))
    with pytest.raises(CapabilityNotSupported, match="'m1' cannot do all that was asked for"):
        ask(bind(openrouter), "chat", "x", response_format=STRICT)


def test_a_plain_completion_has_no_place_for_it(server: Loopback, bind: Bind, ask: Ask) -> None:
    with pytest.raises(CapabilityNotSupported, match="no place for a response_format"):
        ask(bind(completion_format="text"), "generate_text", "x", response_format=STRICT)
    assert server.seen == []


@pytest.mark.parametrize(
    ("schema", "strict"),
    [
        (STRICT, True),
        ({**STRICT, "title": "T", "description": "D"}, True),
        (LOOSE, False),
        ({**STRICT, "additionalProperties": {"type": "string"}}, False),
        ({**STRICT, "required": []}, False),
        ({"type": "object"}, False),
        ({"type": "object", "properties": {}, "required": [], "additionalProperties": False}, True),
        ({"type": "array", "items": STRICT}, False),
        ({"anyOf": [STRICT]}, False),
        ({**STRICT, "properties": {"city": {"type": "array", "items": STRICT}}}, True),
        ({**STRICT, "properties": {"city": {"type": "array", "items": LOOSE}}}, False),
        ({**STRICT, "properties": {"city": {"anyOf": [STRICT, {"type": "null"}]}}}, True),
        ({**STRICT, "properties": {"city": {"anyOf": [LOOSE, {"type": "null"}]}}}, False),
        ({**STRICT, "properties": {"city": {"$ref": "#/$defs/c"}}, "$defs": {"c": STRICT}}, True),
        ({**STRICT, "properties": {"city": {"$ref": "#/$defs/c"}}, "$defs": {"c": LOOSE}}, False),
        ({**STRICT, "properties": {"city": {"type": "string", "default": "Rome"}}}, False),
        ({**STRICT, "properties": {"city": {"type": "string", "format": "uri"}}}, False),
        ({**STRICT, "properties": {"city": {"type": "string", "format": "date"}}}, True),
        ({**STRICT, "properties": {"city": {"oneOf": [{"type": "string"}]}}}, False),
        ({**STRICT, "properties": {"city": True}}, False),
        ({**STRICT, "properties": {"city": {"type": ["object", "null"]}}}, False),
    ],
)
def test_the_rules_of_the_strict_mode(schema: dict[str, Any], strict: bool) -> None:
    """https://developers.openai.com/api/docs/guides/structured-outputs, supported schemas."""
    assert is_strict(schema) == strict
