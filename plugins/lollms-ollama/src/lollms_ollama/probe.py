"""Whether an Ollama answers: asked where a user has named no binding, so nothing heavy is imported."""

from __future__ import annotations

import http.client
import json
from typing import Final
from urllib.parse import urlsplit

from lollms_http.address import Server

__all__ = ["has_models"]

_SECONDS: Final = 0.5
_MAX_BYTES: Final = 4_000_000


def has_models(server: Server) -> bool:
    """Whether `server` lists at least one model within half a second; without one it could answer nothing."""
    try:
        address = urlsplit(server.url)
    except ValueError:
        return False
    if address.hostname is None:
        return False
    kind = http.client.HTTPSConnection if address.scheme == "https" else http.client.HTTPConnection
    connection = kind(address.hostname, address.port, timeout=_SECONDS)
    try:
        connection.request("GET", f"{address.path}/api/tags")
        response = connection.getresponse()
        found = json.loads(response.read(_MAX_BYTES)) if response.status == http.HTTPStatus.OK else None
    except (OSError, http.client.HTTPException, ValueError):
        return False
    finally:
        connection.close()
    return isinstance(found, dict) and isinstance(found.get("models"), list) and bool(found["models"])
