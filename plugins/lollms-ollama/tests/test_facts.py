"""What a server says of its models is read as what the binding can do with them."""

from __future__ import annotations

from typing import Any

import pytest
from ollama_wire import SHOW, TAGS

from lollms_core import Capability
from lollms_ollama.facts import CAPABILITIES, ModelFacts, listed, loaded_entry, newest, same_model

TEXT = {Capability.TEXT, Capability.CHAT, Capability.STREAM}
BASE = {Capability.EMBED, Capability.TOKENIZE, Capability.ASYNC}


def facts(**changes: Any) -> ModelFacts:
    answer = {**SHOW, **changes}
    return ModelFacts("m", {name: value for name, value in answer.items() if value is not None})


def model_info(**changes: Any) -> dict[str, Any]:
    return {**SHOW["model_info"], **{name.replace("__", "."): value for name, value in changes.items()}}


def test_told_capabilities() -> None:
    assert facts().capabilities == TEXT | BASE
    everything = facts(capabilities=["completion", "tools", "vision", "thinking", "insert"])
    assert everything.capabilities == CAPABILITIES
    assert facts(capabilities=["embedding"]).capabilities == BASE


def test_capabilities_that_older_servers_do_not_tell() -> None:
    assert facts(capabilities=None).capabilities == TEXT | BASE
    assert Capability.VISION in facts(capabilities=None, projector_info={"general.architecture": "clip"}).capabilities
    assert Capability.VISION in facts(capabilities=None, model_info=model_info(llama__vision__x=1)).capabilities
    bert = facts(
        capabilities=None, model_info=model_info(general__architecture="nomic-bert", tokenizer__ggml__model="bert")
    )
    assert bert.capabilities == {Capability.EMBED, Capability.ASYNC}
    assert bert.only_embeds


def test_facts_of_nothing() -> None:
    nothing = ModelFacts("m", {})
    assert (nothing.architecture, nothing.trained_ctx_size, nothing.asked_ctx_size) == ("", None, None)
    odd = ModelFacts("m", {"model_info": [], "details": 1, "parameters": 2})
    assert odd.n_params is None


def test_context_sizes() -> None:
    found = facts(parameters='num_ctx                        4096\nstop                           "num_ctx 1"')
    assert (found.asked_ctx_size, found.trained_ctx_size, found.n_params) == (4096, 8192, 8030261248)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("a", "a:latest", True),
        ("A", "a:latest", True),
        ("a:1b", "a:latest", False),
        ("library/a", "a", True),
        ("registry.ollama.ai/library/a", "a", True),
        ("host:5000/a", "host:5000/a:latest", True),
    ],
)
def test_names(one: str, other: str, same: bool) -> None:
    assert same_model(one, other) is same


def test_the_newest_by_time_not_by_text() -> None:
    assert newest(TAGS) == "llama3.2:latest"
    later = {
        "models": [
            {"name": "a", "modified_at": "2025-01-01T00:00:00+02:00"},
            {"name": "b", "modified_at": "2024-12-31T23:00:00Z"},
        ]
    }
    assert newest(later) == "b"
    encoder = {"name": "e", "modified_at": "2030-01-01T00:00:00Z", "details": {"family": "bert"}}
    assert newest({"models": [*later["models"], encoder]}) == "b"
    assert newest({"models": [encoder]}) == "e"
    for nothing in ({}, {"models": None}, {"models": ["x", {}]}, {"models": "x"}):
        assert newest(nothing) is None


def test_loaded() -> None:
    assert loaded_entry(TAGS, "OLD") == TAGS["models"][0]
    assert loaded_entry(TAGS, "none") is None
    assert loaded_entry(TAGS, None) == TAGS["models"][0]


def test_listed() -> None:
    assert {model["model_name"] for model in listed(TAGS)} == {"llama3.2:latest", "old:latest"}
    assert listed({"models": [{"name": "x", "details": None}]})[0]["family"] is None
