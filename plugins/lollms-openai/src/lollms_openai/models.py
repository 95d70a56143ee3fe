"""The models of a server, and what is known of each, as operations."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

from lollms_core import (
    AuthenticationError,
    BackendTimeout,
    BackendUnavailable,
    Capability,
    LollmsError,
    ProtocolError,
)
from lollms_core.retry import RetryPolicy
from lollms_openai.exchange import Ask, Operation, Read, answer_to, json_from, json_of
from lollms_openai.server import Server

__all__ = [
    "TOLD_BY_PROPS",
    "chosen",
    "is_embedder",
    "is_listed",
    "lacking_by_name",
    "lacking_by_props",
    "listed",
    "props",
]

_UNREACHABLE: Final = (BackendUnavailable, BackendTimeout)

_MAX_LIST: Final = 64 * 1024 * 1024
_LENGTHS: Final = (
    "loaded_context_length",  # LM Studio
    "max_model_len",  # vLLM
    "context_window",  # Groq
    "context_length",  # OpenRouter, Together
    "max_context_length",  # Mistral, LM Studio
)
_EMBEDDERS: Final = re.compile(r"embed|\bbge\b|\be5-|\bgte-|minilm", re.IGNORECASE)
# Of OpenAI's own: what neither chats nor embeds.
_NEITHER: Final = re.compile(
    r"^(whisper|tts|dall-e|sora|gpt-image|chatgpt-image|omni-moderation|text-moderation|computer-use|codex-)"
    r"|-(tts|transcribe|realtime|audio|image|search)\b"
)
_BASE: Final = re.compile(r"^(babbage|davinci)-|-instruct\b")
_GENERATES: Final = re.compile(r"(ft:)?(gpt-|o\d|chatgpt-|babbage-|davinci-)")
# https://platform.openai.com/docs/models; structured outputs began with gpt-4o-2024-08-06
# (https://developers.openai.com/api/docs/guides/structured-outputs), and what thinks gives no log probabilities.
_LACKING: Final = (
    (re.compile(r"(ft:)?(gpt-3\.5|gpt-4(-\d{4})?(:|$)|o1-mini|o1-preview|o3-mini)"), Capability.VISION),
    (re.compile(r"o1-mini|o1-preview|chatgpt-4o"), Capability.TOOLS),
    (
        re.compile(
            r"(ft:)?(gpt-3\.5|gpt-4(-\d{4}|-turbo.*|-1106.*|-0125.*)?(:|$))|gpt-4o-2024-05-13|o1-mini|o1-preview"
        ),
        Capability.JSON_SCHEMA,
    ),
    (re.compile(r"(ft:)?(o\d|gpt-5(-mini|-nano)?(-\d{4}-\d\d-\d\d)?(:|$))"), Capability.LOGPROBS),
)


Listed: TypeAlias = tuple[dict[str, Any], frozenset[Capability]]
"""A model as the binding lists it, and what the server's list says that it cannot do."""


def listed(server: Server, policy: RetryPolicy) -> Operation[list[Listed]]:
    """The models that the server lists, each a dict with model_name and what else it says of it, and what it lacks.

    Raises:
        LollmsError: it cannot be asked, or answers something else.
    """
    if server.preset.details == "api/v0/models":
        try:
            found = yield from json_of(
                Ask("GET", f"{server.root}/{server.preset.details}", idle=30.0), server, policy, limit=_MAX_LIST
            )
            return _models(found, server)
        except (*_UNREACHABLE, AuthenticationError):
            raise
        except LollmsError:
            pass  # a version without this page; the standard one says less
    found = yield from json_of(Ask("GET", "models", idle=30.0), server, policy, limit=_MAX_LIST)
    return _models(found, server)


def _models(found: Any, server: Server) -> list[Listed]:
    found = server.redaction.value(found)
    # Together answers with the bare list.
    items = found.get("data") if isinstance(found, Mapping) else found
    if not isinstance(items, list):
        raise ProtocolError(f"{server.who} answered the question for its models with something else")
    named = [item for item in items if isinstance(item, Mapping) and isinstance(item.get("id"), str)]
    return [(_model(item), _lacking(item)) for item in named]


def _model(item: Mapping[str, Any]) -> dict[str, Any]:
    name = str(item["id"])
    meta = item.get("meta")
    meta = meta if isinstance(meta, Mapping) else {}  # llama-server
    model: dict[str, Any] = {"model_name": name}
    length = next((value for key in _LENGTHS if isinstance(value := item.get(key), int)), meta.get("n_ctx_train"))
    if isinstance(length, int):
        model["ctx_size"] = length
    for key in ("created", "owned_by"):
        if item.get(key) is not None:
            model[key] = item[key]
    for key in ("n_params", "size"):
        if isinstance(meta.get(key), int):
            model[key] = meta[key]
    kind = item.get("type")
    if isinstance(kind, str):
        model["type"] = kind
    loaded = _is_loaded(item)
    if loaded is not None:
        model["loaded"] = loaded
    return model


def _is_loaded(item: Mapping[str, Any]) -> bool | None:
    """Whether the server says that it has the model loaded: LM Studio's ``state``, llama-server's ``status``."""
    state = item.get("state")
    if not isinstance(state, str):
        status = item.get("status")
        state = status.get("value") if isinstance(status, Mapping) else None
    return state == "loaded" if isinstance(state, str) else None


def chosen(models: Sequence[Mapping[str, Any]], server: Server, *, to_embed: bool = False) -> str | None:
    """The model to take where none is named: one that the server has loaded, else the newest it lists.

    Where it lists models of several kinds, those of the other kind don't count.
    """
    fit = [model for model in models if is_embedder(model) == to_embed and not _is_neither(model, server)]
    fit = fit or list(models)
    loaded = [model for model in fit if model.get("loaded")]
    newest = max(loaded or fit, key=_created, default=None)
    return None if newest is None else str(newest["model_name"])


