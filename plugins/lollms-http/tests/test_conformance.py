"""The conformance kit, with a binding over NDJSON (the README's, and the README's test) and one over SSE."""

from __future__ import annotations

import pytest
from http_examples import AcmeConformance, AcmeDialect, CompletionsBinding

from lollms_core.testing import OpenAIDialect
from lollms_core.testing.conformance import HttpConformance
from lollms_core.testing.playing import Factory

pytestmark = pytest.mark.faults


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")


class Lines(AcmeDialect):  # type: ignore[valid-type, misc]  # made from the README
    name = "lollms-http, NDJSON"


class Events(OpenAIDialect):
    name = "lollms-http, SSE"


class TestLines(AcmeConformance):  # type: ignore[valid-type, misc]
    dialect = Lines()


class TestEvents(HttpConformance):
    dialect = Events()

    @pytest.fixture
    def factory(self) -> Factory:
        return CompletionsBinding
