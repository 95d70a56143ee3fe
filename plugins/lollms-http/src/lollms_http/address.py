"""Where a server is, in all the forms in which people write that: a host, host:port, or a URL.

0.0.0.0 and ::, on which a server listens, mean the loopback address.
"""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Final
from urllib.parse import urlsplit

from lollms_core.hosts import is_host
from lollms_core.redaction import Redaction, Secret, secrets_of_url

__all__ = ["KEY_HEADER", "Server", "base_url", "key_of"]

_log = logging.getLogger(__name__)

KEY_HEADER: Final = "Authorization: Bearer {key}"
"""How most servers want their key."""

_SCHEME_PORTS: Final = {"http": 80, "https": 443}
_UNSPECIFIED: Final = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - what is replaced


@dataclass(frozen=True)
class Server:
    """One server and how to speak to it.

    Attributes:
        url: scheme, host, port and path that all its paths begin with, without a slash at the end.
        key: sent with each request.
        verify: whether its certificate is checked.
        key_header: the header's line that the key is sent in.
        headers: what else is sent with each request; none of them is secret.
    """

    url: str
    key: Secret | None = None
    verify: bool = True
    key_header: str = KEY_HEADER
    headers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    @cached_property
    def redaction(self) -> Redaction:
        """Takes the key, and that of the proxy, out of whatever may be shown."""
        proxy = secrets_of_url(self.proxy.reveal()) if self.proxy is not None else ()
        return Redaction([*([self.key.reveal()] if self.key is not None else ()), *proxy])

    @property
    def is_local(self) -> bool:
        """Whether it runs on this machine, so that no proxy stands between."""
        host = urlsplit(self.url).hostname or ""
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return host == "localhost" or host.endswith(".localhost")

    @cached_property
    def proxy(self) -> Secret | None:
        """The URL of the proxy that the environment names for this server, None if there is none."""
        if self.is_local:
            return None
        from urllib.request import getproxies, proxy_bypass

        parts = urlsplit(self.url)
        if proxy_bypass(parts.hostname or ""):
            return None
        proxies = getproxies()
        found = proxies.get(parts.scheme) or proxies.get("all")
        return Secret(found if "://" in found else f"http://{found}") if found else None


def base_url(text: str, what: str, *, default: str = "http://127.0.0.1", lenient: bool = False) -> str:
    """The URL that `text` stands for: a host, host:port, or a URL; a port that its scheme implies is left out.

    Args:
        text: the address; no host at all is this machine.
        what: where it comes from, for messages.
        default: the URL whose scheme, and with it the port, a host has that is given without.
        lenient: whether a senseless port is replaced by the default one.

    Raises:
        ValueError: it is no address, or has a scheme other than http and https, or a password in it.
    """
    if "@" in text:
        raise ValueError(f"{what} has a user or password in it; give a key as service_key")
    usual = urlsplit(default)
    scheme, separator, rest = text.partition("://")
    if not separator:
        scheme, rest = usual.scheme, text
    scheme = scheme.lower()
    if scheme not in _SCHEME_PORTS:
        raise ValueError(f"{what} has the scheme {scheme!r}; it must be http or https")
    place, slash, path = rest.partition("/")
    if "?" in text or "#" in text:
        raise ValueError(f"{what} must be an address without '?' and '#'; give a key as service_key")
    if any(character in text for character in " \t\r\n\\") or not text.isprintable():
        raise ValueError(f"{what} is not an address: {text!r}")
    usual_port = _SCHEME_PORTS[scheme] if separator or usual.port is None else usual.port
    host, port = _host_and_port(place, usual_port, what, lenient=lenient)
    if "[" in host or "]" in host or (":" in host and not _is_ip(host)):
        raise ValueError(f"{what} is not an address: {text!r}")
    host = _UNSPECIFIED.get(host, host)
    if not is_host(host):
        raise ValueError(f"{what} is not an address: {text!r}")
    shown = f"[{host}]" if ":" in host else host
    if port != _SCHEME_PORTS[scheme]:
        shown = f"{shown}:{port}"
    return f"{scheme}://{shown}{(slash + path).rstrip('/')}"


def _host_and_port(place: str, default: int, what: str, *, lenient: bool) -> tuple[str, int]:
    bare = place.removeprefix("[").removesuffix("]")
    if ":" in bare and _is_ip(bare):
        return bare, default  # an IPv6 address without a port
    host, colon, port = place.rpartition(":")
    if not colon:
        return place, default
    host = host.removeprefix("[").removesuffix("]")
    if port.isascii() and port.isdecimal() and int(port) <= 65535:
        return host, int(port)
    if not lenient:
        raise ValueError(f"{what} has the port {port!r}, which is none")
    _log.warning("%s has the port %r, which is none; using %d", what, port, default)
    return host, default


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return True


def key_of(given: object, what: str) -> Secret | None:
    """The key `given`; None if it is None or empty.

    Args:
        given: what a caller or the environment gave.
        what: where it comes from, for messages.

    Raises:
        TypeError, ValueError: it is no key.
    """
    if given is None or given == "":
        return None
    if not isinstance(given, str):
        raise TypeError(f"{what} must be a str, not {type(given).__name__}")
    # A key stands in a header line: anything else would break the request or smuggle in another line.
    if not (given.isascii() and given.isprintable()) or " " in given:
        raise ValueError(f"{what} has characters that no key has (only printable ASCII without spaces)")
    return Secret(given)
