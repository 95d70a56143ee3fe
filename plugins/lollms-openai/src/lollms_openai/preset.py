"""What is particular to one service or server, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from lollms_core import Capability
from lollms_openai.thinking import OPENAI_MODELS, Switches

__all__ = ["ALL", "COMMON_FIELDS", "OPENAI", "Preset"]

COMMON_FIELDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "temperature": "temperature",
        "top_p": "top_p",
        "presence_penalty": "presence_penalty",
        "frequency_penalty": "frequency_penalty",
        "logit_bias": "logit_bias",
        "stop": "stop",
        "seed": "seed",
    }
)
"""The contract's parameters that OpenAI's API has, and their names there."""

ALL: Final = frozenset(Capability) - {Capability.PULL}
"""What this package can do where the server can."""

_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """One service or server.

    Attributes:
        name: the binding's name.
        base_url: where it is, up to and with ``/v1``.
        key_variable: the environment variable with its key, None if it has none.
        base_variable: the environment variable with another base URL, None if it has none.
        local: whether it runs on the user's own machines; then the key of its variable goes to any address
            that the user names, else only to the service's own.
        capabilities: what it can do.
        fields: its parameters by the contract's names; ``n_predict`` is in `max_tokens`.
        max_tokens: the name of ``n_predict`` in chat completions; plain ones have ``max_tokens`` everywhere.
        stream_usage: whether it has to be asked for the usage figures of a stream.
        tokens: where its tokens come from: its own /tokenize, tiktoken, nowhere, or "probe": whoever answers.
        details: a path below the server's root with more facts on the models than /models, None if there is none.
        version: a path below the server's root where it tells its version, and the name of it there; None if nowhere.
        embed_encoding: ``encoding_format`` to ask embeddings in; None asks for nothing.
        thinking: how its models are told to think; () where they can't be told.
        thinking_back: the name under which it wants the thinking back with an assistant message where tools are
            used, None if it does not.
        required: its word for the ``tool_choice`` "required".
        named_choice: whether ``tool_choice`` can name a tool. Where it can't, that tool is the only one sent,
            and one is required.
        tool_names: whether the result of a tool may carry the tool's name.
        short_call_ids: whether ids of calls must be nine letters and digits.
        json_object: whether ``response_format`` can be ``{"type": "json_object"}``.
        strict: whether schemas that fulfil the rules of OpenAI's strict mode are sent with ``strict``.
        counted_logprobs: whether ``logprobs`` of a chat is a number; else it is a bool beside ``top_logprobs``.
        insisting: further fields where what is asked must not be passed over: a schema, log probabilities.
    """

    name: str
    base_url: str
    key_variable: str | None = None
    base_variable: str | None = None
    local: bool = False
    capabilities: frozenset[Capability] = ALL
    fields: Mapping[str, str] = field(default_factory=lambda: COMMON_FIELDS)
    max_tokens: str = "max_tokens"
    stream_usage: bool = True
    tokens: str = "none"
    details: str | None = None
    version: tuple[str, str] | None = None
    embed_encoding: str | None = None
    thinking: Switches = ()
    thinking_back: str | None = None
    required: str = "required"
    named_choice: bool = True
    tool_names: bool = True
    short_call_ids: bool = False
    json_object: bool = True
    strict: bool = False
    counted_logprobs: bool = False
    insisting: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)


# https://platform.openai.com/docs/api-reference
OPENAI: Final = Preset(
    name="openai",
    base_url="https://api.openai.com/v1",
    key_variable="OPENAI_API_KEY",
    base_variable="OPENAI_BASE_URL",
    max_tokens="max_completion_tokens",
    tokens="tiktoken",
    embed_encoding="base64",
    thinking=OPENAI_MODELS,
    tool_names=False,
    strict=True,
)
