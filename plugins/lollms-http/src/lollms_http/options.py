"""The options that every binding over HTTP has: those of the connection and of embeddings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypedDict

from lollms_http.checks import Check, number, whole

__all__ = [
    "DEFAULT_CONNECT_TIMEOUT",
    "DEFAULT_EMBED_BATCH_SIZE",
    "DEFAULT_EMBED_CONCURRENCY",
    "DEFAULT_IDLE_TIMEOUT",
    "DEFAULT_MAX_RESPONSE_BYTES",
    "HTTP_CHECKS",
    "HttpOptions",
]

DEFAULT_CONNECT_TIMEOUT: Final = 10.0
"""Seconds for one try to connect."""

DEFAULT_EMBED_BATCH_SIZE: Final = 64
"""Texts that are sent for their vectors in one request."""

DEFAULT_EMBED_CONCURRENCY: Final = 4
"""Requests for vectors that are under way at once."""

DEFAULT_IDLE_TIMEOUT: Final = 600.0
"""Seconds of silence where ``timeout`` is not given: a large model takes minutes to be read from a slow disk."""

DEFAULT_MAX_RESPONSE_BYTES: Final = 512 * 1024 * 1024
"""Largest response that is read (512 MiB)."""


class HttpOptions(TypedDict, total=False):
    """Options for the constructor and for a single request.

    Attributes:
        connect_timeout: seconds for one try to connect. Default 10.
        retries: how often a request that failed before its first byte is sent again. Default 2.
        retry_budget: seconds from the first try to the start of the last. Default 60.
        max_response_bytes: largest response that is read. Default 512 MiB.
        embed_batch_size: texts in one request for embeddings. Default 64.
        embed_concurrency: requests that are under way at once where ``embed`` gets more texts than go into one.
            Default 4; 1 sends one after the other.
        timeout, deadline: for ``embed``, which they also are options of: as in a request.
    """

    connect_timeout: float
    retries: int
    retry_budget: float
    max_response_bytes: int
    embed_batch_size: int
    embed_concurrency: int
    timeout: float
    deadline: float


HTTP_CHECKS: Final[Mapping[str, Check]] = {
    "connect_timeout": number(0, above=True),
    "retries": whole(0, 100),
    "retry_budget": number(0),
    "max_response_bytes": whole(1, 2**63 - 1),
    "embed_batch_size": whole(1),
    "embed_concurrency": whole(1, 64),
    "timeout": number(0, above=True),
    "deadline": number(0, above=True),
}
"""What they may be."""
