"""Whether a server of this protocol answers: asked where a user has named no binding, so nothing heavy is imported."""

from __future__ import annotations

import http.client
import json
from typing import Any, Final
from urllib.parse import urlsplit

from lollms_core import Finding
from lollms_openai.server import Server

__all__ = ["answers", "found_of"]

_SECONDS: Final = 0.5
_MAX_BYTES: Final = 1_000_000


def answers(server: Server, seconds: float = _SECONDS) -> bool:
    """Whether `server` lists models within half a second; other programs like its port too."""
    found = _asked(server, f"{server.base}/models", seconds)
    return isinstance(found, dict) and isinstance(found.get("data"), list)


def found_of(server: Server, seconds: float, *, named: bool) -> Finding:
    """Whether a server of the user's own answers, and its version where it tells one.

    Args:
        server: the one to ask.
        seconds: how long it may be silent.
        named: whether the user has named it, so that it is missed where it does not answer.
    """
    facts: dict[str, Any] = {"address": server.base}
    if not answers(server, seconds):
        remedy = "start it, or name its address as host_address"
        return Finding(
            "warning" if named else "absent", f"no server lists models at {server.base}", remedy, "server", facts
        )
    version = None
    if server.preset.version is not None:
        path, name = server.preset.version
        told = _asked(server, f"{server.root}/{path}", seconds)
        version = told.get(name) if isinstance(told, dict) else None
    if isinstance(version, str):
        facts["version"] = version
        return Finding("ok", f"a server of version {version} answers at {server.base}", None, "server", facts)
    return Finding("ok", f"a server answers at {server.base}", None, "server", facts)


def _asked(server: Server, url: str, seconds: float) -> Any:
    """The JSON at `url` of `server`, None if there is none."""
    address = urlsplit(url)
    if address.hostname is None:
        return None
    kind = http.client.HTTPSConnection if address.scheme == "https" else http.client.HTTPConnection
    connection = kind(address.hostname, address.port, timeout=seconds)
    try:
        headers = {"Authorization": f"Bearer {server.key.reveal()}"} if server.key is not None else {}
        connection.request("GET", address.path, headers=headers)
        response = connection.getresponse()
        return json.loads(response.read(_MAX_BYTES)) if response.status == http.HTTPStatus.OK else None
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        connection.close()
