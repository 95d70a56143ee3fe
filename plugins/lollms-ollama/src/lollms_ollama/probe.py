"""Whether an Ollama answers: asked where a user has named no binding, so nothing heavy is imported."""

from __future__ import annotations

import http.client
import json
from typing import Any, Final
from urllib.parse import urlsplit

from lollms_core import Finding
from lollms_http.address import Server

__all__ = ["found_of", "has_models"]

_SECONDS: Final = 0.5
_MAX_BYTES: Final = 4_000_000


def has_models(server: Server) -> bool:
    """Whether `server` lists at least one model within half a second; without one it could answer nothing."""
    try:
        found = _asked(server, "/api/tags", _SECONDS)
    except (OSError, http.client.HTTPException, ValueError):
        return False
    return isinstance(found, dict) and isinstance(found.get("models"), list) and bool(found["models"])


def found_of(server: Server, seconds: float, variable: str) -> Finding:
    """Whether `server` answers, and its version.

    Args:
        server: the one to ask.
        seconds: how long it may be silent.
        variable: the environment variable that names another.
    """
    facts: dict[str, Any] = {"address": server.url}
    try:
        found = _asked(server, "/api/version", seconds)
    except OSError as error:
        remedy = f"start it with: ollama serve; or name another one in {variable}"
        return Finding(
            "warning", f"no Ollama answers at {server.url}: {error.strerror or error}", remedy, "server", facts
        )
    except (http.client.HTTPException, ValueError):
        found = None
    if not isinstance(found, dict) or not isinstance(found.get("version"), str):
        remedy = f"name an Ollama in {variable}, or give that port back to Ollama"
        return Finding("problem", f"what answers at {server.url} is no Ollama", remedy, "server", facts)
    facts["version"] = found["version"]
    return Finding("ok", f"Ollama {found['version']} answers at {server.url}", None, "server", facts)


def _asked(server: Server, path: str, seconds: float) -> Any:
    """The JSON at `path`, None for any status but 200.

    Raises:
        OSError: the server cannot be reached.
        http.client.HTTPException, ValueError: it answers in another language, or its address is none.
    """
    address = urlsplit(server.url)
    if address.hostname is None:
        raise ValueError(f"{server.url} names no host")
    kind = http.client.HTTPSConnection if address.scheme == "https" else http.client.HTTPConnection
    connection = kind(address.hostname, address.port, timeout=seconds)
    try:
        connection.request("GET", f"{address.path}{path}")
        response = connection.getresponse()
        return json.loads(response.read(_MAX_BYTES)) if response.status == http.HTTPStatus.OK else None
    finally:
        connection.close()
