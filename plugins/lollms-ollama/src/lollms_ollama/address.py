"""Where the server is: OLLAMA_HOST and host_address in all the forms that Ollama itself accepts.

Source of the forms: the function Host in envconfig/config.go of https://github.com/ollama/ollama. A client
adds that 0.0.0.0 and ::, on which a server listens, mean the loopback address.
"""

from __future__ import annotations

import ipaddress
import logging
import os
from dataclasses import dataclass
from functools import cached_property
from typing import Final
from urllib.parse import urlsplit

from lollms_core.hosts import is_host
from lollms_core.redaction import Redaction, Secret, secrets_of_url

__all__ = ["Server", "base_url", "server"]

_log = logging.getLogger(__name__)

_DEFAULT_PORT: Final = 11434
_SCHEME_PORTS: Final = {"http": 80, "https": 443}
_UNSPECIFIED: Final = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - what is replaced


@dataclass(frozen=True)
class Server:
    """One server and how to speak to it.

    Attributes:
        url: scheme, host, port and path before ``/api``, without a slash at the end.
        key: sent as a bearer token.
        verify: whether its certificate is checked.
    """

    url: str
    key: Secret | None = None
    verify: bool = True

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


def server(host_address: str | None, service_key: str | None, verify_ssl_certificate: bool | None) -> Server:
    """The server of a binding's constructor; without `host_address` that of OLLAMA_HOST.

    Raises:
        TypeError, ValueError: an argument is of the wrong type or no address.
    """
    if host_address is not None and not isinstance(host_address, str):
        raise TypeError(f"host_address must be a str, not {type(host_address).__name__}")
    if service_key is not None:
        _check_key(service_key)
    if verify_ssl_certificate is not None and not isinstance(verify_ssl_certificate, bool):
        raise TypeError(f"verify_ssl_certificate must be True or False, not {verify_ssl_certificate!r}")
    if host_address is None:
        # Quotes are what is left of a badly written service file; Ollama takes them off too.
        text = os.environ.get("OLLAMA_HOST", "").strip().strip("\"'").strip()
        url = base_url(text, "OLLAMA_HOST", lenient=True)
    else:
        url = base_url(host_address.strip(), "host_address")
    return Server(url, Secret(service_key) if service_key else None, verify_ssl_certificate is not False)


def base_url(text: str, what: str, *, lenient: bool = False) -> str:
    """The URL that `text` stands for: a host, host:port, or a URL; "" is the local server.

    Args:
        text: the address.
        what: where it comes from, for messages.
        lenient: whether a senseless port is replaced by the default one, as Ollama does.

    Raises:
        ValueError: it is no address, or has a scheme other than http and https, or a password in it.
    """
    if "@" in text:
        raise ValueError(f"{what} has a user or password in it; give a key as service_key")
    scheme, separator, rest = text.partition("://")
    if not separator:
        scheme, rest = "http", text
    scheme = scheme.lower()
    if scheme not in _SCHEME_PORTS:
        raise ValueError(f"{what} has the scheme {scheme!r}; an Ollama server is reached by http or https")
    place, slash, path = rest.partition("/")
    if "?" in text or "#" in text:
        raise ValueError(f"{what} must be an address without '?' and '#'; give a key as service_key")
    if any(character in text for character in " \t\r\n\\") or not text.isprintable():
        raise ValueError(f"{what} is not an address: {text!r}")
    default = _SCHEME_PORTS[scheme] if separator else _DEFAULT_PORT
    host, port = _host_and_port(place, default, what, lenient=lenient)
    if "[" in host or "]" in host or (":" in host and not _is_ip(host)):
        raise ValueError(f"{what} is not an address: {text!r}")
    host = _UNSPECIFIED.get(host, host)
    if not is_host(host):
        raise ValueError(f"{what} is not an address: {text!r}")
    shown = f"[{host}]" if ":" in host else host
    return f"{scheme}://{shown}:{port}{(slash + path).rstrip('/')}"


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


def _check_key(key: object) -> None:
    if not isinstance(key, str):
        raise TypeError(f"service_key must be a str, not {type(key).__name__}")
    # A key stands in a header line: anything else would break the request or smuggle in another line.
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise ValueError("service_key has characters that no key has (only printable ASCII without spaces)")
