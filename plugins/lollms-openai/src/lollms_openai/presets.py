"""The services and servers that have a name of their own, each an entry point: a table, and a class for each row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from lollms_core import Capability
from lollms_openai.binding import OpenAIBinding
from lollms_openai.preset import ALL, COMMON_FIELDS, Preset
from lollms_openai.thinking import DEEPSEEK, GROQ, LLAMA_SERVER, MISTRAL, OPENROUTER, TOGETHER, VLLM

__all__ = ["PRESETS", "deepseek", "groq", "llamaserver", "lmstudio", "mistral", "openrouter", "together", "vllm"]


def _fields(*without: str, **more: str) -> Mapping[str, str]:
    return {name: wire for name, wire in COMMON_FIELDS.items() if name not in without} | more


_NO_TOKENS: Final = ALL - {Capability.TOKENIZE}
_REPETITION: Final = {"top_k": "top_k", "min_p": "min_p", "repeat_penalty": "repetition_penalty"}

PRESETS: Final[Mapping[str, Preset]] = {
    preset.name: preset
    for preset in (
        # https://openrouter.ai/docs/api/reference/parameters; without require_parameters a provider that does not know
        # a field may be chosen, and passes over it: https://openrouter.ai/docs/features/structured-outputs
        Preset(
            name="openrouter",
            base_url="https://openrouter.ai/api/v1",
            key_variable="OPENROUTER_API_KEY",
            capabilities=_NO_TOKENS,
            fields=_fields(**_REPETITION),
            thinking=OPENROUTER,
            strict=True,
            insisting={"provider": {"require_parameters": True}},
        ),
        # https://console.groq.com/docs/openai: penalties, logit_bias and logprobs are not supported by its models
        Preset(
            name="groq",
            base_url="https://api.groq.com/openai/v1",
            key_variable="GROQ_API_KEY",
            capabilities=_NO_TOKENS - {Capability.EMBED, Capability.LOGPROBS},
            fields=_fields("presence_penalty", "frequency_penalty", "logit_bias"),
            max_tokens="max_completion_tokens",
            thinking=GROQ,
        ),
        # https://docs.together.ai/reference/chat-completions-1
        Preset(
            name="together",
            base_url="https://api.together.xyz/v1",
            key_variable="TOGETHER_API_KEY",
            capabilities=_NO_TOKENS,
            fields=_fields(**_REPETITION),
            thinking=TOGETHER,
            counted_logprobs=True,
        ),
        # https://docs.mistral.ai/api: refuses fields that it does not know; its streams carry the usage unasked
        Preset(
            name="mistral",
            base_url="https://api.mistral.ai/v1",
            key_variable="MISTRAL_API_KEY",
            capabilities=_NO_TOKENS - {Capability.LOGPROBS},
            fields=_fields("logit_bias", seed="random_seed"),
            stream_usage=False,
            thinking=MISTRAL,
            required="any",
            short_call_ids=True,
        ),
        # https://api-docs.deepseek.com/api/create-chat-completion: JSON, but no schema
        Preset(
            name="deepseek",
            base_url="https://api.deepseek.com/v1",
            key_variable="DEEPSEEK_API_KEY",
            capabilities=_NO_TOKENS - {Capability.EMBED, Capability.VISION, Capability.JSON_SCHEMA},
            fields=_fields("logit_bias", "seed"),
            thinking=DEEPSEEK,
            thinking_back="reasoning_content",
            tool_names=False,
        ),
        # https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html
        Preset(
            name="vllm",
            base_url="http://127.0.0.1:8000/v1",
            key_variable="VLLM_API_KEY",
            local=True,
            fields=_fields(**_REPETITION),
            tokens="server",
            version=("version", "version"),
            thinking=VLLM,
            thinking_back="reasoning",  # https://docs.vllm.ai/en/latest/features/interleaved_thinking/
        ),
        # https://lmstudio.ai/docs/developer/openai-compat and /rest: chat completions have no switch for thinking and
        # no logprobs; response_format is a schema or nothing
        Preset(
            name="lmstudio",
            base_url="http://127.0.0.1:1234/v1",
            key_variable="LM_API_TOKEN",
            local=True,
            capabilities=_NO_TOKENS - {Capability.REASONING, Capability.LOGPROBS},
            fields=_fields(top_k="top_k", repeat_penalty="repeat_penalty"),
            details="api/v0/models",
            named_choice=False,
            json_object=False,
        ),
        # https://github.com/ggml-org/llama.cpp/tree/master/tools/server: it takes a tool_choice that is no string
        # for "auto"
        Preset(
            name="llamaserver",
            base_url="http://127.0.0.1:8080/v1",
            key_variable="LLAMA_API_KEY",
            local=True,
            fields=_fields(
                top_k="top_k",
                min_p="min_p",
                repeat_penalty="repeat_penalty",
                repeat_last_n="repeat_last_n",
                cache_prompt="cache_prompt",
            ),
            tokens="server",
            details="props",
            version=("props", "build_info"),
            thinking=LLAMA_SERVER,
            thinking_back="reasoning_content",
            named_choice=False,
        ),
    )
}


def _class(name: str) -> type[OpenAIBinding]:
    return OpenAIBinding.of_preset(PRESETS[name], __name__)


deepseek = _class("deepseek")
groq = _class("groq")
llamaserver = _class("llamaserver")
lmstudio = _class("lmstudio")
mistral = _class("mistral")
openrouter = _class("openrouter")
together = _class("together")
vllm = _class("vllm")
