"""Thinking: how each service is told of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from openai_wire import CHAT, Loopback, completion, http

from lollms_core import Capability, CapabilityNotSupported, GenerationRequest
from lollms_openai import OpenAIBinding
from lollms_openai.bodies import thinking_fields
from lollms_openai.preset import OPENAI
from lollms_openai.presets import PRESETS, deepseek, groq, llamaserver, lmstudio, openrouter, vllm

Bind = Callable[..., OpenAIBinding]
Ask = Callable[..., Any]

ON = {"enable_thinking": True, "thinking": True}
OFF = {"enable_thinking": False, "thinking": False}


@pytest.mark.parametrize(
    ("service", "model", "think", "sent"),
    [
        # https://developers.openai.com/api/docs/guides/reasoning
        ("openai", "o3-mini", True, {"reasoning_effort": "medium"}),
        ("openai", "o3-mini", False, {"reasoning_effort": "low"}),
        ("openai", "gpt-5", False, {"reasoning_effort": "minimal"}),
        ("openai", "gpt-5-mini-2025-08-07", False, {"reasoning_effort": "minimal"}),
        ("openai", "gpt-5.1", False, {"reasoning_effort": "none"}),
        ("openai", "gpt-5.1", True, {"reasoning_effort": "medium"}),
        ("openai", "gpt-5.2", "high", {"reasoning_effort": "high"}),
        ("openai", "gpt-4o", False, {}),
        ("openai", "ft:gpt-4o-mini:me", False, {}),
        ("openai", "gpt-5-chat-latest", False, {}),
        # https://openrouter.ai/docs/use-cases/reasoning-tokens
        ("openrouter", "a/b", True, {"reasoning": {"enabled": True}}),
        ("openrouter", "a/b", False, {"reasoning": {"effort": "none"}}),
        ("openrouter", "a/b", "low", {"reasoning": {"effort": "low"}}),
        # https://console.groq.com/docs/reasoning
        ("groq", "openai/gpt-oss-20b", True, {"include_reasoning": True}),
        ("groq", "openai/gpt-oss-20b", "high", {"include_reasoning": True, "reasoning_effort": "high"}),
        ("groq", "openai/gpt-oss-20b", False, {"reasoning_effort": "low"}),
        ("groq", "qwen/qwen3-32b", "low", {"reasoning_effort": "default", "reasoning_format": "parsed"}),
        ("groq", "qwen/qwen3-32b", False, {"reasoning_effort": "none"}),
        ("groq", "llama-3.1-8b-instant", False, {}),
        # https://docs.together.ai/docs/inference/chat/reasoning
        ("together", "openai/gpt-oss-120b", "low", {"reasoning_effort": "low"}),
        ("together", "zai-org/GLM-5.1", True, {"reasoning": {"enabled": True}}),
        ("together", "deepseek-ai/DeepSeek-V4-Pro", False, {"reasoning": {"enabled": False}}),
        ("together", "MiniMaxAI/MiniMax-M2.7", True, {}),
        # https://docs.mistral.ai/capabilities/reasoning
        ("mistral", "mistral-small-latest", True, {"reasoning_effort": "high"}),
        ("mistral", "mistral-small-latest", False, {"reasoning_effort": "none"}),
        ("mistral", "magistral-medium-latest", True, {}),
        ("mistral", "codestral-latest", False, {}),
        # https://api-docs.deepseek.com/guides/thinking_mode
        ("deepseek", "deepseek-chat", True, {"thinking": {"type": "enabled"}}),
        ("deepseek", "deepseek-chat", False, {"thinking": {"type": "disabled"}}),
        ("deepseek", "deepseek-chat", "low", {"thinking": {"type": "enabled"}, "reasoning_effort": "low"}),
        # https://docs.vllm.ai/en/stable/features/reasoning_outputs/
        ("vllm", "m", True, {"chat_template_kwargs": ON}),
        ("vllm", "m", False, {"chat_template_kwargs": OFF}),
        ("vllm", "m", "low", {"chat_template_kwargs": ON, "reasoning_effort": "low"}),
        # https://github.com/ggml-org/llama.cpp/tree/master/tools/server
        ("llamaserver", "m", False, {"chat_template_kwargs": OFF}),
        ("llamaserver", "m", "high", {"chat_template_kwargs": {**ON, "reasoning_effort": "high"}}),
        ("lmstudio", "m", False, {}),
    ],
)
def test_the_fields_of_each_service(service: str, model: str, think: Any, sent: dict[str, Any]) -> None:
    preset = {"openai": OPENAI, **PRESETS}[service]
    assert thinking_fields(GenerationRequest(prompt="x", think=think), preset, model) == sent


def test_nothing_is_said_where_nothing_is_asked() -> None:
    for preset in (OPENAI, *PRESETS.values()):
        assert thinking_fields(GenerationRequest(prompt="x"), preset, "gpt-5") == {}


@pytest.mark.parametrize("preset", [OPENAI, *PRESETS.values()], ids=lambda preset: preset.name)
def test_it_is_declared_where_there_is_a_switch(preset: Any) -> None:
    assert (Capability.REASONING in preset.capabilities) == bool(preset.thinking)
    for switch in preset.thinking:
        assert switch.fields.keys() == {True, False, "low", "medium", "high"}


def test_it_is_sent_beside_the_rest(server: Loopback, bind: Bind, ask: Ask) -> None:
    server.on(CHAT, http(completion()))
    ask(bind(deepseek), "chat", "x", think=True, temperature=0.5)
    body = server.bodies()[-1]
    assert (body["thinking"], body["temperature"], body["model"]) == ({"type": "enabled"}, 0.5, "m1")
    ask(bind(openrouter), "chat", "x", think=True, backend_options={"reasoning": {"max_tokens": 9}})
    assert server.bodies()[-1]["reasoning"] == {"max_tokens": 9}


def test_a_model_chosen_from_the_list_counts(server: Loopback, bind: Bind, ask: Ask) -> None:
    server.on("/v1/models", http({"data": [{"id": "openai/gpt-oss-20b"}]}), http({"data": [{"id": "llama-3"}]}))
    server.on(CHAT, http(completion()))
    ask(bind(groq, model_name=None), "chat", "x", think="low")
    assert server.bodies()[0]["reasoning_effort"] == "low"
    with pytest.raises(CapabilityNotSupported, match=r"'llama-3'.*reasoning"):
        ask(bind(groq, model_name=None), "chat", "x", think="low")
    assert len(server.bodies()) == 1


@pytest.mark.parametrize("cls", [OpenAIBinding, lmstudio])
@pytest.mark.parametrize("think", [True, "low"])
def test_a_server_without_a_switch(
    server: Loopback, bind: Bind, ask: Ask, cls: type[OpenAIBinding], think: Any
) -> None:
    binding = bind(cls)
    assert Capability.REASONING not in binding.capabilities_of()
    with pytest.raises(CapabilityNotSupported, match=r"127\.0\.0\.1.*reasoning"):
        ask(binding, "chat", "x", think=think)
    assert server.seen == []
    server.on(CHAT, http(completion()))
    ask(binding, "chat", "x", think=False)
    assert server.bodies()[0].keys() == {"model", "messages"}


@pytest.mark.parametrize(("template", "able"), [("{{ messages }}", False), ("{% if enable_thinking %}", True)])
def test_a_template_that_reads_no_switch(server: Loopback, bind: Bind, ask: Ask, template: str, able: bool) -> None:
    server.on("/props", http({"chat_template": template}))
    server.on(CHAT, http(completion()))
    binding = bind(llamaserver)
    if able:
        ask(binding, "chat", "x", think=True)
        assert server.bodies()[0]["chat_template_kwargs"] == ON
    else:
        with pytest.raises(CapabilityNotSupported, match="reasoning"):
            ask(binding, "chat", "x", think=True)
        ask(binding, "chat", "x", think=False)


def test_openais_models_by_name() -> None:
    with OpenAIBinding(service_key="k") as binding:
        assert Capability.REASONING in binding.capabilities_of("gpt-5.1")
        assert Capability.REASONING not in binding.capabilities_of("gpt-4o")
        assert Capability.LOGPROBS not in binding.capabilities_of("o3")
        assert Capability.LOGPROBS in binding.capabilities_of("gpt-4o-mini")
        assert Capability.JSON_SCHEMA in binding.capabilities_of("gpt-4o-mini")
        for old in ("gpt-4", "gpt-4-0613", "gpt-4-turbo", "gpt-3.5-turbo", "gpt-4o-2024-05-13"):
            assert Capability.JSON_SCHEMA not in binding.capabilities_of(old)
            assert Capability.TOOLS in binding.capabilities_of(old)
        for other in ("gpt-4o", "gpt-4.1", "gpt-4o-2024-08-06"):
            assert Capability.JSON_SCHEMA in binding.capabilities_of(other)
        assert not {Capability.TOOLS, Capability.LOGPROBS} & binding.capabilities_of("text-embedding-3-small")


@pytest.mark.parametrize(
    "words",
    [
        "Unrecognized request argument supplied: reasoning_effort",
        "Unsupported parameter: 'reasoning_effort' is not supported with this model.",
        "`reasoning_effort` is not supported with this model",
    ],
)
def test_a_refusal_of_it(server: Loopback, bind: Bind, ask: Ask, words: str) -> None:
    server.on(CHAT, http({"error": {"message": words}}, "400 Bad Request"))
    with pytest.raises(CapabilityNotSupported, match="cannot be told to think"):
        ask(bind(vllm), "chat", "x", think="low")


def test_a_plain_completion_has_no_place_for_it(server: Loopback, bind: Bind, ask: Ask) -> None:
    binding = bind(vllm, completion_format="text")
    with pytest.raises(CapabilityNotSupported, match="no place for think"):
        ask(binding, "generate_text", "x", think=True)
    server.on("/v1/completions", http({"choices": [{"text": "y", "finish_reason": "stop"}]}))
    assert ask(binding, "generate_text", "x", think=False) == "y"
    assert server.bodies("/v1/completions") == [{"model": "m1", "prompt": "x"}]
