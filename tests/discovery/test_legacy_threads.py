"""While a folder written for lollms_client is being imported, no other thread sees its stand-ins."""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest
from installed import Site

pytestmark = pytest.mark.timeout(30, method="thread")

SOURCE = """
import samples
from samples import EightMethods
from lollms_client.lollms_llm_binding import LollmsLLMBinding
samples.meanwhile()
import lollms_client.lollms_types as types
samples.meanwhile()
def later():
    import lollms_client
    samples.meanwhile()
    return lollms_client.MSG_TYPE
class Mine(EightMethods):
    pass
BindingName = 'Mine'
"""


def by_statement() -> None:
    import lollms_client  # type: ignore[import-not-found]  # noqa: F401 - not installed, and it shall not seem so


def by_name() -> None:
    importlib.import_module("lollms_client.lollms_llm_binding")


@pytest.mark.parametrize("importing", [by_statement, by_name])
def test_another_thread_imports_at_the_same_time(
    site: Site, monkeypatch: pytest.MonkeyPatch, importing: Callable[[], None]
) -> None:
    """Between the folder's own imports, in its module and in its functions."""
    seen: list[type | None] = []

    def other() -> None:
        try:
            importing()
        except BaseException as exc:  # noqa: BLE001 - what the test looks at
            seen.append(type(exc))
        else:
            seen.append(None)

    def meanwhile() -> None:
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        assert not [name for name in sys.modules if name.partition(".")[0] == "lollms_client"]

    monkeypatch.setattr("samples.meanwhile", meanwhile, raising=False)
    site.folder("legacy", SOURCE)
    module: Any = sys.modules[type(site.manager().open_binding("legacy")).__module__]
    assert module.later().MSG_TYPE_CHUNK.value == 0
    assert seen == [ModuleNotFoundError] * 3
