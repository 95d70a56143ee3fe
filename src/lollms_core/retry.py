"""How long to wait before asking again, or whether to give up: a budget without I/O.

One :class:`RetryBudget` belongs to one request. The caller asks it after each failure and sleeps as it is
told, in its own way, sync or async. A stream is never asked for again after its first byte; that is the
caller's to know.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

__all__ = ["RETRY_AFTER_CAP", "RetryBudget", "RetryPolicy", "parse_retry_after"]

_log = logging.getLogger(__name__)

RETRY_AFTER_CAP: Final = 120.0
"""Longest wait that a server may ask for, in seconds; if it asks for more, the error is raised now."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """What may be spent on one request.

    Args:
        attempts: most tries, the first included; 1 is no retry.
        budget: most seconds from the first try to the start of the last.
        first_wait: seconds before the second try, before jitter; each later wait is twice the one before.
        longest_wait: most seconds of one wait, unless the server asks for more.
        until: when the request must be over, in seconds of the clock (``time.monotonic``): no wait goes beyond it,
            and the failure is told at once instead. None for never.

    Raises:
        ValueError: a number out of range.
    """

    attempts: int = 3
    budget: float = 60.0
    first_wait: float = 0.5
    longest_wait: float = 8.0
    until: float | None = None

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise ValueError(f"attempts must be at least 1, not {self.attempts}")
        for name in ("budget", "first_wait", "longest_wait"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"{name} must be a finite number of seconds, 0 or more, not {getattr(self, name)}")


class RetryBudget:
    """The tries of one request.

    Args:
        policy: what may be spent.
        origin: whom the request goes to, for the log.
        clock: seconds that only grow.
        jitter: a number from 0 to 1, new at each call.
    """

    def __init__(
        self,
        policy: RetryPolicy,
        origin: str,
        *,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._policy = policy
        self._origin = origin
        self._clock = clock
        self._jitter = jitter
        self._started = clock()
        self._tries = 1

    def after_status(self, status: int, headers: Mapping[str, str]) -> float | None:
        """Seconds to wait after this response, None to give up.

        408, 409, 429 and 5xx are asked again, but for 501, which says that the server never does that
        (RFC 9110, section 15.6.2); a Retry-After is obeyed up to :data:`RETRY_AFTER_CAP`.
        `headers` has lower-case names, or is insensitive to case.
        """
        if status == 501 or not (status in (408, 409, 429) or 500 <= status <= 599):
            return None
        asked = parse_retry_after(headers.get("retry-after"))
        if asked is not None and asked > RETRY_AFTER_CAP:
            return None
        return self._wait(f"status {status}", asked)

    def after_failure(self, cause: str) -> float | None:
        """Seconds to wait after a failure before any byte of an answer, None to give up."""
        return self._wait(cause, None)

    def _wait(self, cause: str, asked: float | None) -> float | None:
        if self._tries >= self._policy.attempts:
            return None
        backoff = min(self._policy.longest_wait, self._policy.first_wait * 2 ** (self._tries - 1))
        # Half of it is random, so that clients that failed together don't come back together.
        wait = asked if asked is not None else backoff * (0.5 + self._jitter() / 2)
        again_at = self._clock() + wait
        if again_at - self._started > self._policy.budget:
            return None
        if self._policy.until is not None and again_at >= self._policy.until:
            return None
        self._tries += 1
        _log.info("%s: %s; try %d of %d in %.1f s", self._origin, cause, self._tries, self._policy.attempts, wait)
        return wait


def parse_retry_after(value: str | None, *, now: float | None = None) -> float | None:
    """Seconds that a Retry-After header asks for (RFC 9110, section 10.2.3); None if it says nothing sensible.

    Args:
        value: a number of seconds or an HTTP date.
        now: seconds since the epoch, for dates.
    """
    if value is None:
        return None
    value = value.strip()
    try:
        seconds = float(value)
    except ValueError:
        from email.utils import parsedate_to_datetime

        try:
            seconds = max(0.0, parsedate_to_datetime(value).timestamp() - (time.time() if now is None else now))
        except (ValueError, OverflowError):
            return None
    return seconds if 0 <= seconds < float("inf") else None
