"""These tests load the real binding folders of lollms_client, so they are collected only where `nox -s legacy` runs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lollms_core import LollmsLLMBindingManager

collect_ignore_glob = [] if "LOLLMS_LEGACY" in os.environ else ["test_*.py"]


@pytest.fixture(scope="session")
def folders() -> Path:
    """The bindings directory with the real folders, as the nox session unpacked them."""
    return Path(os.environ["LOLLMS_LEGACY"])


@pytest.fixture
def manager(folders: Path, monkeypatch: pytest.MonkeyPatch) -> LollmsLLMBindingManager:
    """A manager over them; nothing in the environment tells a folder where to connect or with which key."""
    names = ("LOLLMS_PLUGINS", "LOLLMS_DISABLE_PLUGINS", "OPENAI_API_KEY", "OPENAI_BASE_URL", "OLLAMA_HOST")
    for name in (*names, "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    return LollmsLLMBindingManager(folders)
