"""Binding folders written for lollms_client."""

from __future__ import annotations

import tempfile
import zipfile
from pathlib import Path, PurePosixPath

import nox

from tooling.fetching import fetched, pip_download

__all__ = ["LOLLMS_CLIENT_NEEDS", "legacy_folders"]

LOLLMS_CLIENT = "0.17.0"
# What the three folders import that talk to a server.
LOLLMS_CLIENT_NEEDS = ("ollama", "openai", "pillow", "requests", "tiktoken")


def legacy_folders(session: nox.Session) -> Path:
    """The binding folders of lollms_client, and nothing else of it."""

    def fill(folder: Path) -> None:
        with tempfile.TemporaryDirectory() as name:
            pip_download(session, Path(name), "--only-binary", ":all:", f"lollms-client=={LOLLMS_CLIENT}")
            (archive,) = Path(name).glob("*.whl")
            with zipfile.ZipFile(archive) as files:
                for member in files.infolist():
                    parts = PurePosixPath(member.filename).parts
                    if parts[:2] == ("lollms_client", "llm_bindings") and len(parts) > 3 and not member.is_dir():
                        path = folder.joinpath(*parts[2:])
                        path.parent.mkdir(parents=True, exist_ok=True)
                        path.write_bytes(files.read(member))
        if not any(folder.iterdir()):
            session.error(f"lollms-client {LOLLMS_CLIENT} holds no binding folders")

    return fetched(f"lollms-client-{LOLLMS_CLIENT}-folders", fill)
