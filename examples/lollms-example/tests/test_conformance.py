"""Every promise of the contract, put to the test by lollms-core's conformance kit."""

from __future__ import annotations

import pytest

from lollms_core.testing.conformance import BindingConformance
from lollms_core.testing.playing import Factory
from lollms_example import ExampleBinding


class TestConformance(BindingConformance):
    """Of the example binding."""

    @pytest.fixture
    def factory(self) -> Factory:
        return ExampleBinding
