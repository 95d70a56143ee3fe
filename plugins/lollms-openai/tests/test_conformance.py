"""The conformance kit: every promise of the contract, every fault of the table, every way in which a caller ends."""

from __future__ import annotations

import os

import pytest

from lollms_core.testing import OpenAIDialect
from lollms_core.testing.conformance import HttpConformance
from lollms_core.testing.playing import Factory
from lollms_openai import OpenAIBinding

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]  # seconds: every byte of a long stream takes minutes


class TestOpenAI(HttpConformance):
    dialect = OpenAIDialect()
    every_byte = bool(os.environ.get("LOLLMS_FAULTS"))

    @pytest.fixture
    def factory(self, monkeypatch: pytest.MonkeyPatch) -> Factory:
        for name in ("API_KEY", "BASE_URL", "ORG_ID", "PROJECT_ID", "CUSTOM_HEADERS"):
            monkeypatch.delenv(f"OPENAI_{name}", raising=False)
        return OpenAIBinding
