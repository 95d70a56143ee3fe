"""Requests: checked once, then frozen."""

from __future__ import annotations

import dataclasses
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lollms_core.control import Control
from lollms_core.errors import UnsupportedParameter
from lollms_core.request import PARAMETERS, REQUEST_FIELDS, EmbedRequest, GenerationRequest
from lollms_core.tools import Tool


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"temperature": float("inf")}, ValueError),
        ({"temperature": True}, TypeError),
        ({"temperature": "hot"}, TypeError),
        ({"top_k": -1}, ValueError),
        ({"top_k": 1.5}, TypeError),
        ({"top_p": -0.1}, ValueError),
        ({"min_p": 2}, ValueError),
        ({"repeat_penalty": 0}, ValueError),
        ({"repeat_last_n": -2}, ValueError),
        ({"presence_penalty": float("nan")}, ValueError),
        ({"n_predict": 0}, ValueError),
        ({"n_threads": 0}, ValueError),
        ({"ctx_size": 0}, ValueError),
        ({"seed": -2}, ValueError),
        ({"stop": ""}, ValueError),
        ({"stop": ["a", ""]}, ValueError),
        ({"stop": [1]}, TypeError),
        ({"logit_bias": [1]}, TypeError),
        ({"logit_bias": {1: float("nan")}}, ValueError),
        ({"think": "a lot"}, ValueError),
        ({"timeout": 0}, ValueError),
        ({"deadline": -1}, ValueError),
        ({"stream": 1}, TypeError),
        ({"system_prompt": None, "images": "a.png"}, TypeError),
        ({"prompt": None}, TypeError),
        ({"prompt": 5}, TypeError),
        ({"messages": [{"role": "user", "content": "x"}]}, TypeError),
    ],
)
def test_bad_values_name_the_parameter(fields: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        GenerationRequest(**{"prompt": "x", **fields})


def test_frozen_and_normalised() -> None:
    request = GenerationRequest(prompt="x", stop="a", logit_bias={1: 2}, tools=[{"name": "f"}], metadata={"a": 1})  # type: ignore[arg-type]
    assert request.stop == ("a",)
    assert request.tools == (Tool("f"),)
    with pytest.raises(dataclasses.FrozenInstanceError):
        request.stop = None  # type: ignore[misc]
    with pytest.raises(TypeError):
        request.metadata["a"] = 2  # type: ignore[index]


def test_numbers_of_other_types() -> None:
    class Half:
        def __float__(self) -> float:
            return 0.5

    class Three:
        def __index__(self) -> int:
            return 3

    request = GenerationRequest(prompt="x", temperature=Half(), top_k=Three())  # type: ignore[arg-type]
    assert (request.temperature, request.top_k) == (0.5, 3)


def test_replace_keeps_the_switch() -> None:
    request = GenerationRequest(prompt="x")
    changed = request.replace(temperature=1)
    request.control.cancel()
    assert changed.cancelled
    with pytest.raises(UnsupportedParameter, match="temperature"):
        request.replace(temperatur=1)
    with pytest.raises(ValueError, match="temperature"):
        request.replace(temperature=-1)


def test_a_system_prompt_joins_the_messages_own() -> None:
    user = {"role": "user", "content": "x"}
    own = {"role": "system", "content": "B"}
    assert GenerationRequest(messages=(own, user), system_prompt="A").to_messages() == [
        {"role": "system", "content": "A\n\nB"},
        user,
    ]
    assert GenerationRequest(messages=(user,), system_prompt="A").to_messages()[0]["content"] == "A"
    assert GenerationRequest(messages=(user,)).to_messages() == [user]


def test_the_sets_of_names_fit() -> None:
    assert PARAMETERS < REQUEST_FIELDS
    assert {"prompt", "messages", "control", "options"}.isdisjoint(REQUEST_FIELDS)


@pytest.mark.parametrize(
    ("given_choice", "kept", "name"),
    [
        ("auto", "auto", None),
        ("none", "none", None),
        ("required", "required", None),
        ("look_up", {"type": "function", "function": {"name": "look_up"}}, "look_up"),
        (Tool("look_up"), {"type": "function", "function": {"name": "look_up"}}, "look_up"),
        ({"type": "function", "function": {"name": "f"}}, {"type": "function", "function": {"name": "f"}}, "f"),
    ],
)
def test_tool_choice(given_choice: Any, kept: Any, name: str | None) -> None:
    request = GenerationRequest(prompt="x", tool_choice=given_choice)
    assert (request.tool_choice, request.chosen_tool) == (kept, name)


@given(st.dictionaries(st.sampled_from(sorted(REQUEST_FIELDS)), st.none() | st.floats() | st.integers() | st.text()))
def test_any_values_give_a_request_or_a_clear_error(fields: dict[str, Any]) -> None:
    said = None
    try:
        GenerationRequest(prompt="x", **fields)
    except (TypeError, ValueError) as error:
        said = str(error)
    assert said is None or any(name in said for name in fields)


def test_embed_request() -> None:
    assert EmbedRequest(texts=["a"]).texts == ("a",)  # type: ignore[arg-type]
    for texts in ("a", [1], None, {"a": 1}):
        with pytest.raises(TypeError):
            EmbedRequest(texts=texts)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="dimensions"):
        EmbedRequest(texts=("a",), dimensions=0)
    with pytest.raises(UnsupportedParameter):
        EmbedRequest(texts=("a",)).replace(text="b")


class TestControl:
    def test_callbacks_run_once(self) -> None:
        control = Control()
        heard: list[str] = []
        control.on_cancel(lambda: heard.append("a"))
        forget = control.on_cancel(lambda: heard.append("b"))
        forget()
        control.cancel()
        control.cancel()
        control.on_cancel(lambda: heard.append("late"))
        assert heard == ["a", "late"]

    def test_one_that_fails_keeps_no_other_from_hearing(self, caplog: pytest.LogCaptureFixture) -> None:
        control = Control()
        heard: list[str] = []
        control.on_cancel(lambda: 1 / 0)
        control.on_cancel(lambda: heard.append("b"))
        control.cancel()
        assert heard == ["b"]
        assert "on_cancel failed" in caplog.text

    def test_from_many_threads(self) -> None:
        control = Control()
        heard: list[int] = []

        def register_and_cancel(number: int) -> None:
            control.on_cancel(lambda: heard.append(number))
            control.cancel()

        threads = [threading.Thread(target=register_and_cancel, args=(number,)) for number in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(heard) == list(range(16))
