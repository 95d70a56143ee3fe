"""How a service is told whether, and how much, its models shall think, as data.

There is no common way: each service has fields of its own, and within one the models differ.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

__all__ = [
    "DEEPSEEK",
    "GROQ",
    "LLAMA_SERVER",
    "MISTRAL",
    "OPENAI_MODELS",
    "OPENROUTER",
    "TOGETHER",
    "VLLM",
    "Switch",
    "Switches",
    "switch_of",
]

_Fields: TypeAlias = Mapping[str, Any]

_LEVELS: Final = ("low", "medium", "high")


@dataclass(frozen=True, slots=True)
class Switch:
    """The switch of one family of models.

    Attributes:
        models: found in the names of the models that have it.
        fields: what goes into the body for each value of ``think``: True, False, "low", "medium", "high".
    """

    models: re.Pattern[str]
    fields: Mapping[bool | str, _Fields]


Switches: TypeAlias = tuple[Switch, ...]
"""Those of one service; the first that fits a model counts."""


def switch_of(switches: Switches, model: str | None) -> Switch | None:
    """The switch of `model`, None if it has none; of an unnamed one the first that fits any name."""
    return next((switch for switch in switches if switch.models.search(model or "")), None)


def _switch(models: str, on: _Fields, off: _Fields, levels: Mapping[str, _Fields] | None = None) -> Switch:
    """`levels` where there are none is `on`: how much is then the model's to decide."""
    fields: dict[bool | str, _Fields] = {True: on, False: off}
    return Switch(
        re.compile(models, re.IGNORECASE), fields | {level: (levels or {}).get(level, on) for level in _LEVELS}
    )


def _efforts(models: str, *, on: str | None, off: str, **more: Any) -> Switch:
    """``reasoning_effort``; `on` is the level that True means, None for the model's own default."""
    return _switch(
        models,
        more | ({} if on is None else {"reasoning_effort": on}),
        {"reasoning_effort": off},
        {level: more | {"reasoning_effort": level} for level in _LEVELS},
    )


# https://developers.openai.com/api/docs/guides/reasoning: the first reasoning models know "low" as the least, the
# first of GPT-5 "minimal", those since 5.1 "none", which is also their default; the older GPT models have no switch.
OPENAI_MODELS: Final[Switches] = (
    _efforts(r"^(ft:)?(o\d|gpt-oss)|codex", on="medium", off="low"),
    _efforts(r"^(ft:)?gpt-5(-mini|-nano)?(-\d{4}-\d\d-\d\d)?(:|$)", on="medium", off="minimal"),
    _efforts(r"^(ft:)?gpt-(?![34])(?!.*chat)", on="medium", off="none"),
)

# https://openrouter.ai/docs/use-cases/reasoning-tokens
OPENROUTER: Final[Switches] = (
    _switch(
        "",
        {"reasoning": {"enabled": True}},
        {"reasoning": {"effort": "none"}},
        {level: {"reasoning": {"effort": level}} for level in _LEVELS},
    ),
)

# https://console.groq.com/docs/reasoning: GPT-OSS always thinks, and knows no reasoning_format.
GROQ: Final[Switches] = (
    _efforts("gpt-oss", on=None, off="low", include_reasoning=True),
    _switch("qwen", {"reasoning_effort": "default", "reasoning_format": "parsed"}, {"reasoning_effort": "none"}),
)

# https://docs.together.ai/docs/inference/chat/reasoning: models with levels, models that always think, hybrids.
TOGETHER: Final[Switches] = (
    _efforts("gpt-oss", on=None, off="low"),
    _switch("deepseek-r1|minimax|qwq|thinking", {}, {}),
    _switch(
        r"deepseek-v(3\.[1-9]|[4-9])|glm-[4-9]|kimi-k2\.[5-9]|qwen3\.\d|cogito",
        {"reasoning": {"enabled": True}},
        {"reasoning": {"enabled": False}},
    ),
)

# https://docs.mistral.ai/capabilities/reasoning: Magistral always thinks; of the others, the large one has levels.
MISTRAL: Final[Switches] = (
    _switch("magistral", {}, {}),
    _efforts("mistral-large-4", on="high", off="none"),
    _switch(
        r"mistral-small-(latest|26\d\d)|mistral-medium-3[.-]5",
        {"reasoning_effort": "high"},
        {"reasoning_effort": "none"},
    ),
)

# https://api-docs.deepseek.com/guides/thinking_mode
DEEPSEEK: Final[Switches] = (
    _switch(
        "",
        {"thinking": {"type": "enabled"}},
        {"thinking": {"type": "disabled"}},
        {level: {"thinking": {"type": "enabled"}, "reasoning_effort": level} for level in _LEVELS},
    ),
)


def _template(on: bool, **more: Any) -> _Fields:
    # Templates call it by one name or the other, and don't mind those that they don't know.
    return {"chat_template_kwargs": {"enable_thinking": on, "thinking": on, **more}}


# https://docs.vllm.ai/en/stable/features/reasoning_outputs/
VLLM: Final[Switches] = (
    _switch(
        "",
        _template(True),
        _template(False),
        {level: {**_template(True), "reasoning_effort": level} for level in _LEVELS},
    ),
)

# https://github.com/ggml-org/llama.cpp/tree/master/tools/server: chat_template_kwargs; the effort is one of them,
# so that versions which know no field of that name take it too.
LLAMA_SERVER: Final[Switches] = (
    _switch(
        "", _template(True), _template(False), {level: _template(True, reasoning_effort=level) for level in _LEVELS}
    ),
)
