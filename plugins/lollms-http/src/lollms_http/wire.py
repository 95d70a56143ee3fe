"""Between exchanges and httpcore, for both transports: requests as it takes them, responses as exchanges read them.

httpx, which stands on httpcore, does more with a request than a model's server needs (redirects, credentials, URLs to
be joined), and that takes as long as httpcore's own work. It is here for what is rare, and imported for it: answers
that are compressed all the same, addresses that are not plain ASCII, certificates, and proxies.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Final, TypeAlias

import httpcore

from lollms_http.address import Server
from lollms_http.cookies import Cookies
from lollms_http.exchange import Exchange

__all__ = ["ERRORS", "DecodingError", "Headers", "adecoded", "decoded", "headers_of", "headers_to", "request_of"]


class DecodingError(Exception):
    """An answer cannot be decompressed."""


ERRORS: Final = (
    DecodingError,
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.ProxyError,
    httpcore.TimeoutException,
    httpcore.UnsupportedProtocol,
)
"""What goes wrong with a connection; httpcore has no class for all of it."""

Headers: TypeAlias = list[tuple[bytes, bytes]]

_WITH_BODY: Final = frozenset({"POST", "PUT", "PATCH"})
"""Methods whose requests say so if they have no body (RFC 9110, section 8.6)."""

# Scheme, host, port and the rest of an address that can be sent as it stands.
_PLAIN: Final = re.compile(
    r"(https?)://([A-Za-z0-9][A-Za-z0-9._-]*)(?::([0-9]{1,5}))?((?:/[A-Za-z0-9._~!$&'()*+,;=:@?/-]*)?)"
)


def headers_to(server: Server) -> Headers:
    """The headers of every request to `server`, but for its key, which nothing holds that a repr could show."""
    headers = {
        b"host": (b"Host", _address(server.url)[1]),
        b"accept-encoding": (b"Accept-Encoding", b"identity"),  # compression would only hold pieces back
        b"connection": (b"Connection", b"keep-alive"),
        b"user-agent": (b"User-Agent", b"lollms-http"),
    }
    for name, value in server.headers.items():
        headers[name.lower().encode("ascii")] = (name.encode("ascii"), value.encode("ascii"))
    said_by_each = {b"accept", b"content-type", b"content-length"}
    if server.key is not None:
        said_by_each.add(server.key_header.partition(":")[0].lower().encode("ascii"))
    return [header for name, header in headers.items() if name not in said_by_each]


def request_of(exchange: Exchange, headers: Headers, cookies: Cookies) -> httpcore.Request:
    """The request for a try of `exchange`.

    Args:
        exchange: what is asked.
        headers: those of every request to its server.
        cookies: what the server has set; a Cookie header among `headers` is sent instead.

    Raises:
        BadRequest: its body cannot be written as JSON.
    """
    limits, server, body = exchange.limits, exchange.server, exchange.call.content()
    headers = [*headers, (b"Accept", exchange.accepts.encode("ascii"))]
    if exchange.call.body is not None:
        headers.append((b"Content-Type", b"application/json"))
    if body or exchange.call.method in _WITH_BODY:
        headers.append((b"Content-Length", b"%d" % len(body)))
    if server.key is not None:
        name, _, value = server.key_header.partition(":")
        headers.append((name.encode("ascii"), value.strip().replace("{key}", server.key.reveal()).encode("ascii")))
    cookie = cookies.header(exchange.url)
    if cookie is not None and not any(name.lower() == b"cookie" for name, _ in headers):
        headers.append((b"Cookie", cookie))
    seconds = {"connect": limits.connect, "read": limits.idle, "write": limits.idle, "pool": None}
    return httpcore.Request(
        exchange.call.method,
        _address(exchange.url)[0],
        headers=headers,
        content=body,
        extensions={"timeout": seconds},
    )


@lru_cache(maxsize=256)
def _address(url: str) -> tuple[httpcore.URL, bytes]:
    """`url` for httpcore, and the Host header."""
    found = _PLAIN.fullmatch(url)
    if found is None or "/." in found[4]:
        import httpx

        parsed = httpx.URL(url)  # knows IDNA, and what must be escaped
        parts = httpcore.URL(scheme=parsed.raw_scheme, host=parsed.raw_host, port=parsed.port, target=parsed.raw_path)
        return parts, parsed.netloc
    scheme, host, port, target = found.groups()
    host = host.lower()
    parts = httpcore.URL(scheme=scheme, host=host, port=int(port) if port else None, target=target or "/")
    return parts, f"{host}:{port}".encode("ascii") if port else host.encode("ascii")


def headers_of(response: httpcore.Response) -> dict[str, str]:
    """The headers of a response by their names in lower case."""
    found: dict[str, str] = {}
    for raw, value in response.headers:
        name, text = raw.decode("latin-1").lower(), value.decode("latin-1")
        found[name] = f"{found[name]}, {text}" if name in found else text
    return found


def decoded(body: Iterable[bytes], headers: Mapping[str, str]) -> Iterator[bytes]:
    """`body` as it was before the server compressed it, which it does not if it does as it is told.

    Raises:
        DecodingError: it cannot be decompressed.
    """
    return iter(body) if headers.get("content-encoding", "identity") == "identity" else _decompressed(body, headers)


def adecoded(body: AsyncIterable[bytes], headers: Mapping[str, str]) -> AsyncIterator[bytes]:
    """:func:`decoded` for asyncio."""
    return aiter(body) if headers.get("content-encoding", "identity") == "identity" else _adecompressed(body, headers)


def _decompressed(body: Iterable[bytes], headers: Mapping[str, str]) -> Iterator[bytes]:
    import httpx

    class Stream(httpx.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            yield from body

    try:
        yield from httpx.Response(200, headers=_encoding(headers), stream=Stream()).iter_bytes()
    except httpx.DecodingError as error:
        raise DecodingError(str(error)) from error


async def _adecompressed(body: AsyncIterable[bytes], headers: Mapping[str, str]) -> AsyncGenerator[bytes]:
    import httpx

    class Stream(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            async for data in body:
                yield data

    try:
        async for data in httpx.Response(200, headers=_encoding(headers), stream=Stream()).aiter_bytes():
            yield data
    except httpx.DecodingError as error:
        raise DecodingError(str(error)) from error


def _encoding(headers: Mapping[str, str]) -> dict[str, str]:
    return {"content-encoding": headers["content-encoding"]}
