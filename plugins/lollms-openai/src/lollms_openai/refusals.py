"""Answers that report an error, and exchanges that failed, as the exchange's own terms.

Imported with the openai package, by the first request.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import suppress

import httpx2
import openai

from lollms_core import (
    BackendTimeout,
    BackendUnavailable,
    BadRequest,
    LollmsError,
    ProtocolError,
    StreamInterrupted,
)
from lollms_openai.exchange import MAX_ERROR_BYTES, Answer, Ask, NoAnswer
from lollms_openai.server import Server

__all__ = ["RefusedError", "arefused", "no_answer", "refused", "while_reading"]


class RefusedError(openai.OpenAIError):
    """An answer with a status of 300 or more. The package lets its own errors through as they are."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(f"status {answer.status}")
        self.answer = answer


def refused(response: httpx2.Response) -> None:
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
        raise RefusedError(Answer(response.status_code, response.headers, bytes(body[:MAX_ERROR_BYTES])))


async def arefused(response: httpx2.Response) -> None:
    """The async client's hook; see :func:`refused`."""
    if response.status_code >= 300:
        body = bytearray()
        with suppress(httpx2.TransportError, httpx2.DecodingError):
            async for part in response.aiter_bytes():
                body += part
                if len(body) > MAX_ERROR_BYTES:
                    break
        raise RefusedError(Answer(response.status_code, response.headers, bytes(body[:MAX_ERROR_BYTES])))


def no_answer(exc: Exception, ask: Ask, server: Server) -> NoAnswer:
    """What it means that the openai package raised `exc` in place of an answer."""
    cause = exc.__cause__ if isinstance(exc, openai.APIConnectionError) and exc.__cause__ is not None else exc
    error, words, again = _judged(cause, ask, server)
    failure = NoAnswer(error, words, again=again)
    # Not the package's exception: its request has the key in its headers.
    failure.__cause__ = cause if isinstance(cause, httpx2.TransportError) else None
    return failure


def _judged(cause: BaseException, ask: Ask, server: Server) -> tuple[LollmsError, str, bool]:
    who = ask.who(server)
    reason = _reason(cause)
    if isinstance(cause, httpx2.ConnectTimeout):
        return BackendTimeout(f"{who}: no connection within {ask.connect:g} s"), "no connection in time", True
    if isinstance(cause, httpx2.TimeoutException):
        # The server may be at work on it, so it is not asked to do it twice.
        return BackendTimeout(f"{who} gave no sign of life for {ask.idle:g} s"), "no sign of life", False
    if any(isinstance(link, ssl.SSLCertVerificationError) for link in _chain(cause)):
        return BackendUnavailable(f"{who}: its TLS certificate is not valid: {reason}"), "bad certificate", False
    if any(isinstance(link, ssl.SSLError) for link in _chain(cause)):
        return (
            ProtocolError(f"{who} does not speak TLS there ({reason}): is it http, or another port?"),
            "no TLS",
            False,
        )
    if isinstance(cause, (httpx2.ConnectError, httpx2.ProxyError)):
        return BackendUnavailable(f"{who} cannot be reached: {reason}"), f"cannot be reached ({reason})", True
    if isinstance(cause, httpx2.RemoteProtocolError) and "disconnected" not in str(cause):
        return ProtocolError(f"{who} does not answer in HTTP: is it the right port?"), "not HTTP", False
    if isinstance(cause, httpx2.TransportError) and not isinstance(
        cause, (httpx2.LocalProtocolError, httpx2.UnsupportedProtocol)
    ):
        return (
            BackendUnavailable(f"{who} closed the connection without an answer: is it the right port?"),
            "connection closed",
            True,
        )
    return BadRequest(f"{who}: the request cannot be sent ({type(cause).__name__})"), "cannot be sent", False


def while_reading(exc: Exception, ask: Ask, who: str) -> LollmsError:
    """What it means that reading an answer's body raised `exc`."""
    if isinstance(exc, httpx2.TimeoutException):
        return BackendTimeout(f"{who} gave no sign of life for {ask.idle:g} s in the middle of the answer")
    if isinstance(exc, httpx2.DecodingError):
        return ProtocolError(f"{who} sent an answer that cannot be decompressed")
    return StreamInterrupted(f"{who} broke the connection in the middle of the answer")


def _chain(exc: BaseException | None) -> Iterator[BaseException]:
    while exc is not None:
        yield exc
        exc = exc.__cause__ or exc.__context__


def _reason(cause: BaseException) -> str:
    for link in _chain(cause):
        if isinstance(link, ssl.SSLCertVerificationError):
            return link.verify_message
        if isinstance(link, socket.gaierror):
            return "its name cannot be resolved"
        if isinstance(link, OSError) and link.strerror:
            return link.strerror
    return str(cause) or type(cause).__name__