def _created(model: Mapping[str, Any]) -> float:
    created = model.get("created")
    return float(created) if isinstance(created, (int, float)) else 0.0


def is_embedder(model: Mapping[str, Any]) -> bool:
    """Whether a listed model is for embeddings, by what the server says, else by its name."""
    kind = model.get("type")
    if isinstance(kind, str) and kind in ("embeddings", "embedding", "llm", "vlm", "chat", "language"):
        return kind.startswith("embedding")
    return _EMBEDDERS.search(str(model["model_name"])) is not None


def _is_neither(model: Mapping[str, Any], server: Server) -> bool:
    if server.preset.name != "openai" or server.preset.key_variable is None:
        return False
    name = str(model["model_name"])
    return _NEITHER.search(name) is not None or _BASE.search(name) is not None


_ONLY_EMBEDS: Final = frozenset(Capability) - {Capability.EMBED, Capability.TOKENIZE, Capability.ASYNC, Capability.PULL}


def lacking_by_name(name: str) -> frozenset[Capability]:
    """What one of OpenAI's own models cannot do, by its name; https://platform.openai.com/docs/models.

    Whether it can be told to think is in :data:`~lollms_openai.thinking.OPENAI_MODELS`.
    """
    if name.startswith("text-embedding-"):
        return _ONLY_EMBEDS
    lacks: set[Capability] = set()
    if _GENERATES.match(name):
        lacks.add(Capability.EMBED)
    if _BASE.search(name):
        lacks |= {Capability.VISION, Capability.TOOLS, Capability.JSON_SCHEMA}
    for pattern, lack in _LACKING:
        if pattern.match(name):
            lacks.add(lack)
    return frozenset(lacks)


# https://lmstudio.ai/docs/developer/rest
_KINDS: Final[Mapping[str, frozenset[Capability]]] = {
    "embeddings": _ONLY_EMBEDS,
    "llm": frozenset({Capability.VISION, Capability.EMBED}),
    "vlm": frozenset({Capability.EMBED}),
}
# https://openrouter.ai/docs/guides/overview/models, supported_parameters
_PARAMETERS: Final[Mapping[str, Capability]] = {
    "tools": Capability.TOOLS,
    "structured_outputs": Capability.JSON_SCHEMA,
    "reasoning": Capability.REASONING,
    "logprobs": Capability.LOGPROBS,
}
# https://docs.mistral.ai/api/endpoint/models, capabilities
_ABILITIES: Final[Mapping[str, frozenset[Capability]]] = {
    "completion_chat": _ONLY_EMBEDS,
    "function_calling": frozenset({Capability.TOOLS}),
    "vision": frozenset({Capability.VISION}),
}


def _lacking(item: Mapping[str, Any]) -> frozenset[Capability]:
    """What the server's list says that a model cannot do: LM Studio's, OpenRouter's, Mistral's."""
    kind, parameters, abilities = item.get("type"), item.get("supported_parameters"), item.get("capabilities")
    lacks = set(_KINDS.get(kind, ())) if isinstance(kind, str) else set()
    if isinstance(parameters, list):
        lacks |= {able for name, able in _PARAMETERS.items() if name not in parameters}
    if isinstance(abilities, Mapping):
        lacks |= {able for name, some in _ABILITIES.items() if abilities.get(name) is False for able in some}
    architecture = item.get("architecture")
    inputs = architecture.get("input_modalities") if isinstance(architecture, Mapping) else None
    if isinstance(inputs, list) and "image" not in inputs:
        lacks.add(Capability.VISION)
    return frozenset(lacks)


TOLD_BY_PROPS: Final = frozenset({Capability.VISION, Capability.TOOLS, Capability.REASONING})
"""What a llama-server says of its model."""

_THINKS: Final = re.compile("think|reason", re.IGNORECASE)


def lacking_by_props(found: Mapping[str, Any]) -> frozenset[Capability]:
    """What the model of a llama-server cannot do, by what :func:`props` gave.

    Where the chat template has no tools the server passes over them in silence, and over a switch for thinking
    that the template does not read.
    """
    lacks: set[Capability] = set()
    modalities, caps = found.get("modalities"), found.get("chat_template_caps")
    if isinstance(modalities, Mapping) and modalities.get("vision") is False:
        lacks.add(Capability.VISION)
    if isinstance(caps, Mapping) and caps.get("supports_tools") is False and caps.get("supports_tool_calls") is False:
        lacks.add(Capability.TOOLS)
    template = found.get("chat_template")
    if isinstance(template, str) and not _THINKS.search(template):
        lacks.add(Capability.REASONING)
    return frozenset(lacks)


def is_listed(name: str, names: Sequence[str]) -> bool:
    """Whether `name` is among the models' `names`, also with a tag that the list leaves out, or the other way."""
    return name in names or f"{name}:latest" in names or name.partition(":")[0] in names


def props(server: Server, policy: RetryPolicy) -> Operation[Mapping[str, Any]]:
    """What llama-server says of itself at /props; {} of another server.

    https://github.com/ggml-org/llama.cpp/tree/master/tools/server, GET /props.
    """
    try:
        answer = yield from answer_to(Ask("GET", f"{server.root}/props", idle=30.0), server, policy)
        body = yield Read(_MAX_LIST)
        found = server.redaction.value(json_from(answer.headers, body, server))
    except _UNREACHABLE:
        raise
    except LollmsError:
        return {}
    return found if isinstance(found, Mapping) else {}
