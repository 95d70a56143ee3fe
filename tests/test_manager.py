"""The manager's face: listing, records, creating, and what goes wrong in between."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any

import pytest
from installed import BINDING, FOLDER, GROUP, Site
from samples import WORDS, EightMethods

from lollms_core.binding import LollmsLLMBinding
from lollms_core.discovery.records import BindingRecord
from lollms_core.errors import BindingBlocked, BindingLoadError, BindingNotFound, ModelNotFound
from lollms_core.hookspecs import hookimpl
from lollms_core.manager import LollmsLLMBindingManager


def test_an_installed_binding_is_listed_then_created(site: Site) -> None:
    """Listing imports nothing; creating imports the class and makes an instance of it."""
    site.binding("alpha", "lollms-alpha", version="1.2")
    manager = site.manager()

    assert manager.get_available_bindings() == ["alpha"]
    assert manager.records() == [
        BindingRecord(
            name="alpha",
            source="entry point",
            state="found",
            distribution="lollms-alpha",
            version="1.2",
            module="lollms_alpha_alpha",
            attribute="Mine",
        )
    ]
    assert "lollms_alpha_alpha" not in sys.modules
    assert manager.available_bindings == {}

    binding = manager.create_binding("alpha")
    assert isinstance(binding, LollmsLLMBinding)
    assert binding.generate_text("hello") == "".join(WORDS)
    assert manager.available_bindings == {"alpha": type(binding)}
    assert [record.state for record in manager.records()] == ["loaded"]
    assert manager.errors == {}


def test_a_folder_is_listed_then_created(site: Site) -> None:
    """A folder's record shows its path and its class's name, read without running it."""
    path = site.folder("beta", FOLDER, helper="raise RuntimeError('never imported')")
    manager = site.manager()
    assert manager.records() == [
        BindingRecord(name="beta", source="directory", path=str(path), attribute="Mine", state="found")
    ]
    binding = manager.open_binding("beta", words=["yes"])
    assert binding.generate_text("hello") == "yes"


def test_entry_points_and_folders_are_listed_together_and_sorted(site: Site) -> None:
    site.folder("middle")
    site.binding("zebra", "lollms-zebra")
    site.binding("apple", "lollms-apple")
    assert site.manager().get_available_bindings() == ["apple", "middle", "zebra"]


def test_the_lists_that_callers_get_are_their_own(site: Site) -> None:
    """Changing what a listing returned changes nothing in the manager."""
    site.binding("alpha", "lollms-alpha")
    manager = site.manager()
    manager.get_available_bindings().clear()
    manager.records().clear()
    assert manager.get_available_bindings() == ["alpha"]
    assert len(manager.records()) == 1


@pytest.mark.parametrize("value", ["pkg_rule", "pkg_rule:inner", "pkg_rule.sub:Mine", "pkg_rule.sub:Outer.Mine"])
def test_an_entry_point_names_a_class_or_a_module_with_a_binding_name(site: Site, value: str) -> None:
    """`module` and `module:submodule` follow the BindingName rule; `module:Class` is the class."""
    site.distribution(
        "lollms-rule",
        entry_points={GROUP: {"rule": value}},
        modules={
            "pkg_rule/__init__.py": FOLDER + "from pkg_rule import sub as inner\n",
            "pkg_rule/sub.py": FOLDER + "class Outer:\n    Mine = Mine\n",
        },
    )
    assert type(site.manager().open_binding("rule")).__name__ == "Mine"


def test_two_names_of_one_class(site: Site) -> None:
    site.distribution(
        "lollms-two",
        entry_points={GROUP: {"new": "two_mod:Mine", "old": "two_mod:Mine"}},
        modules={"two_mod.py": BINDING},
    )
    manager = site.manager()
    assert type(manager.open_binding("new")) is type(manager.open_binding("old"))
    assert sorted(manager.available_bindings) == ["new", "old"]


def test_load_binding_gives_the_class_or_none(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    site.binding("alpha", "lollms-alpha")
    manager = site.manager()
    cls = manager._load_binding("alpha")
    assert cls is not None
    assert issubclass(cls, LollmsLLMBinding)
    assert manager.available_bindings == {"alpha": cls}
    assert manager._load_binding("missing") is None
    assert "missing" in manager.errors


def test_an_unknown_name_is_one_line_with_close_names(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    site.binding("vendorbox", "lollms-vendorbox")
    manager = site.manager()
    with pytest.raises(BindingNotFound, match=r"no binding 'vendorbx'.*Did you mean vendorbox\?"):
        manager.open_binding("vendorbx")
    with caplog.at_level(logging.ERROR, "lollms_core"):
        assert manager.create_binding("vendorbx") is None
    (line,) = [record.getMessage() for record in caplog.records]
    assert line == manager.errors["vendorbx"]
    assert "Did you mean vendorbox?" in line


@pytest.mark.parametrize(
    ("name", "package"),
    [
        ("llamacpp", "lollms-llamacpp"),
        ("pythonllamacpp", "lollms-llamacpp"),
        ("ollama", "lollms-ollama"),
        ("openai", "lollms-openai"),
        ("groq", "lollms-openai"),
    ],
)
def test_a_known_name_that_is_not_installed_tells_the_pip_command(site: Site, name: str, package: str) -> None:
    with pytest.raises(BindingNotFound, match=f"pip install {package}$"):
        site.manager().open_binding(name)


@pytest.mark.parametrize("name", ["../alpha", "a/b", "..", ".", "", "/etc", "_hidden", "alpha\n", "a" * 5000])
def test_a_name_that_is_none_is_not_found(site: Site, name: str) -> None:
    """A name is looked up, never made into a path."""
    site.folder("alpha")
    site.folder("_hidden")
    manager = site.manager()
    with pytest.raises(BindingNotFound):
        manager.open_binding(name)
    assert manager.create_binding(name) is None
    assert "\n" not in manager.errors[name]
    assert len(manager.errors[name]) < 1000


def test_a_name_of_the_wrong_type_is_a_type_error(site: Site) -> None:
    with pytest.raises(TypeError, match="name is a str, not int"):
        site.manager().open_binding(5)  # type: ignore[arg-type]
    for name in None, ["list"]:
        assert site.manager().create_binding(name) is None  # type: ignore[arg-type]


# What a constructor may do ----------------------------------------------------------------------------------

CONSTRUCTORS = """
from samples import EightMethods
from lollms_core.errors import ModelNotFound
import sys

