"""Answers that report an error, and exchanges that failed, as the exchange's own terms.

Imported with the openai package, by the first request.
"""

from __future__ import annotations

from contextlib import suppress

import httpx2
import openai

from lollms_core.failures import before_answer
from lollms_core.redaction import Redaction
from lollms_openai.exchange import MAX_ERROR_BYTES, Answer, NoAnswer

__all__ = ["RefusedError", "arefused", "no_answer", "refused"]


class RefusedError(openai.OpenAIError):
    """An answer with a status of 300 or more. The package lets its own errors through as they are."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(f"status {answer.status}")
        self.answer = answer


def refused(redaction: Redaction, response: httpx2.Response) -> None:
    """The sync client's hook: reads no more of an error than is worth reading.

    Raises:
        RefusedError: the answer reports an error.
    """
    if response.status_code >= 300:
        body = bytearray()
        # What has come says enough, also if the connection then breaks.
        with suppress(httpx2.TransportError, httpx2.DecodingError):
            for part in response.iter_bytes():
                body += part
                if len(body) > MAX_ERROR_BYTES:
                    break
        raise RefusedError(_answer(redaction, response, body))


async def arefused(redaction: Redaction, response: httpx2.Response) -> None:
    """The async client's hook; see :func:`refused`."""
    if response.status_code >= 300:
        body = bytearray()
        with suppress(httpx2.TransportError, httpx2.DecodingError):
            async for part in response.aiter_bytes():
                body += part
                if len(body) > MAX_ERROR_BYTES:
                    break
        raise RefusedError(_answer(redaction, response, body))


def _answer(redaction: Redaction, response: httpx2.Response, body: bytearray) -> Answer:
    # A server may repeat the key that it refuses.
    shown = redaction.data(bytes(body[:MAX_ERROR_BYTES]))
    return Answer(response.status_code, redaction.headers(response.headers), shown)


def no_answer(exc: Exception, redaction: Redaction, *, who: str, connect: float, idle: float) -> NoAnswer:
    """What it means that the openai package raised `exc` in place of an answer."""
    cause = exc.__cause__ if isinstance(exc, openai.APIConnectionError) and exc.__cause__ is not None else exc
    error, again = before_answer(cause, who=who, connect=connect, idle=idle)
    failure = NoAnswer(error, redaction.text(str(error)), again=again)
    failure.__cause__ = cause if isinstance(cause, httpx2.TransportError) else None
    return failure
