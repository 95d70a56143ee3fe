"""One request and its tries, without I/O: what a failure means, and whether to ask again.

Both transports send what :class:`Exchange` holds and report to it what happens.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from lollms_core import BackendTimeout, CapabilityNotSupported, LollmsError, ProtocolError
from lollms_core.failures import before_answer, in_answer
from lollms_core.responses import check_content_type, error_of_response
from lollms_core.retry import RetryBudget, RetryPolicy
from lollms_http.address import Server
from lollms_http.call import Call
from lollms_http.framing import KNOWN_TYPES, Framing, accepted_types
from lollms_http.options import DEFAULT_CONNECT_TIMEOUT, DEFAULT_IDLE_TIMEOUT, DEFAULT_MAX_RESPONSE_BYTES

__all__ = ["MAX_ERROR_BYTES", "Exchange", "Limits"]

_log = logging.getLogger(__name__)

MAX_ERROR_BYTES: Final = 64 * 1024
"""How much of a refusal is read, in bytes."""


_USUAL: Final = RetryPolicy()


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request may take.

    Attributes:
        connect: seconds for one try to connect.
        idle: seconds without a byte.
        until: when it must be over, in seconds of ``time.monotonic``, None for never.
        total: the same as the caller said it, for messages.
        size: bytes of one response.
        policy: what may be spent on trying again.
    """

    connect: float = DEFAULT_CONNECT_TIMEOUT
    idle: float = DEFAULT_IDLE_TIMEOUT
    until: float | None = None
    total: float | None = None
    size: int = DEFAULT_MAX_RESPONSE_BYTES
    policy: RetryPolicy = field(default_factory=RetryPolicy)

    @classmethod
    def of(cls, options: Mapping[str, Any], *, timeout: float | None = None, deadline: float | None = None) -> Limits:
        """From the binding's options and the request's ``timeout`` and ``deadline``."""
        until = None if deadline is None else time.monotonic() + deadline
        return cls(
            connect=float(options.get("connect_timeout", DEFAULT_CONNECT_TIMEOUT)),
            idle=timeout if timeout is not None else DEFAULT_IDLE_TIMEOUT,
            until=until,
            total=deadline,
            size=options.get("max_response_bytes", DEFAULT_MAX_RESPONSE_BYTES),
            policy=RetryPolicy(
                attempts=1 + options.get("retries", _USUAL.attempts - 1),
                budget=float(options.get("retry_budget", _USUAL.budget)),
                until=until,
            ),
        )

    def left(self) -> float | None:
        """Seconds until the deadline, None if there is none."""
        return None if self.until is None else self.until - time.monotonic()


class Exchange:
    """The tries of one request.

    Args:
        server: who is asked.
        who: binding and host, for messages.
        call: what is asked.
        limits: what it may take.
        framing: of a stream; None where its content type tells it.
        meaning: what an error that the server tells is for the caller.
    """

    def __init__(
        self,
        server: Server,
        who: str,
        call: Call,
        limits: Limits,
        framing: Framing | None = None,
        meaning: Callable[[LollmsError], LollmsError] = lambda error: error,
    ) -> None:
        self.server = server
        self.who = who
        self.call = call
        self.limits = limits
        self._types = accepted_types(framing, streamed=call.stream)
        self._meaning = meaning
        self.about = call.about(who)
        self.url = server.url + call.path
        self._budget = RetryBudget(limits.policy, who)
        self._received = 0
        self._lost = False

    @property
    def accepts(self) -> str:
        """The types of an answer, as the Accept header has them."""
        return ", ".join(self._types)

    def failed(self, error: Exception) -> float:
        """Seconds to wait before the next try, after a failure before the first byte of a response.

        Raises:
            LollmsError: there is no next try.
        """
        if self._is_late():
            raise self._late() from error
        limits = self.limits
        meaning, again = before_answer(error, who=self.about, connect=limits.connect, idle=limits.idle)
        # What was sent may have been done all the same.
        self._lost = self._lost or type(error).__name__ not in ("ConnectError", "ConnectTimeout")
        wait = self._budget.after_failure(self.server.redaction.text(str(meaning))) if again else None
        if wait is None:
            raise meaning from error
        return wait

    def is_done(self, status: int) -> bool:
        """Whether a response of this status is the answer.

        Also that a model is not there, where an earlier try to delete it was not answered: it may have been that one.
        """
        return status < 300 or (status == 404 and self.call.method == "DELETE" and self._lost)

    def refused(self, status: int, headers: Mapping[str, str], body: bytes) -> float | LollmsError:
        """Seconds to wait before the next try, after a response that is none; the error, if there is no next try.

        The error is for the caller to raise: a server may repeat the key that it refuses, and `body` would then
        be found among the local variables of a traceback.
        """
        error = self._meaning(
            error_of_response(status, headers, body, who=self.who, model=self.call.model, secrets=self.server.redaction)
        )
        if isinstance(error, CapabilityNotSupported):
            return error  # some servers say that with a status of 500; it will not change
        wait = self._budget.after_status(status, headers)
        return error if wait is None else wait

    def accepted(self, headers: Mapping[str, str]) -> None:
        """A response has begun.

        Raises:
            ProtocolError: it is of another type than was asked for.
        """
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind not in KNOWN_TYPES:
            check_content_type(headers, self._types, who=self.who)

    def received(self, data: bytes) -> bytes:
        """A piece of the response.

        Raises:
            ProtocolError: that was too much.
            BackendTimeout: the deadline has passed.
        """
        self._received += len(data)
        if self._received > self.limits.size:
            raise ProtocolError(f"{self.who} sent more than {self.limits.size} bytes (max_response_bytes)")
        if self.limits.until is not None:
            self.check_deadline()
        return data

    def broken(self, error: Exception) -> LollmsError:
        """What a failure after the beginning of the response means."""
        return self._late() if self._is_late() else in_answer(error, who=self.about, idle=self.limits.idle)

    def check_deadline(self) -> None:
        """Whether there is time left.

        Raises:
            BackendTimeout: the deadline has passed.
        """
        left = self.limits.left()
        if left is not None and left <= 0:
            raise self._late()

    def _late(self) -> BackendTimeout:
        return BackendTimeout(f"{self.about} took longer than the deadline of {self.limits.total:g} s")

    def _is_late(self) -> bool:
        left = self.limits.left()
        # A wait that was cut to end with the deadline may end a moment before it.
        return left is not None and left <= 0.01
