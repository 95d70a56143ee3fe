"""`-o key=value`: each key finds its place, each value its declared type."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal, TypedDict

import click
import pytest

from lollms_core.binding import LollmsLLMBinding
from lollms_core.cli.values import Rest, Sorted, constructor_keywords, convert, sort_options, split_pairs
from lollms_core.errors import UnsupportedParameter
from lollms_core.request import REQUEST_FIELDS

MAPPINGS = {"logit_bias", "metadata", "backend_options"}


class Eight(LollmsLLMBinding):
    """Eight methods, nothing more; subclasses differ in what they declare."""

    def generate_text(self, prompt: str, **others: Any) -> str:  # type: ignore[override]
        return prompt

    def tokenize(self, text: str) -> list[Any]:
        return []

    def detokenize(self, tokens: list[Any]) -> str:
        return ""

    def count_tokens(self, text: str) -> int:
        return 0

    def embed(self, text: str | list[str], **kwargs: Any) -> list[Any]:
        return []

    def get_model_info(self) -> dict[str, Any]:
        return {}

    def listModels(self) -> list[Any]:
        return []

    def load_model(self, model_name: str) -> bool:
        return True


class Options(TypedDict, total=False):
    mirostat: int
    grammar: str | None


class Rich(Eight):
    """Declares options and spells its constructor out."""

    options = Options

    def __init__(self, model_path: Path | None = None, n_gpu_layers: int = 0, ctx_size: int = 512, **defaults: Any):
        super().__init__("rich", ctx_size=ctx_size, **defaults)


class Closed(Eight):
    """A constructor that takes just these."""

    def __init__(self, model_identifier: str, ratio: float = 1.0) -> None:
        super().__init__(binding_name="closed")


class Open(Eight):
    """A constructor of its author's own, with names that only he knows."""

    def __init__(self, **anything: Any) -> None:
        super().__init__(binding_name="open")


class Unresolvable(Eight):
    """An annotation that can't be evaluated says nothing about the type; the name still counts."""

    def __init__(self, depth: NoSuchName = 1) -> None:  # type: ignore[name-defined]  # noqa: F821
        super().__init__()


@pytest.mark.parametrize(
    ("hint", "text", "value"),
    [
        (int, "7", 7),
        (int, "-1", -1),
        (float, "0.2", 0.2),
        (float, "1", 1.0),
        (str, "7", "7"),
        (str, "a=b", "a=b"),
        (bool, "true", True),
        (bool, "Off", False),
        (bool, "0", False),
        (int | None, "3", 3),
        (int | None, "none", None),
        (str | None, "3", "3"),
        (bool | int | None, "true", True),
        (bool | int | None, "1", 1),
        (bool | str | None, "low", "low"),
        (bool | str | None, "false", False),
        (float | None, "1e-3", 0.001),
        (Literal["a", "b"], "b", "b"),
        (Literal[1, 2], "2", 2),
        (Path, "/x/y", Path("/x/y")),
        (Path | None, "/x", Path("/x")),
        (tuple[str, ...] | None, "END", ["END"]),
        (tuple[str, ...] | None, '["A", "B"]', ["A", "B"]),
        (list[float], "0.5", [0.5]),
        (dict[str, Any], '{"a": 1}', {"a": 1}),
        (Any, "12", 12),
        (Any, "plain text", "plain text"),
        (Any, '{"type": "object"}', {"type": "object"}),
    ],
)
def test_a_value_takes_its_declared_type(hint: Any, text: str, value: Any) -> None:
    converted = convert("key", text, hint)
    assert converted == value
    assert type(converted) is type(value)


def test_nan_is_a_float_for_the_request_to_refuse() -> None:
    """Ranges are the request's business, so that they are checked in one place."""
    assert math.isnan(convert("temperature", "nan", float | None))


@pytest.mark.parametrize(
    ("hint", "text", "expected"),
    [
        (int, "seven", "must be a whole number"),
        (int | None, "1.5", "must be a whole number"),
        (float, "hot", "must be a number"),
        (bool, "maybe", "must be true or false"),
        (Literal["a", "b"], "c", "must be one of a, b"),
        (dict[str, int], "[1]", "must be a JSON object"),
        (int | bool, "x", "must be a whole number or true or false"),
    ],
)
def test_a_value_of_another_type_is_refused_with_its_key(hint: Any, text: str, expected: str) -> None:
    with pytest.raises(click.UsageError) as caught:
        convert("key", text, hint)
    assert caught.value.message.startswith(f"-o key={text}: key ")
    assert expected in caught.value.message


