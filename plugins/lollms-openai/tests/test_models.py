"""The models of a server: listing, choosing, loading, and what is known of them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
from openai_wire import Loopback, Reply, completion, http

from lollms_core import BackendError, Capability, CapabilityNotSupported, ModelNotFound
from lollms_openai import OpenAIBinding
from lollms_openai.models import chosen
from lollms_openai.preset import OPENAI
from lollms_openai.presets import llamaserver, lmstudio, vllm
from lollms_openai.server import Server

Bind = Callable[..., OpenAIBinding]
Ask = Callable[..., Any]

LLAMA = {
    "models": [{"name": "smollm2", "model": "smollm2"}],
    "object": "list",
    "data": [
        {
            "id": "smollm2",
            "object": "model",
            "created": 1700000000,
            "owned_by": "llamacpp",
            "meta": {"vocab_type": 2, "n_vocab": 49152, "n_ctx_train": 8192, "n_params": 134515008, "size": 96576768},
        }
    ],
}
PROPS = {
    "default_generation_settings": {"n_ctx": 2048},
    "total_slots": 1,
    "modalities": {"vision": False, "audio": False},
}
VLLM = {"object": "list", "data": [{"id": "org/model", "object": "model", "owned_by": "vllm", "max_model_len": 4096}]}
LM_STUDIO = {
    "data": [
        {"id": "old-llm", "type": "llm", "state": "not-loaded", "max_context_length": 4096},
        {
            "id": "seeing",
            "type": "vlm",
            "state": "loaded",
            "max_context_length": 32768,
            "loaded_context_length": 8192,
        },
        {"id": "nomic", "type": "embeddings", "state": "loaded", "max_context_length": 2048},
    ]
}


def test_what_llama_server_says(server: Loopback, bind: Bind) -> None:
    server.on("/v1/models", http(LLAMA))
    server.on("/props", http(PROPS))
    binding = bind(llamaserver, model_name=None)
    assert binding.listModels() == [
        {
            "model_name": "smollm2",
            "ctx_size": 8192,
            "created": 1700000000,
            "owned_by": "llamacpp",
            "n_params": 134515008,
            "size": 96576768,
        }
    ]
    info = binding.get_model_info()
    assert (info["model_name"], info["ctx_size"], info["loaded"]) == ("smollm2", 2048, True)
    assert info["host_address"] == server.url
    assert "vision" not in info["supports"]
    assert "embed" in info["supports"]


def test_what_lm_studio_says(server: Loopback, bind: Bind) -> None:
    server.on("/api/v0/models", http(LM_STUDIO))
    binding = bind(lmstudio, model_name=None)
    info = binding.get_model_info()
    assert (info["model_name"], info["ctx_size"], info["loaded"]) == ("seeing", 8192, True)
    assert Capability.VISION in binding.capabilities_of("seeing")
    assert Capability.VISION not in binding.capabilities_of("old-llm")
    assert binding.capabilities_of("nomic") >= {Capability.EMBED}
    with pytest.raises(CapabilityNotSupported, match="nomic"):
        binding.chat("x", model="nomic")
    with pytest.raises(CapabilityNotSupported, match="seeing"):
        binding.embed("x", model="seeing")
    server.on("/v1/embeddings", http({"data": [{"index": 0, "embedding": [1.0]}]}))
    assert binding.embed("x") == [1.0]
    assert server.bodies("/v1/embeddings")[0]["model"] == "nomic"


def test_an_lm_studio_without_its_own_page(server: Loopback, bind: Bind) -> None:
    server.on("/api/v0/models", http({"error": "Unexpected endpoint or method. (GET /api/v0/models)"}))
    server.on("/v1/models", http({"data": [{"id": "one"}]}))
    assert bind(lmstudio).listModels() == [{"model_name": "one"}]


def test_what_vllm_says(server: Loopback, bind: Bind) -> None:
    server.on("/v1/models", http(VLLM))
    info = bind(vllm, model_name="org/model").get_model_info()
    assert (info["loaded"], info["ctx_size"]) == (True, 4096)


def test_together_answers_with_a_bare_list(server: Loopback, bind: Bind) -> None:
    server.on("/v1/models", http([{"id": "b"}, {"id": "a", "context_length": 7}, {"no": "id"}, 3]))
    assert bind().listModels() == [{"model_name": "a", "ctx_size": 7}, {"model_name": "b"}]


def test_an_unreachable_server_has_some_info_all_the_same(bind: Bind) -> None:
    info = bind(host_address="http://127.0.0.1:1/v1", temperature=0.5).get_model_info()
    assert (info["binding_name"], info["model_name"], info["loaded"]) == ("openai", "m1", False)
    assert info["parameters"]["temperature"] == 0.5
    assert "cannot be reached" in info["error"]


def test_without_a_model_named_the_newest_is_taken_once(server: Loopback, bind: Bind, ask: Ask) -> None:
    server.on("/v1/models", http({"data": [{"id": "old", "created": 1}, {"id": "new", "created": 2}]}))
    server.on("/v1/chat/completions", http(completion()))
    binding = bind(model_name=None)
    for _ in range(2):
        ask(binding, "chat", "x")
    assert [seen.path for seen in server.seen].count("/v1/models") == 1
    assert [body["model"] for body in server.bodies()] == ["new", "new"]


def test_a_server_without_a_list_is_asked_without_a_name(server: Loopback, bind: Bind, ask: Ask) -> None:
    server.on("/v1/chat/completions", http(completion()))
    assert ask(bind(model_name=None), "chat", "x").model == "m1"
    assert "model" not in server.bodies()[0]


def test_an_empty_list_is_an_error(server: Loopback, bind: Bind, ask: Ask) -> None:
    server.on("/v1/models", http({"data": []}))
    with pytest.raises(ModelNotFound, match="lists no model"):
        ask(bind(model_name=None), "chat", "x")


def test_what_was_chosen_is_forgotten_when_it_is_gone(server: Loopback, bind: Bind, ask: Ask) -> None:
    server.on("/v1/models", http({"data": [{"id": "a"}]}), http({"data": [{"id": "b"}]}))
    server.on("/v1/chat/completions", http({"error": "model not found"}, "404 Not Found"), http(completion()))
    binding = bind(model_name=None)
    with pytest.raises(ModelNotFound):
        ask(binding, "chat", "x")
    ask(binding, "chat", "x")
    assert [body["model"] for body in server.bodies()] == ["a", "b"]


def test_load_model(server: Loopback, bind: Bind, caplog: pytest.LogCaptureFixture) -> None:
    server.on("/v1/models", http({"data": [{"id": "gpt-small"}, {"id": "llama3:latest"}]}))
    binding = bind()
    assert binding.load_model("gpt-small")
    assert binding.load_model("llama3")
    assert (binding.model_name, binding.last_error) == ("llama3", None)
    with caplog.at_level(logging.WARNING):
        assert not binding.load_model("gpt-smal")
    assert binding.model_name == "llama3"
    assert "does not list the model 'gpt-smal'. Did you mean gpt-small?" in (binding.last_error or "")
    assert str(binding.last_error) in caplog.text
    with pytest.raises(TypeError):
        binding.load_model(3)  # type: ignore[arg-type]


def test_a_failing_list_is_an_error(server: Loopback, bind: Bind) -> None:
    server.on("/v1/models", Reply(http("", "500 Oops")))
    with pytest.raises(BackendError):
        bind().listModels()
    assert not bind().load_model("m1")


@pytest.mark.parametrize(("to_embed", "expected"), [(False, "gpt-5.1"), (True, "text-embedding-3-large")])
def test_of_openais_own_only_those_that_fit_are_chosen(to_embed: bool, expected: str) -> None:
    names = ["gpt-4o", "gpt-5.1", "text-embedding-3-large", "gpt-audio", "sora-2", "gpt-4o-realtime", "davinci-002"]
    created = {"gpt-4o": 1, "gpt-5.1": 2, "text-embedding-3-large": 3}
    models = [{"model_name": name, "created": created.get(name, 9)} for name in names if name != "gpt-audio"]
    assert chosen(models, Server(OPENAI, OPENAI.base_url, "openai"), to_embed=to_embed) == expected


def test_openais_own_models_are_known_by_name() -> None:
    with OpenAIBinding(service_key="k") as binding:
        assert Capability.EMBED not in binding.capabilities_of("gpt-4o")
        assert Capability.VISION in binding.capabilities_of("gpt-4o")
        assert Capability.VISION not in binding.capabilities_of("gpt-3.5-turbo")
        assert Capability.CHAT not in binding.capabilities_of("text-embedding-3-small")
        with pytest.raises(CapabilityNotSupported, match=r"api\.openai\.com.*gpt-4o"):
            binding.embed("x", model="gpt-4o")
