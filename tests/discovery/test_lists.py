"""The operator's lists; their nine cases through a manager are in test_manager.py."""

from __future__ import annotations

import pytest

from lollms_core.discovery.lists import Lists, normalised


def test_distributions_are_compared_normalised_and_bindings_exactly() -> None:
    assert normalised("Lollms__My.Box") == "lollms-my-box"
    lists = Lists.read(deny=["Lollms_My.Box", "mine"])
    assert lists.reason("x", "lollms-my-box") is not None
    assert lists.reason("mine", None) is not None
    assert lists.reason("Mine", None) is None
    assert lists.reason("lollms_my_box", None) is None


def test_a_text_is_separated_by_commas_and_empty_parts_count_for_nothing() -> None:
    lists = Lists.read(allow=" a, ,b,", deny=", ")
    assert lists == Lists(frozenset({"a", "b"}), frozenset())


def test_arguments_win_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOLLMS_PLUGINS", "a")
    monkeypatch.setenv("LOLLMS_DISABLE_PLUGINS", "b")
    assert Lists.read() == Lists(frozenset({"a"}), frozenset({"b"}))
    assert Lists.read(allow=["c"]) == Lists(frozenset({"c"}), frozenset({"b"}))
    assert Lists.read(deny=()) == Lists(frozenset({"a"}), frozenset())
    assert Lists.read(allow=()).reason("a", "a") is not None