def test_pairs_split_at_the_first_equals_sign() -> None:
    assert split_pairs(["temperature=0.2", "grammar=a=b", "n-predict=3", "stop="]) == [
        ("temperature", "0.2"),
        ("grammar", "a=b"),
        ("n_predict", "3"),
        ("stop", ""),
    ]


@pytest.mark.parametrize("pair", ["temperature", "=1", ""])
def test_a_pair_without_key_or_sign_is_refused(pair: str) -> None:
    with pytest.raises(click.UsageError, match="KEY=VALUE"):
        split_pairs([pair])


@pytest.mark.parametrize(("key", "instead"), [("model", "-m"), ("system_prompt", "-s"), ("stream", "--no-stream")])
def test_a_key_that_has_an_option_of_its_own_says_so(key: str, instead: str) -> None:
    with pytest.raises(click.UsageError, match=f"use {instead}"):
        split_pairs([f"{key}=x"])


def test_keys_go_where_they_are_declared() -> None:
    """The constructor's own names first, then the request's fields, then the binding's options."""
    pairs = split_pairs(
        ["model_path=/m.gguf", "n_gpu_layers=2", "ctx_size=99", "temperature=0.5", "mirostat=1", "grammar=none"]
    )
    assert sort_options(Rich, pairs) == Sorted(
        construct={"model_path": Path("/m.gguf"), "n_gpu_layers": 2, "ctx_size": 99},
        parameters={"temperature": 0.5, "mirostat": 1, "grammar": None},
        as_defaults=True,
    )


def test_every_request_field_can_be_given() -> None:
    """Each field either has an option of its own or is found by its name."""
    for field in REQUEST_FIELDS - {"model", "images", "system_prompt", "stream"}:
        sorted_out = sort_options(Closed, [(field, "{}" if field in MAPPINGS else "1")])
        assert (sorted_out.construct, list(sorted_out.parameters)) == ({}, [field])
        assert not sorted_out.as_defaults


def test_the_common_names_go_to_the_constructor() -> None:
    found = sort_options(Eight, split_pairs(["host_address=http://localhost:1", "verify_ssl_certificate=no"]))
    assert found.construct == {"host_address": "http://localhost:1", "verify_ssl_certificate": False}
    assert found.parameters == {}


def test_a_repeated_list_grows_and_a_repeated_value_is_replaced() -> None:
    found = sort_options(Eight, split_pairs(["stop=A", "stop=B", "seed=1", "seed=2"]))
    assert found.parameters == {"stop": ["A", "B"], "seed": 2}


@pytest.mark.parametrize(
    ("cls", "key", "close"),
    [
        (Rich, "tempratur", "temperature"),
        (Closed, "model_identifer", "model_identifier"),
        (Eight, "top_kk", "top_k"),
        (Eight, "max_tokens", "n_predict"),
    ],
)
def test_an_unknown_key_is_refused_with_close_names(cls: type[LollmsLLMBinding], key: str, close: str) -> None:
    if cls is Rich:  # its constructor takes more, and hands it to the contract's, which refuses
        found = sort_options(cls, [(key, "1")])
        with pytest.raises(UnsupportedParameter, match=close):
            cls(**found.construct)
        return
    with pytest.raises(UnsupportedParameter, match=rf"no option '{key}'.*Did you mean .*{close}"):
        sort_options(cls, [(key, "1")])


def test_a_constructor_of_any_names_gets_them() -> None:
    assert sort_options(Open, [("whatever", "3")]) == Sorted({"whatever": 3}, {}, as_defaults=True)


def test_keywords_are_followed_to_the_parents() -> None:
    class Child(Rich):
        def __init__(self, extra: str = "", **others: Any) -> None:
            super().__init__(**others)

    keywords, rest = constructor_keywords(Child)
    assert {"extra", "model_path", "n_gpu_layers", "ctx_size", "service_key"} <= keywords.keys()
    assert "binding_name" not in keywords
    assert rest == Rest(defaults=True, anything=True)


def test_a_hint_that_cannot_be_resolved_leaves_the_name() -> None:
    assert sort_options(Unresolvable, [("depth", "3")]) == Sorted({"depth": 3}, {}, as_defaults=False)
