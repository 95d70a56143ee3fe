"""Whether a server of this protocol answers: asked where a user has named no binding, so nothing heavy is imported."""

from __future__ import annotations

import http.client
import json
from typing import Final
from urllib.parse import urlsplit

from lollms_openai.server import Server

__all__ = ["answers"]

_SECONDS: Final = 0.5
_MAX_BYTES: Final = 1_000_000


def answers(server: Server) -> bool:
    """Whether `server` lists models within half a second; other programs like its port too."""
    address = urlsplit(server.base)
    if address.hostname is None:
        return False
    secure = address.scheme == "https"
    kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
    connection = kind(address.hostname, address.port, timeout=_SECONDS)
    try:
        headers = {"Authorization": f"Bearer {server.key.reveal()}"} if server.key is not None else {}
        connection.request("GET", f"{address.path}/models", headers=headers)
        response = connection.getresponse()
        found = json.loads(response.read(_MAX_BYTES)) if response.status == http.HTTPStatus.OK else None
    except (OSError, http.client.HTTPException, ValueError):
        return False
    finally:
        connection.close()
    return isinstance(found, dict) and isinstance(found.get("data"), list)
