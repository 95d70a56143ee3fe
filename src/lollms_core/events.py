"""What a generation is made of: events while it runs, a :class:`Completion` when it is over.

Readers ignore kinds of events that they don't know, so that kinds can be added.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, Literal

__all__ = [
    "MSG_TYPE",
    "Completion",
    "Event",
    "Finish",
    "FinishReason",
    "Progress",
    "ReasoningDelta",
    "TextDelta",
    "Timings",
    "TokenLogprob",
    "ToolCall",
    "Usage",
]

FinishReason = Literal["stop", "length", "tool_calls", "content_filter", "cancelled", "error"]


class MSG_TYPE(Enum):  # noqa: N801 - the name that LoLLMs applications import
    """The kind of a piece given to a streaming callback.

    Names and numbers are those of lollms_client 1.21's enum, each prefixed ``MSG_TYPE_``.
    """

    MSG_TYPE_CHUNK = 0
    MSG_TYPE_CONTENT = 1
    MSG_TYPE_CONTENT_INVISIBLE_TO_AI = 2
    MSG_TYPE_CONTENT_INVISIBLE_TO_USER = 3
    MSG_TYPE_THOUGHT_CHUNK = 4
    MSG_TYPE_THOUGHT_CONTENT = 5
    MSG_TYPE_EXCEPTION = 6
    MSG_TYPE_WARNING = 7
    MSG_TYPE_INFO = 8
    MSG_TYPE_STEP = 9
    MSG_TYPE_STEP_START = 10
    MSG_TYPE_STEP_PROGRESS = 11
    MSG_TYPE_STEP_END = 12
    MSG_TYPE_JSON_INFOS = 13
    MSG_TYPE_REF = 14
    MSG_TYPE_CODE = 15
    MSG_TYPE_UI = 16
    MSG_TYPE_NEW_MESSAGE = 17
    MSG_TYPE_FINISHED_MESSAGE = 18
    MSG_TYPE_TOOL_CALL = 19
    MSG_TYPE_TOOL_OUTPUT = 20
    MSG_TYPE_REASONING = 21
    MSG_TYPE_SCRATCHPAD = 22
    MSG_TYPE_OBSERVATION = 23
    MSG_TYPE_ERROR = 24
    # Older names of 1, 2 and 3; same values, hence aliases in the sense of enum.
    MSG_TYPE_FULL = 1
    MSG_TYPE_FULL_INVISIBLE_TO_AI = 2
    MSG_TYPE_FULL_INVISIBLE_TO_USER = 3


class Event:
    """Base of everything that a binding yields."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class TextDelta(Event):
    """The next piece of the answer; ``str(delta)`` is the text."""

    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class ReasoningDelta(Event):
    """The next piece of the model's thinking, which is not part of the answer."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolCall(Event):
    """One whole call that the model asks for; ``arguments`` is JSON text as the model wrote it."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class TokenLogprob(Event):
    """The natural logarithm of a sampled token's probability; comes with the text that the token is part of.

    ``top`` holds the most likely tokens at this place with theirs, the likeliest first; () unless asked for.
    ``token`` is the token's text; of a token that is no whole character, ``bytes`` are its bytes.
    """

    token: str
    logprob: float
    top: tuple[tuple[str, float], ...] = ()
    bytes: bytes | None = None


@dataclass(frozen=True, slots=True)
class Usage(Event):
    """Tokens of this generation; None where nobody knows.

    A later Usage replaces the figures that it knows. ``counted`` names the fields that were counted
    on our side because the backend did not report them.
    """

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int | None = None
    counted: frozenset[str] = frozenset()

    def updated(self, later: Usage) -> Usage:
        """These figures, overridden by those that `later` knows."""
        known = {
            name: figure
            for name in ("prompt_tokens", "completion_tokens", "cached_tokens")
            if (figure := getattr(later, name)) is not None
        }
        return replace(self, **known, counted=self.counted.difference(known) | later.counted)


@dataclass(frozen=True, slots=True)
class Finish(Event):
    """The end of the answer.

    ``provider`` is opaque data that the backend wants back with the assistant message of the next turn;
    ``raw`` is the backend's last record as it came, for debugging.
    """

    reason: FinishReason = "stop"
    model: str | None = None
    id: str | None = None
    provider: Mapping[str, Any] | None = None
    raw: Any = None


@dataclass(frozen=True, slots=True)
class Progress(Event):
    """How far a long job (fetching a model, reading a prompt) is; sizes in the unit that ``status`` implies."""

    status: str
    completed: int | None = None
    total: int | None = None
    digest: str | None = None


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds from the start of the request; None where it never got that far."""

    first_token: float | None = None
    total: float | None = None


@dataclass(slots=True)
class Completion:
    """A finished (or interrupted) answer; ``str(completion)`` is its text.

    Attributes:
        text: the answer.
        reasoning: the model's thinking, which is not part of it.
        tool_calls: what the model wants called; with ``run_tools`` those that were not run.
        parsed: the object that ``response_format`` asked for; None without it.
        logprobs: one for each token of the answer, if they were asked for.
        finish_reason: why it ended; None as long as it has not, in the completion of a stream that still runs.
        usage: tokens; with ``run_tools`` the sum over all rounds.
        timings: seconds; with ``run_tools`` ``total`` is that of all rounds.
        ignored: the parameters that were set and that this backend has no use for.
        raw: the backend's last record as it came, for debugging.
        provider: opaque data that the backend wants back with this answer.
        earlier: with ``run_tools``, the messages of the rounds before this answer.
    """

    text: str = ""
    reasoning: str = ""
    tool_calls: list[ToolCall] = field(default_factory=list)
    parsed: Any = None
    logprobs: list[TokenLogprob] = field(default_factory=list, repr=False)
    finish_reason: FinishReason | None = "stop"
    usage: Usage = field(default_factory=Usage)
    model: str | None = None
    id: str | None = None
    timings: Timings = field(default_factory=Timings)
    ignored: tuple[str, ...] = ()
    raw: Any = field(default=None, repr=False)
    provider: Mapping[str, Any] | None = field(default=None, repr=False)
    earlier: list[dict[str, Any]] = field(default_factory=list, repr=False)

    def __str__(self) -> str:
        return self.text

    @property
    def message(self) -> dict[str, Any]:
        """The assistant message to append to the conversation as it is."""
        message: dict[str, Any] = {"role": "assistant", "content": self.text}
        if self.tool_calls:
            message["tool_calls"] = [
                {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
                for call in self.tool_calls
            ]
        if self.provider:
            message["provider"] = dict(self.provider)
        return message

    @property
    def messages(self) -> list[dict[str, Any]]:
        """All that this answer adds to the conversation, the rounds of ``run_tools``, then :attr:`message`."""
        return [*self.earlier, self.message]
