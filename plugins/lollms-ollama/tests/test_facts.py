"""What a server says of its models is read as what the binding can do with them."""

from __future__ import annotations

from typing import Any

import pytest
from ollama_wire import SHOW, TAGS

from lollms_core import Capability
from lollms_ollama.facts import CAPABILITIES, ModelFacts, Version, in_memory, listed, loaded_entry, newest, same_model

TEXT = {Capability.TEXT, Capability.CHAT, Capability.STREAM, Capability.JSON_SCHEMA, Capability.LOGPROBS}
BASE = {Capability.EMBED, Capability.TOKENIZE, Capability.PULL, Capability.ASYNC}


def facts(*, version: Version | None = None, **changes: Any) -> ModelFacts:
    answer = {**SHOW, **changes}
    known = {name: value for name, value in answer.items() if value is not None}
    return ModelFacts("m", known, version=version)


def model_info(**changes: Any) -> dict[str, Any]:
    return {**SHOW["model_info"], **{name.replace("__", "."): value for name, value in changes.items()}}


def test_told_capabilities() -> None:
    assert facts().capabilities == TEXT | BASE
    everything = facts(capabilities=["completion", "tools", "vision", "thinking", "insert"])
    assert everything.capabilities == CAPABILITIES
    assert facts(capabilities=["embedding"]).capabilities == BASE
    assert facts(capabilities=["image"]).capabilities == BASE
    assert facts(capabilities=[]).capabilities == TEXT | BASE


def test_capabilities_that_older_servers_do_not_tell() -> None:
    assert facts(capabilities=None).capabilities == TEXT | BASE
    assert Capability.VISION in facts(capabilities=None, projector_info={"general.architecture": "clip"}).capabilities
    assert Capability.VISION in facts(capabilities=None, model_info=model_info(llama__vision__x=1)).capabilities
    bert = facts(
        capabilities=None, model_info=model_info(general__architecture="nomic-bert", tokenizer__ggml__model="bert")
    )
    assert bert.capabilities == {Capability.EMBED, Capability.PULL, Capability.ASYNC}
    assert not bert.writes


@pytest.mark.parametrize(
    ("version", "lacks"),
    [
        ((0, 2, 9), {Capability.TOOLS, Capability.JSON_SCHEMA, Capability.LOGPROBS}),
        ((0, 5, 4), {Capability.LOGPROBS}),
        ((0, 12, 10), {Capability.LOGPROBS}),
        ((0, 12, 11), set()),
        ((1, 0, 0), set()),
        (None, set()),
    ],
)
def test_what_older_servers_ignore_without_a_word(version: Any, lacks: set[Capability]) -> None:
    found = facts(version=version, capabilities=None, template="{{ if .Tools }}{{ .Tools }}{{ end }}").capabilities
    assert {Capability.TOOLS, Capability.JSON_SCHEMA, Capability.LOGPROBS} - found == lacks


@pytest.mark.parametrize(
    ("template", "tools"),
    [("{{ $.Tools }}", True), ("{{range .Tools}}", True), ("{{ .ToolsX }}", False), ("Tools", False), (None, False)],
)
def test_tools_by_the_template_of_older_servers(template: Any, tools: bool) -> None:
    assert (Capability.TOOLS in facts(capabilities=None, template=template).capabilities) is tools
    # The server's own word counts where it gives one.
    assert Capability.TOOLS not in facts(template=template).capabilities


def test_filling_in() -> None:
    assert facts(capabilities=["completion", "insert"]).fills_in
    assert not facts(template="{{ .Suffix }}").fills_in
    assert facts(capabilities=None, template="{{ .Suffix }}").fills_in
    assert not facts(capabilities=None).fills_in


THINKS: dict[str, Any] = {"capabilities": ["completion", "thinking"]}
GPT_OSS = {**THINKS, "model_info": {"general.architecture": "gptoss"}}


@pytest.mark.parametrize(
    ("show", "wanted", "sent"),
    [
        (THINKS, None, None),
        (THINKS, True, True),
        (THINKS, False, False),
        (THINKS, "low", True),  # has no levels
        (GPT_OSS, "low", "low"),
        (GPT_OSS, True, True),
        ({**THINKS, "thinking": {"values": ["low", "high"]}}, "high", "high"),
        ({**THINKS, "thinking": {"values": ["low", "high"]}}, "medium", True),
        ({**THINKS, "thinking": {"values": [True, False]}}, "high", True),
        ({**THINKS, "thinking": {"values": [False]}}, False, None),
        ({}, False, None),  # does not think anyway
        ({"capabilities": None}, False, None),  # an old server would ignore it
    ],
)
def test_what_is_sent_as_think(show: dict[str, Any], wanted: Any, sent: Any) -> None:
    assert facts(**show).think(wanted) == sent


def test_a_model_whose_only_way_is_not_to_think() -> None:
    assert Capability.REASONING not in facts(**THINKS, thinking={"values": [False]}).capabilities
    assert Capability.REASONING in facts(**THINKS, thinking={"values": [False, True]}).capabilities


def test_in_memory() -> None:
    """docs/openapi.yaml, PsResponse."""
    entry = {
        "name": "gemma4",
        "model": "gemma4",
        "size": 6591830464,
        "digest": "c6eb",
        "expires_at": "2025-10-17T16:47:07.93355-07:00",
        "size_vram": 5333539264,
        "context_length": 4096,
    }
    for_ever = {"name": "old:latest", "expires_at": "2318-02-03T10:00:00.123456789Z"}
    assert in_memory({"models": [entry, for_ever]}, 1_760_000_000.0) == [
        {
            "model_name": "gemma4",
            "size": 6591830464,
            "expires_at": "2025-10-17T16:47:07.93355-07:00",
            "size_vram": 5333539264,
            "digest": "c6eb",
            "ctx_size": 4096,
        },
        {"model_name": "old:latest", "size": None, "expires_at": None, "size_vram": None, "digest": None},
    ]
    assert in_memory({"models": None}, 0.0) == []


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
