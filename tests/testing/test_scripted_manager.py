"""ScriptedManager: applications that open bindings by name get scripted ones."""

from __future__ import annotations

from typing import Any

import pytest
from samples import Events, Recorder

from lollms_core import (
    BindingNotFound,
    CapabilityNotSupported,
    LollmsLLMBindingManager,
    Middleware,
    UnsupportedParameter,
    hookimpl,
)
from lollms_core.testing import ScriptedBinding, ScriptedManager


class Watch:
    """A hook that sees requests and changes the constructor's keywords."""

    def __init__(self) -> None:
        self.log: list[Any] = []

    @hookimpl
    def lollms_before_create(self, name: str, kwargs: dict[str, Any]) -> dict[str, Any]:
        return {"seed": 7}

    @hookimpl
    def lollms_middleware(self, name: str, request: object) -> Middleware:
        return Recorder(self.log)


def test_a_script_goes_on_from_one_opening_to_the_next() -> None:
    manager = ScriptedManager({"ollama": ["one", "two"]})
    for text in ("one", "two"):
        with manager.open_binding("ollama") as binding:
            assert binding.generate_text("x") == text
    assert len(manager.bindings["ollama"].requests) == 2
    manager.bindings["ollama"].assert_followed()


def test_what_a_binding_was_opened_with_is_remembered_and_used() -> None:
    manager = ScriptedManager({"ollama": ["ok"]})
    keywords = {"model_name": "llama3", "host_address": "http://h", "service_key": "secret", "temperature": 0.5}
    binding = manager.create_binding("ollama", **keywords)
    assert binding is not None
    assert (binding.binding_name, binding.model_name) == ("ollama", "llama3")
    binding.generate_text("x")
    assert manager.bindings["ollama"].requests[0].temperature == 0.5
    (opening,) = manager.opened
    assert (opening.name, opening.keywords, opening.binding) == ("ollama", keywords, binding)
    assert "secret" not in repr(manager.opened)


def test_unknown_options_are_refused_and_those_of_the_class_stood_in_for_are_not() -> None:
    class Real(Events):
        def __init__(self, *, retries: int = 2, **defaults: Any) -> None:
            super().__init__(**defaults)

    given = ScriptedBinding(["ok"], like=Real, temperature=1)
    manager = ScriptedManager({"plain": ["ok"], "real": given})
    with pytest.raises(UnsupportedParameter, match="retries"):
        manager.open_binding("plain", retries=5)
    binding = manager.open_binding("real", retries=5, shout=True)
    with pytest.raises(CapabilityNotSupported):
        binding.chat("x", think=True)
    binding.chat("x")
    (request,) = given.requests
    assert (request.options, request.temperature) == ({"shout": True}, 1)


def test_hooks_work() -> None:
    watch = Watch()
    manager = ScriptedManager({"ollama": ["ok"]}, hooks=[watch])
    manager.open_binding("ollama").generate_text("x")
    assert manager.bindings["ollama"].requests[0].seed == 7
    assert watch.log == ["request", "TextDelta", "Usage", "Finish", "finish stop NoneType"]


def test_it_has_these_bindings_alone() -> None:
    manager = ScriptedManager({"b": [], "a": []})
    assert manager.get_available_bindings() == ["a", "b"]
    assert {record.state for record in manager.records()} == {"found"}
    with pytest.raises(BindingNotFound):
        manager.open_binding("c")
    assert manager.create_binding("c") is None
    assert "c" in manager.errors
    with pytest.raises(TypeError, match="a script is a list"):
        ScriptedManager({"a": "text"})


def test_every_manager_can_have_them_for_a_while() -> None:
    mine = LollmsLLMBindingManager(hooks=[watch := Watch()])
    before = mine.get_available_bindings()
    manager = ScriptedManager({"theirs": ["one", "two"]})
    with manager.everywhere():
        assert mine.get_available_bindings() == LollmsLLMBindingManager().get_available_bindings() == ["theirs"]
        assert mine.open_binding("theirs").generate_text("x") == "one"
        assert "request" in watch.log
        assert LollmsLLMBindingManager().open_binding("theirs").generate_text("x") == "two"
        assert len(manager.opened) == 2
    assert mine.get_available_bindings() == before
    assert "theirs" not in LollmsLLMBindingManager().get_available_bindings()


def test_operators_lists_do_not_concern_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test runs the same on a machine where something is blocked or required."""
    monkeypatch.setenv("LOLLMS_DISABLE_PLUGINS", "ollama")
    monkeypatch.setenv("LOLLMS_REQUIRED_HOOKS", "guard")
    assert ScriptedManager({"ollama": ["ok"]}).open_binding("ollama").generate_text("x") == "ok"
