"""The conformance kit: every promise of the contract, every fault of the table, every way in which a caller ends."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import pytest

from lollms_core.testing import OllamaDialect
from lollms_core.testing.conformance import HttpConformance, Settings
from lollms_core.testing.playing import Factory
from lollms_ollama import OllamaBinding

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]  # seconds: every byte of a long stream takes minutes


class TestOllama(HttpConformance):
    dialect = OllamaDialect()
    settings = Settings(pull=OllamaDialect.model)
    every_byte = bool(os.environ.get("LOLLMS_FAULTS"))

    @pytest.fixture
    def factory(self, tmp_path: Path) -> Factory:
        return partial(OllamaBinding, cache_folder=tmp_path)
