"""What a chat template knows of thinking, and what a request asks of it.

Templates take two variables: ``enable_thinking``, true or false (Qwen3:
https://huggingface.co/Qwen/Qwen3-8B#switching-between-thinking-and-non-thinking-mode), and ``reasoning_effort``,
a word (https://huggingface.co/docs/transformers/chat_templating). Thinking stands between ``<think>`` and
``</think>`` at the beginning of the answer. Some templates write the ``<think>`` themselves, so that the answer
begins within the thinking; some want the thinking of earlier answers back, as ``reasoning_content``.

Models that mark their thinking in other ways (``<|channel|>`` and the like) are not covered.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from lollms_llamacpp.chat_template import ChatTemplate

__all__ = ["PROVIDER", "Thinking", "begins_inside", "thinks"]

PROVIDER: Final = "llamacpp"
"""The key of our own data in a message's ``provider``."""

_OPEN: Final = "<think>"
_CHANNELS: Final = "<|channel"


@dataclass(frozen=True, slots=True)
class Thinking:
    """One template's thinking.

    Attributes:
        known: whether its model thinks, between tags that can be told from the answer.
        switch: whether thinking can be turned on and off.
        effort: whether its amount can be chosen.
        returned: whether the thinking of earlier answers is wanted back.
    """

    known: bool
    switch: bool
    effort: bool
    returned: bool

    @classmethod
    def of(cls, template: ChatTemplate) -> Thinking:
        """What `template` knows of it."""
        names, source = template.variables, template.source
        switch, effort = "enable_thinking" in names, "reasoning_effort" in names
        known = (_OPEN in source or switch or effort) and _CHANNELS not in source
        return cls(known, switch, effort, known and "reasoning_content" in source)

    def variables(self, think: bool | str | None) -> dict[str, Any]:
        """The template's variables for a request's ``think``; of None none, so that the template's default counts.

        True leaves the amount to the template. False takes the least amount where there is no switch.
        """
        found: dict[str, Any] = {}
        if think is None:
            return found
        if self.switch:
            found["enable_thinking"] = bool(think)
        if self.effort and isinstance(think, str):
            found["reasoning_effort"] = think
        elif self.effort and not think and not self.switch:
            found["reasoning_effort"] = "low"
        return found

    def data(self, reasoning: str) -> Mapping[str, Any] | None:
        """What goes back to the template with the next turn."""
        return {PROVIDER: {"reasoning": reasoning}} if self.returned and reasoning else None


@lru_cache(maxsize=64)
def thinks(source: str) -> bool:
    """Whether a template of this `source` has a model that thinks."""
    return Thinking.of(ChatTemplate(source, origin="the model")).known


def begins_inside(prompt: str) -> bool:
    """Whether an answer to this rendered `prompt` begins within the thinking."""
    return prompt.rstrip().endswith(_OPEN)
