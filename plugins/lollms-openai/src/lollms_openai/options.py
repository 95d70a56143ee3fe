"""The options that only this binding has, for the constructor and for single requests."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, TypedDict, get_args

__all__ = [
    "DEFAULT_CONNECT",
    "DEFAULT_IDLE",
    "DEFAULT_MAX_RESPONSE_BYTES",
    "CompletionFormat",
    "OpenAIOptions",
    "check_options",
]

CompletionFormat = Literal["chat", "text"]

DEFAULT_CONNECT: Final = 10.0
"""Seconds for one try to connect."""

DEFAULT_MAX_RESPONSE_BYTES: Final = 512 * 1024 * 1024
"""Largest response that is read (512 MiB)."""

DEFAULT_IDLE: Final = 600.0
"""Seconds without a sign of life before a generation is given up, where ``timeout`` is not given."""


class OpenAIOptions(TypedDict, total=False):
    """Options for the constructor and for a single request.

    Attributes:
        completion_format: how ``generate_text`` without ``split`` puts its prompt: "chat" (the default) as a
            user's message to /chat/completions, "text" as it stands to /completions.
        connect_timeout: seconds for one try to connect. Default 10.
        retries: how often a request that failed before its first byte is sent again. Default 2.
        retry_budget: seconds from the first try to the start of the last. Default 60.
        max_response_bytes: largest response that is read. Default 512 MiB.
        timeout, deadline: for ``embed``, which they also are options of: as in a request.
        embed_batch_size: texts in one request for embeddings. Default 256.
        embed_concurrency: requests for embeddings that one call has under way at the same time. Default 4.
    """

    completion_format: CompletionFormat
    connect_timeout: float
    retries: int
    retry_budget: float
    max_response_bytes: int
    timeout: float
    deadline: float
    embed_batch_size: int
    embed_concurrency: int


def check_options(options: Mapping[str, Any]) -> None:
    """Whether the options given are what they should be; other names are passed over.

    Raises:
        TypeError, ValueError: one is of the wrong type or out of range; the text names it.
    """
    for name, check in _CHECKS.items():
        if options.get(name) is not None:
            check(name, options[name])


def _format(name: str, value: object) -> None:
    if value not in get_args(CompletionFormat):
        raise ValueError(f"{name} must be 'chat' or 'text', not {value!r}")


def _whole(low: int, high: int = 2**63 - 1) -> Callable[[str, object], None]:
    def check(name: str, value: object) -> None:
        if type(value) is not int:
            raise TypeError(f"{name} must be a whole number, not {value!r}")
        if value < low:
            raise ValueError(f"{name} must be at least {low}, not {value}")
        if value > high:
            raise ValueError(f"{name} must be at most {high}, not {value}")

    return check


def _seconds(*, above: bool) -> Callable[[str, object], None]:
    def check(name: str, value: object) -> None:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise TypeError(f"{name} must be a number of seconds, not {value!r}")
        if not math.isfinite(value) or value < 0 or (above and value == 0):
            raise ValueError(f"{name} must be finite and {'greater than' if above else 'at least'} 0, not {value}")

    return check


_CHECKS: Final[Mapping[str, Callable[[str, object], None]]] = {
    "completion_format": _format,
    "connect_timeout": _seconds(above=True),
    "retries": _whole(0, 100),
    "retry_budget": _seconds(above=False),
    "max_response_bytes": _whole(1),
    "timeout": _seconds(above=True),
    "deadline": _seconds(above=True),
    "embed_batch_size": _whole(1),
    "embed_concurrency": _whole(1),
}
