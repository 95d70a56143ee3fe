"""What it means that an exchange over HTTP broke, without I/O: the same for every binding.

httpx, httpx2 and httpcore call their exceptions alike (https://www.python-httpx.org/exceptions/), so they are told
by name, and none of them is imported. What is behind them (an ``ssl.SSLError``, an ``OSError``) says the reason.
"""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Iterator
from typing import Final

from lollms_core.errors import (
    BackendTimeout,
    BackendUnavailable,
    BadRequest,
    LollmsError,
    ProtocolError,
    StreamInterrupted,
)

__all__ = ["before_answer", "in_answer", "no_certificates"]

_SILENT: Final = frozenset({"ReadTimeout", "WriteTimeout", "TimeoutException", "TimeoutError"})
_UNSENDABLE: Final = frozenset({"LocalProtocolError", "UnsupportedProtocol", "InvalidURL"})
# X509_V_ERR_*: no authority that is known here has signed it.
# https://docs.openssl.org/master/man3/X509_STORE_CTX_get_error/
_UNKNOWN_AUTHORITY: Final = frozenset({2, 18, 19, 20, 21, 27})


def before_answer(  # noqa: PLR0911 - a table
    error: BaseException, *, who: str, connect: float, idle: float
) -> tuple[LollmsError, bool]:
    """What a failure before the first byte of an answer means, and whether it is worth another try.

    Args:
        error: what was raised.
        who: binding, host and model; begins the message.
        connect: seconds that a connection might take to be made.
        idle: seconds that the server might be silent.
    """
    name, reason = type(error).__name__, _reason(error)
    if isinstance(error, LollmsError):
        return error, False
    if name in ("ConnectTimeout", "PoolTimeout"):
        return BackendUnavailable(f"{who} cannot be reached: no connection within {connect:g} s"), True
    if name in _SILENT:
        # The server may be at work on it, so it is not asked to do it twice.
        return BackendTimeout(f"{who} gave no sign of life for {idle:g} s"), False
    for link in _chain(error):
        if isinstance(link, ssl.SSLCertVerificationError):
            # It will not be trusted a moment later.
            return _not_trusted(link, who), False
    if any(isinstance(link, ssl.SSLError) for link in _chain(error)):
        return ProtocolError(f"{who} does not speak TLS there ({reason}): is it http, or another port?"), False
    if name == "ProxyError":
        return BackendUnavailable(f"{who}: the proxy before it refuses: {reason}"), False
    if name in ("ConnectError", "gaierror") or isinstance(error, ConnectionRefusedError):
        return BackendUnavailable(f"{who} cannot be reached: {reason}"), True
    if name == "RemoteProtocolError" and "disconnected" not in str(error):
        return ProtocolError(f"{who} does not answer in HTTP: is it the right port?"), False
    if name in _UNSENDABLE:
        return BadRequest(f"{who}: the request cannot be sent ({name})"), False
    return BackendUnavailable(f"{who} closed the connection without an answer: is it the right port?"), True


def in_answer(error: BaseException, *, who: str, idle: float) -> LollmsError:
    """What a failure after the beginning of an answer means; arguments as for :func:`before_answer`."""
    name = type(error).__name__
    if isinstance(error, LollmsError):
        return error
    if name in _SILENT:
        return BackendTimeout(f"{who} gave no sign of life for {idle:g} s in the middle of the answer")
    if name == "DecodingError":
        return ProtocolError(f"{who} sent an answer that cannot be decompressed")
    return StreamInterrupted(f"{who} broke the connection in the middle of the answer")


def no_certificates(error: OSError, *, who: str) -> BackendUnavailable:
    """What it means that the certificates of the known authorities could not be read, before anything was sent.

    Args:
        error: what was raised, by ``ssl.create_default_context`` for example.
        who: binding and host; begins the message.
    """
    names = [f"{name}={os.environ[name]}" for name in ("SSL_CERT_FILE", "SSL_CERT_DIR") if os.environ.get(name)]
    where = f" ({', '.join(names)})" if names else ""
    return BackendUnavailable(f"{who}: the certificates to check it by cannot be read{where}: {_reason(error)}")


def _not_trusted(error: ssl.SSLCertVerificationError, who: str) -> BackendUnavailable:
    told = f"{who}: its TLS certificate is not trusted ({_reason(error).rstrip('.')})"
    if getattr(error, "verify_code", None) in _UNKNOWN_AUTHORITY:
        remedy = "let SSL_CERT_FILE name a PEM file with the certificate of the authority that signed it"
    else:
        remedy = "the server needs another one"
    return BackendUnavailable(f"{told}: {remedy}, or switch the check off with verify_ssl_certificate=False")


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _reason(error: BaseException) -> str:
    for link in _chain(error):
        if isinstance(link, ssl.SSLCertVerificationError):
            return str(getattr(link, "verify_message", "")) or str(link)
        if isinstance(link, socket.gaierror):
            return "its name cannot be resolved"
        if isinstance(link, OSError) and link.strerror:
            return link.strerror
    return str(error) or type(error).__name__
