"""Folders written for lollms_client: they see our stand-ins, nobody else does."""

from __future__ import annotations

import sys
import threading
from typing import Any

import pytest
from installed import Site

from lollms_core.binding import LollmsLLMBinding
from lollms_core.discovery.legacy import STAND_INS
from lollms_core.events import MSG_TYPE

HEAD = "from samples import EightMethods\n"
TAIL = "\nclass Mine(EightMethods):\n    pass\nBindingName = 'Mine'\n"


def load(site: Site, source: str, **others: str) -> Any:
    """The module of a folder with this source."""
    site.folder("legacy", f"{HEAD}{source}{TAIL}", **others)
    return sys.modules[type(site.manager().open_binding("legacy")).__module__]


@pytest.fixture(autouse=True)
def nobody_else_sees_them() -> Any:
    """lollms_client is not installed here, and after each test it still cannot be imported by others."""
    with pytest.raises(ModuleNotFoundError):
        __import__("lollms_client")
    yield
    assert not [name for name in sys.modules if name.partition(".")[0] == "lollms_client"]
    with pytest.raises(ModuleNotFoundError):
        __import__("lollms_client.lollms_llm_binding")


@pytest.mark.parametrize(
    "imports",
    [
        "from lollms_client.lollms_llm_binding import LollmsLLMBinding, MSG_TYPE",
        "from lollms_client.lollms_llm_binding import *",
        """
from lollms_client.lollms_llm_binding import LollmsLLMBinding
from lollms_client.lollms_types import MSG_TYPE""",
        """
from lollms_client import MSG_TYPE, lollms_llm_binding
LollmsLLMBinding = lollms_llm_binding.LollmsLLMBinding""",
        """
import lollms_client.lollms_llm_binding as m
LollmsLLMBinding, MSG_TYPE = m.LollmsLLMBinding, m.MSG_TYPE""",
        """
import lollms_client.lollms_llm_binding
LollmsLLMBinding, MSG_TYPE = lollms_client.lollms_llm_binding.LollmsLLMBinding, lollms_client.MSG_TYPE""",
        """
import lollms_client
LollmsLLMBinding = lollms_client.lollms_llm_binding.LollmsLLMBinding
MSG_TYPE = lollms_client.lollms_types.MSG_TYPE""",
        """
import lollms_client as c
LollmsLLMBinding, MSG_TYPE = c.lollms_llm_binding.LollmsLLMBinding, c.MSG_TYPE""",
        """
from lollms_client import *
from lollms_client.lollms_llm_binding import LollmsLLMBinding""",
        "exec('from lollms_client.lollms_llm_binding import LollmsLLMBinding, MSG_TYPE')",
    ],
)
def test_every_form_of_import(site: Site, imports: str) -> None:
    module = load(site, imports)
    assert issubclass(module.LollmsLLMBinding, LollmsLLMBinding)
    assert module.LollmsLLMBinding is not LollmsLLMBinding
    assert module.MSG_TYPE is MSG_TYPE


def test_imports_inside_functions_work_at_any_time(site: Site) -> None:
    """In functions, methods, lambdas, comprehensions and nested classes, and in another thread."""
    module = load(
        site,
        """
def function():
    from lollms_client.lollms_types import MSG_TYPE
    return MSG_TYPE
class Thing:
    def method(self):
        import lollms_client.lollms_types as types
        return types.MSG_TYPE
    make = staticmethod(lambda: [__import__("lollms_client").MSG_TYPE for _ in "x"][0])
""",
    )
    results = [module.function(), module.Thing().method(), module.Thing.make()]
    thread = threading.Thread(target=lambda: results.append(module.function()))
    thread.start()
    thread.join()
    assert results == [MSG_TYPE] * 4