class Mine(EightMethods):
    def __init__(self, how="fine", **kwargs):
        if how == "silent":
            return
        super().__init__()
        if how == "runtime":
            raise RuntimeError("the device is on fire")
        if how == "exit":
            sys.exit(3)
        if how == "value":
            raise ValueError("how must be right")
        if how == "model":
            raise ModelNotFound("no model 'x'")
        if how == "interrupt":
            raise KeyboardInterrupt
        if how == "key":
            raise RuntimeError(f"refused {kwargs}")
        self.how = how

    def __setattr__(self, name, value):
        if name == "_hooks":
            raise AttributeError("frozen")
        super().__setattr__(name, value)
"""


def test_misuse_of_a_constructor_propagates_unchanged(site: Site) -> None:
    """TypeErrors, ValueErrors and our errors say in their own words what is wrong."""
    site.binding("alpha", "lollms-alpha", CONSTRUCTORS)
    site.binding("strict", "lollms-strict", "from samples import EightMethods as Mine")
    manager = site.manager()
    with pytest.raises(ValueError, match="how must be right"):
        manager.open_binding("alpha", how="value")
    with pytest.raises(ModelNotFound, match="no model 'x'"):
        manager.open_binding("alpha", how="model")
    with pytest.raises(TypeError, match=r"no option 'temprature'. Did you mean temperature"):
        manager.open_binding("strict", temprature=0.5)


@pytest.mark.parametrize(("how", "cause"), [("runtime", RuntimeError), ("exit", SystemExit)])
def test_a_constructor_that_breaks_is_a_load_error_with_its_cause(
    site: Site, how: str, cause: type[BaseException]
) -> None:
    site.binding("alpha", "lollms-alpha", CONSTRUCTORS, version="4.2")
    manager = site.manager()
    with pytest.raises(
        BindingLoadError, match=r"'alpha' \(distribution lollms-alpha 4.2\) could not be created"
    ) as caught:
        manager.open_binding("alpha", how=how)
    assert isinstance(caught.value.__cause__, cause)
    assert isinstance(manager.open_binding("alpha"), LollmsLLMBinding)


@pytest.mark.parametrize("how", ["runtime", "exit", "value", "model"])
def test_create_binding_returns_none_and_logs_one_line(site: Site, how: str, caplog: pytest.LogCaptureFixture) -> None:
    """The reason is kept in `errors` until the binding is created after all."""
    site.binding("alpha", "lollms-alpha", CONSTRUCTORS)
    manager = site.manager()
    with caplog.at_level(logging.DEBUG, "lollms_core"):
        assert manager.create_binding("alpha", how=how) is None
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.getMessage() == manager.errors["alpha"]
    assert "\n" not in manager.errors["alpha"]
    assert manager.create_binding("alpha") is not None
    assert manager.errors == {}


def test_an_interrupt_in_a_constructor_reaches_the_user(site: Site) -> None:
    site.binding("alpha", "lollms-alpha", CONSTRUCTORS)
    manager = site.manager()
    with pytest.raises(KeyboardInterrupt):
        manager.create_binding("alpha", how="interrupt")
    with pytest.raises(KeyboardInterrupt):
        manager.open_binding("alpha", how="interrupt")
    assert manager.create_binding("alpha") is not None


def test_a_class_that_forgot_super_init_or_forbids_setting_gets_its_hooks(site: Site) -> None:
    site.binding("alpha", "lollms-alpha", CONSTRUCTORS)
    binding = site.manager().open_binding("alpha", how="silent")
    assert binding._hooks is not None


def test_a_constructor_that_makes_something_else(site: Site) -> None:
    source = BINDING + "    def __new__(cls):\n        return 'a str'\n"
    site.binding("alpha", "lollms-alpha", source)
    with pytest.raises(BindingLoadError, match="made a str, which is no binding"):
        site.manager().open_binding("alpha")


# Keys -------------------------------------------------------------------------------------------------------

KEY = "marker-0123456789-MARKER"


def test_a_key_appears_in_no_error_log_or_traceback(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """Neither in our texts, nor in the cause, nor in the locals of our frames."""
    site.binding("alpha", "lollms-alpha", CONSTRUCTORS)

    class Vault:
        @hookimpl
        def lollms_before_create(self, name: str, kwargs: dict[str, Any]) -> dict[str, Any]:
            return {"api_key": f"{KEY}-vault"}

    for hooks in [], [Vault()]:
        manager = site.manager(hooks=hooks)
        with caplog.at_level(logging.DEBUG, "lollms_core"):
            assert manager.create_binding("alpha", how="key", service_key=KEY) is None
        with pytest.raises(BindingLoadError) as caught:
            manager.open_binding("alpha", how="key", service_key=KEY, headers={"Authorization": f"Bearer {KEY}"})
        assert "***" in manager.errors["alpha"]
        shown = [manager.errors["alpha"], caplog.text, "".join(traceback.format_exception(caught.value))]
        error: BaseException | None = caught.value
        while error is not None:
            frames = traceback.TracebackException.from_exception(error, capture_locals=True).stack
            shown += [str(frame.locals) for frame in frames if f"{os.sep}lollms_core{os.sep}" in frame.filename]
            error = error.__cause__
        assert not [text for text in shown if KEY in text]


# Allow and deny ---------------------------------------------------------------------------------------------

LISTS = [
    # LOLLMS_PLUGINS, LOLLMS_DISABLE_PLUGINS, usable
    (None, None, True),
    (None, "", True),
    (None, "Lollms_Alpha", False),
    ("", None, False),
    ("", "", False),
    ("", "lollms-alpha", False),
    ("other, LOLLMS.alpha", None, True),
    ("lollms-alpha", "", True),
    ("lollms-alpha", "lollms-alpha", False),
]


@pytest.mark.parametrize(("allow", "deny", "usable"), LISTS)
@pytest.mark.parametrize("by_argument", [False, True])
def test_allow_and_deny_lists(
    site: Site, monkeypatch: pytest.MonkeyPatch, allow: str | None, deny: str | None, usable: bool, by_argument: bool
) -> None:
    """Unset, empty, or naming the distribution: deny beats allow, an empty allowlist allows none."""
    site.binding("alpha", "lollms-alpha", "raise RuntimeError('imported')" if not usable else BINDING)
    if by_argument:
        monkeypatch.setenv("LOLLMS_PLUGINS", "overridden" if allow is not None else "lollms-alpha")
        monkeypatch.setenv("LOLLMS_DISABLE_PLUGINS", "lollms-alpha" if deny is not None else "")
        manager = site.manager(allow=allow, deny=deny)
    else:
        for variable, value in {"LOLLMS_PLUGINS": allow, "LOLLMS_DISABLE_PLUGINS": deny}.items():
            if value is not None:
                monkeypatch.setenv(variable, value)
        manager = site.manager()
    (record,) = manager.records()
    if usable:
        assert manager.get_available_bindings() == ["alpha"]
        assert manager.create_binding("alpha") is not None
        return
    assert manager.get_available_bindings() == []
    assert record.state == "blocked"
    assert record.error is not None
    assert "LOLLMS_" in record.error
    with pytest.raises(BindingBlocked, match="LOLLMS_"):
        manager.open_binding("alpha")
    assert manager.create_binding("alpha") is None
    assert "lollms_alpha_alpha" not in sys.modules


def test_lists_name_bindings_too_and_folders(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.distribution(
        "lollms-two",
        entry_points={GROUP: {"one": "two_mod:Mine", "two": "two_mod:Mine"}},
        modules={"two_mod.py": BINDING},
    )
    site.folder("local")
    assert site.manager(deny=["one"]).get_available_bindings() == ["local", "two"]
    assert site.manager(allow=["one", "local"]).get_available_bindings() == ["local", "one"]
    assert site.manager(allow=["lollms-two"], deny="two").get_available_bindings() == ["one"]
    monkeypatch.setenv("LOLLMS_DISABLE_PLUGINS", "local")
    manager = site.manager()
    assert manager.get_available_bindings() == ["one", "two"]
    monkeypatch.setenv("LOLLMS_DISABLE_PLUGINS", "two")
    assert manager.get_available_bindings() == ["one", "two"]
    manager.refresh()
    assert manager.get_available_bindings() == ["local", "one"]


# Costs and promises about imports ---------------------------------------------------------------------------


def run_python(code: str, *paths: Path) -> str:
    """The output of a fresh interpreter."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LOLLMS_")}
    environment["PYTHONPATH"] = os.pathsep.join([*map(str, paths), *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout.strip()


def test_a_manager_without_hooks_never_imports_pluggy(site: Site) -> None:
    """Nor does making one look at what is installed."""
    source = """
    from lollms_core import EventBinding
    class Mine(EventBinding):
        def _events(self, request):
            return iter(())
    BindingName = "Mine"
    """
    site.folder("mine", source)
    code = f"""
import sys
from lollms_core import LollmsLLMBindingManager
manager = LollmsLLMBindingManager({str(site.bindings)!r}, entry_point_group={GROUP!r})
print([name for name in ("importlib_metadata", "pluggy", "packaging", "lollms_core.binding") if name in sys.modules])
manager.get_available_bindings(), manager.records()
print([name for name in ("importlib_metadata", "pluggy", "lollms_core.binding") if name in sys.modules])
print(manager.create_binding("mine") is not None, "pluggy" in sys.modules)
"""
    assert run_python(code).splitlines() == ["[]", "[]", "True False"]


def test_listing_works_without_any_directory(tmp_path: Path) -> None:
    manager = LollmsLLMBindingManager(tmp_path / "missing", entry_point_group=GROUP)
    assert manager.llm_bindings_dir == tmp_path / "missing"
    assert manager.get_available_bindings() == []
    assert manager.records() == []
    assert LollmsLLMBindingManager().llm_bindings_dir == Path("llm_bindings")


def test_the_usual_group_is_the_one_that_distributions_use(site: Site) -> None:
    """With real plugins installed beside ours, ours is among them."""
    site.distribution(
        "lollms-usual",
        entry_points={"lollms.llm_bindings": {"usual": "usual_mod:Mine"}},
        modules={"usual_mod.py": BINDING},
    )
    manager = LollmsLLMBindingManager(site.bindings)
    assert "usual" in manager.get_available_bindings()
    assert isinstance(manager.create_binding("usual"), EightMethods)


def test_a_class_can_be_had_without_an_instance(tmp_path: Path) -> None:
    """What a class declares is there to read; a name that stands for none raises."""
    folder = tmp_path / "plain"
    folder.mkdir()
    (folder / "__init__.py").write_text(
        'from samples import EightMethods\nBindingName = "EightMethods"\n', encoding="utf-8"
    )
    manager = LollmsLLMBindingManager(tmp_path)
    assert manager.binding_class("plain").__name__ == "EightMethods"
    with pytest.raises(BindingNotFound):
        manager.binding_class("plane")
