"""What one request may take, from the binding's options and what a call says."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from lollms_core.retry import RetryPolicy
from lollms_openai.options import DEFAULT_CONNECT, DEFAULT_IDLE, DEFAULT_MAX_RESPONSE_BYTES

__all__ = ["Limits", "policy_of"]

_DEFAULT: Final = RetryPolicy()


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request may take, with all that is asked for its sake.

    Attributes:
        connect: seconds for one try to connect.
        idle: seconds without a sign of life.
        size: most bytes of one response.
        deadline: seconds in total, None for no limit.
        until: when they are over, in seconds of ``time.monotonic``.
    """

    connect: float = DEFAULT_CONNECT
    idle: float = DEFAULT_IDLE
    size: int = DEFAULT_MAX_RESPONSE_BYTES
    deadline: float | None = None
    until: float | None = None

    @classmethod
    def of(cls, options: Mapping[str, Any], *, timeout: float | None = None, deadline: float | None = None) -> Self:
        """From a binding's or a request's options, and its ``timeout`` and ``deadline``; they count from now."""
        return cls(
            connect=float(options.get("connect_timeout", DEFAULT_CONNECT)),
            idle=DEFAULT_IDLE if timeout is None else timeout,
            size=options.get("max_response_bytes", DEFAULT_MAX_RESPONSE_BYTES),
            deadline=deadline,
            until=None if deadline is None else time.monotonic() + deadline,
        )


def policy_of(options: Mapping[str, Any], *, deadline: float | None = None) -> RetryPolicy:
    """The retries that a binding's options ask for, within `deadline` seconds from now."""
    return RetryPolicy(
        attempts=options.get("retries", _DEFAULT.attempts - 1) + 1,
        budget=float(options.get("retry_budget", _DEFAULT.budget)),
        until=None if deadline is None else time.monotonic() + deadline,
    )