def test_all_modules_of_the_folder_see_them_once_one_mentions_the_package(site: Site) -> None:
    module = load(
        site,
        "from .part import MSG_TYPE, dynamic, relative",
        part="from .words import WORD as relative\nfrom .sub.deep import dynamic\n"
        "from lollms_client.lollms_types import MSG_TYPE",
        words="WORD = 'relative'",
        sub__deep="dynamic = __import__('lollms_' + 'client').MSG_TYPE",
    )
    assert (module.MSG_TYPE, module.dynamic, module.relative) == (MSG_TYPE, MSG_TYPE, "relative")


def test_other_imports_are_the_usual_ones(site: Site) -> None:
    module = load(
        site,
        "import lollms_client, json, os.path, xml.dom.minidom as dom\nfrom collections import abc\n"
        "from lollms_core import MSG_TYPE as ours",
    )
    import collections.abc
    import json
    import os
    import xml.dom.minidom

    assert module.json is json
    assert module.os is os
    assert module.dom is xml.dom.minidom
    assert module.abc is collections.abc
    assert module.ours is MSG_TYPE


def test_only_the_exact_names_are_redirected(site: Site) -> None:
    """A stand-in answers for what it stands for; the rest is missing, as it would be without it."""
    for missing in "import lollms_client.lollms_tts_binding", "import lollms_client_tools":
        site.folder("legacy", f"import lollms_client\n{missing}")
        with pytest.raises(Exception, match="ModuleNotFoundError: No module named 'lollms_client"):
            site.manager().open_binding("legacy")
    site.folder("legacy", "from lollms_client import LollmsClient")
    with pytest.raises(Exception, match="ImportError: cannot import name 'LollmsClient'"):
        site.manager().open_binding("legacy")


def test_packages_that_the_folder_imports_do_not_see_them(site: Site) -> None:
    site.module(
        "outside_pkg.py",
        "try:\n    import lollms_client\nexcept ImportError:\n    seen = False\nelse:\n    seen = True\n"
        "def later():\n    import lollms_client",
    )
    module = load(site, "import lollms_client, outside_pkg")
    assert module.outside_pkg.seen is False
    with pytest.raises(ModuleNotFoundError):
        module.outside_pkg.later()


def test_an_installed_lollms_client_is_not_what_the_folder_gets(site: Site) -> None:
    """Nor is it disturbed."""
    site.module("lollms_client/__init__.py", "MSG_TYPE = 'the real one'")
    try:
        module = load(site, "from lollms_client import MSG_TYPE")
        real: Any = __import__("lollms_client")
        assert module.MSG_TYPE is MSG_TYPE
        assert real.MSG_TYPE == "the real one"
    finally:
        sys.modules.pop("lollms_client", None)
        site.path.joinpath("lollms_client", "__init__.py").unlink()
        site.path.joinpath("lollms_client").rmdir()
        __import__("importlib").invalidate_caches()


def test_a_folder_that_does_not_mention_it_has_the_usual_builtins(site: Site) -> None:
    import builtins

    site.folder("modern", f"{HEAD}{TAIL}")
    modern: Any = sys.modules[type(site.manager().open_binding("modern")).__module__]
    assert modern.__builtins__ is vars(builtins)
    legacy = load(site, "import lollms_client")
    assert legacy.__builtins__ is not vars(builtins)
    assert legacy.__builtins__["len"] is len
    assert vars(builtins)["__import__"] is not legacy.__builtins__["__import__"]


def test_the_completion_format_enum(site: Site) -> None:
    kind = load(site, "from lollms_client.lollms_types import ELF_COMPLETION_FORMAT as kind").kind
    assert [(member.name, member.value) for member in kind] == [("Instruct", 0), ("Chat", 1)]
    assert kind.from_string("chat") is kind.Chat
    assert str(kind.Instruct) == "Instruct"
    with pytest.raises(ValueError, match="Invalid format string: x"):
        kind.from_string("x")


def test_every_name_in_the_table_has_its_module_and_its_packages() -> None:
    import importlib

    for name, target in STAND_INS.items():
        assert importlib.import_module(target).__name__ == target
        parent, _, leaf = name.rpartition(".")
        if parent:
            assert hasattr(importlib.import_module(STAND_INS[parent]), leaf)
