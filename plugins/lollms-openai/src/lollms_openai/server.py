"""Which server, and how it is spoken to: address, key, headers, as the constructor's arguments say."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Final
from urllib.parse import SplitResult, urlsplit

from lollms_core.hosts import is_host
from lollms_core.redaction import Redaction, Secret, is_secret_name, secrets_of_url
from lollms_openai.preset import OPENAI, Preset

__all__ = ["Server", "server_of"]

_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_LOOPBACK: Final = re.compile(r"localhost|127\.[0-9.]+|::1|0\.0\.0\.0|[0-9.]+")


@dataclass(frozen=True)
class Server:
    """One server.

    Attributes:
        preset: what is particular to it.
        base: its base URL, without a slash at the end.
        who: binding and address, for messages.
        key: sent as a bearer token; None sends none.
        headers: further headers; values may be secret.
        organization, project: for OpenAI itself.
        verify: whether TLS certificates are checked.
    """

    preset: Preset
    base: str
    who: str
    key: Secret | None = None
    headers: Mapping[str, Secret] = field(default_factory=dict)
    organization: str | None = None
    project: str | None = None
    verify: bool = True

    @property
    def root(self) -> str:
        """Where the server's own, unversioned paths begin."""
        return self.base.removesuffix("/v1")

    @property
    def origin(self) -> str:
        """What tells this service's opaque data from any other's: its preset, or where it has none its address."""
        if self.preset.name == OPENAI.name and self.preset.key_variable is None:
            return f"{self.preset.name} at {urlsplit(self.base).netloc}"
        return self.preset.name

    @property
    def has_openais_headers(self) -> bool:
        """Whether the headers that OPENAI_CUSTOM_HEADERS names are sent, as they are meant for OpenAI."""
        return self.preset.name == OPENAI.name and self.preset.key_variable is not None

    @cached_property
    def proxy(self) -> Secret | None:
        """The URL of the proxy that the environment, or the system's settings, name for it; None if there is none."""
        from urllib.request import getproxies, proxy_bypass

        parts = urlsplit(self.base)
        if proxy_bypass(parts.hostname or ""):
            return None
        proxies = getproxies()
        found = proxies.get(parts.scheme) or proxies.get("all")
        return Secret(found if "://" in found else f"http://{found}") if found else None

    @cached_property
    def redaction(self) -> Redaction:
        """Takes the key, secret headers, and the proxy's password out of whatever may be shown."""
        found = {value.reveal() for name, value in self.headers.items() if is_secret_name(name)}
        if self.has_openais_headers:
            lines = os.environ.get("OPENAI_CUSTOM_HEADERS", "").split("\n")
            pairs = (line.partition(":") for line in lines)
            found |= {value.strip() for name, _, value in pairs if is_secret_name(name)}
        # The scheme before a token ("Bearer ...") is no secret, and servers repeat the token without it.
        found |= {value.rpartition(" ")[2] for value in found}
        if self.key is not None:
            found.add(self.key.reveal())
        if self.proxy is not None:
            found |= secrets_of_url(self.proxy.reveal())
        return Redaction(found)


def server_of(
    preset: Preset,
    binding_name: str,
    *,
    host_address: object,
    service_key: object,
    verify: object,
    organization: object,
    project: object,
    extra_headers: object,
) -> Server:
    """The server that a constructor's arguments mean.

    Raises:
        TypeError, ValueError: an argument is not what it should be; no message repeats a key.
    """
    for name, value in (("organization", organization), ("project", project)):
        if value is not None and not (isinstance(value, str) and _in_header(value)):
            raise TypeError(f"{name} must be a str of printable ASCII characters")
    if verify is not None and not isinstance(verify, bool):
        raise TypeError(f"verify_ssl_certificate must be True or False, not {verify!r}")
    url = _base_url(preset, host_address)
    its_own = urlsplit(url).hostname == urlsplit(preset.base_url).hostname and url.startswith("https:")
    if preset is OPENAI and not (its_own or _is_openais(url)):
        preset = _other(preset)
    key = _key(service_key)
    if key is None and preset.key_variable and (its_own or preset.local or _is_openais(url)):
        # A key taken from the environment goes only where the variable's name says that it belongs.
        key = _key(os.environ.get(preset.key_variable), preset.key_variable)
    return Server(
        preset,
        url,
        f"{binding_name} at {url}",
        key,
        _headers(extra_headers),
        organization if isinstance(organization, str) else None,
        project if isinstance(project, str) else None,
        verify is not False,
    )


def _other(preset: Preset) -> Preset:
    """A server of which nothing is known but that it speaks OpenAI's protocol."""
    return replace(
        preset,
        key_variable=None,
        max_tokens="max_tokens",
        tokens="probe",
        details="props",
        embed_encoding=None,
        thinking=(),
        strict=False,
    )


def _is_openais(url: str) -> bool:
    """Whether `url` is OpenAI's own, a regional address (eu.api.openai.com) included."""
    parts = urlsplit(url)
    return parts.scheme == "https" and f".{parts.hostname}".endswith(".api.openai.com")


def _base_url(preset: Preset, given: object) -> str:
    if given is not None and not isinstance(given, str):
        raise TypeError(f"host_address must be a str, not {type(given).__name__}")
    name = "host_address"
    if not given and preset.base_variable:
        given, name = os.environ.get(preset.base_variable), preset.base_variable
    text = (given or preset.base_url).strip()
    if "@" in text:
        raise ValueError(f"{name} must hold no user name or password: give the key as service_key")
    parts = _split(text, name)
    if parts.query or parts.fragment:
        raise ValueError(f"{name} must be a URL without '?' and '#'")
    if parts.scheme not in ("http", "https") or not parts.hostname or not is_host(parts.hostname):
        raise ValueError(f"{name} must be an http or https URL, not {text!r}")
    # By convention the API is below /v1; whoever names a server alone means that.
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/') or '/v1'}"


def _split(text: str, name: str) -> SplitResult:
    try:
        if "://" not in text:
            host = urlsplit(f"//{text}").hostname or ""
            text = f"{'http' if _LOOPBACK.fullmatch(host) else 'https'}://{text}"
        parts = urlsplit(text)
        _ = parts.port  # read to have it checked
    except ValueError:
        raise ValueError(f"{name} is not a URL") from None
    if any(character.isspace() or not character.isprintable() for character in text):
        raise ValueError(f"{name} must hold no spaces or control characters")
    return parts


def _key(given: object, name: str = "service_key") -> Secret | None:
    if given is None:
        return None
    if not isinstance(given, str):
        raise TypeError(f"{name} must be a str, not {type(given).__name__}")
    key = given.strip()  # a key that was read from a file has its line's end
    if not _in_header(key) or " " in key:
        raise ValueError(f"{name} holds characters that no key can have")
    return Secret(key) if key else None


def _in_header(value: str) -> bool:
    return value.isascii() and value.isprintable()


def _headers(given: object) -> Mapping[str, Secret]:
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise TypeError(f"extra_headers must be a dict, not {type(given).__name__}")
    headers: dict[str, Secret] = {}
    for name, value in given.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise TypeError("extra_headers must have str names and str values")
        if not _HEADER_NAME.fullmatch(name) or not _in_header(value):
            raise ValueError(f"the extra header {name!r} is not one that HTTP can carry")
        headers[name] = Secret(value)
    return headers
