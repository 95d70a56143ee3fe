"""The connections of a transport: TLS, proxies, and how many are kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from lollms_core import BackendUnavailable
from lollms_core.failures import no_certificates
from lollms_http.address import Server

if TYPE_CHECKING:
    import ssl

__all__ = ["pool_to", "ssl_context_for"]

_MAX_IDLE: Final = 32
"""Connections that are kept open for the next requests."""

_IDLE_SECONDS: Final = 30.0
"""How long they are."""


def ssl_context_for(server: Server) -> ssl.SSLContext | None:
    """The TLS settings for `server`, None if it has no TLS; SSL_CERT_FILE and SSL_CERT_DIR count.

    Raises:
        BackendUnavailable: the certificates that they name cannot be read.
    """
    if not server.url.startswith("https:"):
        return None
    import httpx

    try:
        return httpx.create_ssl_context(verify=server.verify)
    except OSError as error:
        raise no_certificates(error, who=server.url) from error


def pool_to(server: Server, kinds: tuple[Any, Any, Any], ssl_context: ssl.SSLContext | None, backend: Any) -> Any:
    """The connections of one transport.

    Args:
        server: where they go, and by which proxy.
        kinds: httpcore's classes for no proxy, for an HTTP and for a SOCKS proxy.
        ssl_context: for https, None where the address has none.
        backend: makes the connections.

    Raises:
        BackendUnavailable: the proxy's URL is none, or of a kind that takes a package which is not there (SOCKS).
    """
    settings: dict[str, Any] = {
        "ssl_context": ssl_context,
        "max_connections": None,
        "max_keepalive_connections": _MAX_IDLE,
        "keepalive_expiry": _IDLE_SECONDS,
        "network_backend": backend,
    }
    plain, http, socks = kinds
    if server.proxy is None:
        return plain(**settings)
    import httpx

    try:
        # httpx.Proxy knows how user and password are written in a proxy's URL.
        through = httpx.Proxy(server.proxy.reveal())
        kind = socks if through.url.scheme.startswith("socks") else http
        return kind(str(through.url), proxy_auth=through.raw_auth, **settings)
    except (ImportError, RuntimeError, ValueError, httpx.InvalidURL) as error:
        why = server.redaction.text(str(error))
        raise BackendUnavailable(f"{server.url}: the proxy that is set for it cannot be used: {why}") from None
