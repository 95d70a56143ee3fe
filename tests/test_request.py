"""Requests: checked once, then frozen."""

from __future__ import annotations

import dataclasses
import os
import threading
from collections.abc import Iterable
from decimal import Decimal
from fractions import Fraction
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from samples import AsyncEvents, Events

from lollms_core.capabilities import Capability
from lollms_core.control import Control
from lollms_core.errors import InvalidOutput, UnsupportedParameter
from lollms_core.messages import Image
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


class Hostile:
    """Whatever is asked of it, it raises."""

    def _fail(self, *_: object) -> Any:
        raise RuntimeError("never")

    __repr__ = __str__ = __bool__ = __len__ = __iter__ = __getitem__ = __eq__ = __index__ = __float__ = __call__ = _fail
    __hash__ = object.__hash__

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """For hypothesis, which prints what fails."""
        printer.text(type(self).__name__)


class HostileMapping(dict[str, Any]):
    """A dict that cannot be read."""

    def __iter__(self) -> Any:
        raise RuntimeError("never")

    keys = items = values = get = __iter__  # type: ignore[assignment]
    _repr_pretty_ = Hostile._repr_pretty_


def endless() -> Any:
    """A list that contains itself."""
    inside: list[Any] = []
    inside.append(inside)
    return inside


PLAIN = st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5) | st.binary(max_size=5)
ODDITIES: list[Any] = [
    *(10**400, Fraction(1, 3), Decimal("NaN"), Decimal("1e999999"), 1j, "\ud800", "low", "required"),
    *(object(), int, len, lambda: 1, range(3), {1, 2}, b"x", Hostile(), HostileMapping(a=1), endless(), iter("ab")),
    *(MappingProxyType({}), Control(), Tool("f"), {"type": "object"}, {"type": "function"}, Image(b"x", "y")),
    *(
        [{"role": "user", "content": "x"}],
        [{"role": ["user"], "content": "x"}],
        [{"role": "user", "content": [{}]}],
    ),
]
VALUES = st.recursive(
    PLAIN | st.sampled_from(ODDITIES),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=4,
)
KEYWORDS = st.dictionaries(st.sampled_from(sorted(REQUEST_FIELDS)), VALUES, max_size=4)
many = settings(
    max_examples=1000 if os.environ.get("LOLLMS_FAULTS") else 150,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)


def is_clear(said: str, names: Iterable[str]) -> bool:
    """One sentence of reasonable length that names what it is about."""
    return any(name in said for name in names) and "\n" not in said and len(said) < 700


@pytest.mark.faults
@many
@given(KEYWORDS)
def test_any_values_give_a_request_or_a_clear_error(fields: dict[str, Any]) -> None:
    """Whatever their type, and whatever their own methods raise."""
    said = None
    try:
        request = GenerationRequest(prompt="x", **fields)
    except (TypeError, ValueError) as error:
        said = str(error)
    else:
        for name in GenerationRequest.__dataclass_fields__:
            with pytest.raises(dataclasses.FrozenInstanceError):
                setattr(request, name, None)
        for value in (request.metadata, request.backend_options, request.options):
            assert isinstance(value, MappingProxyType)
        same = request.replace()
        assert all(
            getattr(same, name) is getattr(request, name) or name in ("messages", "tool_choice")
            for name in GenerationRequest.__dataclass_fields__
        )
    assert said is None or is_clear(said, fields), said


@pytest.mark.faults
@many
@given(st.sampled_from(sorted(set(GenerationRequest.__dataclass_fields__) - {"control"})), VALUES)
def test_replace_keeps_what_a_request_promises(name: str, value: Any) -> None:
    """The same checks, the same switch, and the first request stays as it was."""
    request = GenerationRequest(prompt="x", temperature=0.5)
    said = None
    try:
        changed = request.replace(**{name: value})
    except (TypeError, ValueError) as error:
        said = str(error)
    else:
        assert changed.control is request.control
        assert (changed.prompt is None) != (changed.messages is None)
    assert said is None or is_clear(said, [name, "prompt"]), said
    assert (request.prompt, request.temperature) == ("x", 0.5)


class Wide(Events):
    """Can do all that a request may ask for."""

    capabilities = frozenset(Capability)
    image_urls = True
    _aevents = AsyncEvents._aevents


@pytest.mark.faults
@many
@given(KEYWORDS)
def test_any_keywords_of_chat_give_an_answer_or_a_clear_error(fields: dict[str, Any]) -> None:
    """Misuse is a TypeError or ValueError before the backend is asked; what it asks of the answer may not be met."""
    binding = Wide()
    said = None
    try:
        binding.chat("x", **{**fields, "deadline": None})
    except InvalidOutput:
        assert "response_format" in fields or "tool_choice" in fields
    except (TypeError, ValueError) as error:
        said = str(error)
        assert binding.requests == []
    assert said is None or is_clear(said, [*fields, "image", "tool"]), said


@pytest.mark.faults
@many
@given(VALUES, VALUES, VALUES, VALUES)
def test_any_embed_request_or_a_clear_error(texts: Any, model: Any, dimensions: Any, options: Any) -> None:
    said = None
    try:
        EmbedRequest(texts=texts, model=model, dimensions=dimensions, options=options)
    except (TypeError, ValueError) as error:
        said = str(error)
    assert said is None or is_clear(said, ["texts", "text to embed", "model", "dimensions", "options"]), said


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"temperature": 10**400}, "temperature must be a finite number, not one too large for a float"),
        ({"n_predict": -(10**5000)}, "n_predict must be at least 1, not a value of type int"),
        ({"top_k": "9" * 1000}, "top_k must be a whole number, not '" + "9" * 99 + "..."),
        ({"temperature": Hostile()}, "temperature: never"),
        ({"stream": Hostile()}, "stream must be True or False, not a value of type Hostile"),
        ({"metadata": HostileMapping(a=1)}, "metadata: never"),
    ],
)
def test_odd_values_are_told_in_one_sentence(fields: dict[str, Any], said: str) -> None:
    with pytest.raises((TypeError, ValueError)) as caught:
        GenerationRequest(prompt="x", **fields)
    assert str(caught.value) == said


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
