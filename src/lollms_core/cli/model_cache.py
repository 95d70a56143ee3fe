"""The names of models that ``lollms models`` has listed, kept for the shell's completion, which never asks a server."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path

__all__ = ["cache_file", "remember", "remembered"]

_log = logging.getLogger(__name__)

_FORMAT = 1
_MOST = 5000  # names of one binding
_MAX_BYTES = 8_000_000


def cache_file() -> Path:
    """``models.json`` in the user's cache directory."""
    import platformdirs

    return platformdirs.user_cache_path("lollms", appauthor=False) / "models.json"


def remember(listed: Mapping[str, Iterable[str]]) -> None:
    """Keep the models of each binding in `listed`, in the place of what was known of it; the others' stay.

    A file that cannot be written is no error: it only completes a shell's line.
    """
    if not listed:
        return
    from lollms_core.files import write_whole

    models = {**remembered(), **{name: list(dict.fromkeys(names))[:_MOST] for name, names in listed.items()}}
    try:
        write_whole(cache_file(), json.dumps({"format": _FORMAT, "models": models}).encode())
    except OSError as error:
        _log.debug("the names of models cannot be kept in %s: %s", cache_file(), error)


def remembered() -> dict[str, list[str]]:
    """The models that were listed last, by binding; empty where nothing is kept, or where it is damaged."""
    try:
        with cache_file().open("rb") as file:
            content = json.loads(file.read(_MAX_BYTES))
    except (OSError, ValueError, RecursionError):
        return {}
    models = content.get("models") if isinstance(content, dict) and content.get("format") == _FORMAT else None
    if not isinstance(models, dict):
        return {}
    return {
        binding: [name for name in names if isinstance(name, str)]
        for binding, names in models.items()
        if isinstance(names, list)
    }
