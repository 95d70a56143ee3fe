"""What a parameter is called in other APIs, for whoever brings that name along."""

from __future__ import annotations

from collections.abc import Collection
from types import MappingProxyType
from typing import Final

from lollms_core.errors import close_names

__all__ = ["OTHER_NAMES", "close_parameters"]

OTHER_NAMES: Final = MappingProxyType(
    {
        # OpenAI's API: https://platform.openai.com/docs/api-reference
        "api_key": "service_key",
        "base_url": "host_address",
        "max_tokens": "n_predict",
        "max_completion_tokens": "n_predict",
        "max_output_tokens": "n_predict",
        "reasoning_effort": "think",
        "top_logprobs": "logprobs",
        "instructions": "system_prompt",
        "functions": "tools",
        "function_call": "tool_choice",
        "extra_body": "backend_options",
        # Anthropic's: https://docs.anthropic.com/en/api/messages
        "system": "system_prompt",
        "stop_sequences": "stop",
        "thinking": "think",
        # Ollama's: https://github.com/ollama/ollama/blob/main/docs/modelfile.md
        "host": "host_address",
        "num_ctx": "ctx_size",
        "num_predict": "n_predict",
        "num_thread": "n_threads",
        "num_gpu": "n_gpu_layers",
        "num_batch": "n_batch",
        "format": "response_format",
        # llama.cpp's, on its command line too, and llama-cpp-python's
        "n_ctx": "ctx_size",
        "threads": "n_threads",
        "threads_batch": "n_threads_batch",
        "gpu_layers": "n_gpu_layers",
        "ngl": "n_gpu_layers",
        "batch_size": "n_batch",
        "type_k": "cache_type_k",
        "type_v": "cache_type_v",
        "json_schema": "response_format",
        "models_dir": "models_path",
        # transformers' generation and vLLM's: https://docs.vllm.ai
        "max_new_tokens": "n_predict",
        "max_length": "n_predict",
        "repetition_penalty": "repeat_penalty",
        "stop_strings": "stop",
        "max_model_len": "ctx_size",
        "context_length": "ctx_size",
        "guided_json": "response_format",
        "verify": "verify_ssl_certificate",
    }
)
"""A name of another API, and the contract's, or a binding's of ours, for the same thing."""


def close_parameters(name: str, known: Collection[str]) -> str:
    """Like :func:`close_names`, of parameters: one that other APIs call `name` is the only one named."""
    ours = OTHER_NAMES.get(name.lower().replace("-", "_"))
    return f" Did you mean {ours}?" if ours in known else close_names(name, known)
