"""Tokens: the server's, tiktoken's, or a clear no."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from openai_wire import Loopback, http

from lollms_core import BackendUnavailable, CapabilityNotSupported, ModelNotFound, ProtocolError
from lollms_openai import OpenAIBinding, tokens
from lollms_openai.presets import groq, llamaserver, vllm

Bind = Callable[..., OpenAIBinding]


def test_llama_server(server: Loopback, bind: Bind) -> None:
    server.on("/tokenize", http({"tokens": [1, 2, 3]}))
    server.on("/detokenize", http({"content": "a b"}))
    binding = bind(llamaserver)
    assert binding.tokenize("a <b>") == [1, 2, 3]
    assert binding.count_tokens("a <b>") == 3
    assert binding.detokenize([1, 2]) == "a b"
    sent = server.bodies("/tokenize")[0]
    assert (sent["content"], sent["add_special"], sent["parse_special"]) == ("a <b>", False, False)


def test_vllm(server: Loopback, bind: Bind) -> None:
    server.on("/tokenize", http({"count": 2, "max_model_len": 4096, "tokens": [7, 8], "token_strs": None}))
    server.on("/detokenize", http({"prompt": "hi"}))
    binding = bind(vllm)
    assert binding.tokenize("hi") == [7, 8]
    assert binding.detokenize([7, 8]) == "hi"
    sent = server.bodies("/tokenize")[0]
    assert (sent["prompt"], sent["model"], sent["add_special_tokens"]) == ("hi", "m1", False)
    server.on("/tokenize", http({"error": {"message": "The model `m1` does not exist.", "code": 404}}, "404 Not Found"))
    with pytest.raises(ModelNotFound):
        binding.tokenize("hi")


@pytest.mark.parametrize(
    "answer", [http("", "404 Not Found"), http("", "405 Not Allowed"), http({"error": "Unexpected"})]
)
def test_an_unknown_server_is_asked_once(server: Loopback, bind: Bind, answer: bytes) -> None:
    server.on("/tokenize", answer)
    binding = bind()
    for _ in range(2):
        with pytest.raises(CapabilityNotSupported, match=r"127\.0\.0\.1"):
            binding.tokenize("x")
    assert len(server.seen) == 1


def test_what_is_no_answer(server: Loopback, bind: Bind) -> None:
    server.on("/tokenize", http({"tokens": ["a"]}))
    server.on("/detokenize", http([1]))
    with pytest.raises(ProtocolError):
        bind().tokenize("x")
    with pytest.raises(ProtocolError):
        bind().detokenize([1])
    with pytest.raises(BackendUnavailable):
        bind(host_address="http://127.0.0.1:1").tokenize("x")


def test_misuse(bind: Bind) -> None:
    for bad in (3, None, b"x"):
        with pytest.raises(TypeError):
            bind().tokenize(bad)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="surrogate"):
        bind().tokenize("\ud800")
    for tokens_ in ("x", [1.5], [True], 3):
        with pytest.raises(TypeError):
            bind().detokenize(tokens_)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="negative"):
        bind().detokenize([-1])


def test_a_service_without_tokens(bind: Bind) -> None:
    with pytest.raises(CapabilityNotSupported, match=r"api\.groq\.com"):
        bind(groq, host_address=None).tokenize("x")


class Encoding:
    def encode(self, text: str, *, allowed_special: Any, disallowed_special: Any) -> list[int]:
        return [ord(character) for character in text]

    def decode(self, numbers: list[int]) -> str:
        if 0 in numbers:
            raise KeyError(0)
        return "".join(map(chr, numbers))


@pytest.fixture
def fake_tiktoken(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    def name_for(model: str) -> str:
        return {"gpt-4o": "o200k_base"}[model]

    fake = SimpleNamespace(encoding_name_for_model=name_for, get_encoding=lambda _: Encoding(), tries=0)
    monkeypatch.setitem(sys.modules, "tiktoken", fake)
    monkeypatch.setattr(tokens, "_loading", {})
    return fake


def test_openais_own(fake_tiktoken: SimpleNamespace) -> None:
    with OpenAIBinding(model_name="gpt-4o", service_key="k") as binding:
        assert binding.tokenize("<|im_end|>") == [ord(character) for character in "<|im_end|>"]
        assert binding.detokenize([97, 98]) == "ab"
        with pytest.raises(ValueError, match="no token"):
            binding.detokenize([0])
    with OpenAIBinding(model_name="gpt-unheard-of", service_key="k") as binding:
        with pytest.raises(CapabilityNotSupported, match="gpt-unheard-of"):
            binding.tokenize("x")


def test_tiktoken_offline(fake_tiktoken: SimpleNamespace) -> None:
    def get_encoding(_: str) -> Any:
        fake_tiktoken.tries += 1
        raise OSError("no network")

    fake_tiktoken.get_encoding = get_encoding
    with OpenAIBinding(model_name="gpt-4o", service_key="k") as binding:
        for _ in range(3):
            with pytest.raises(CapabilityNotSupported, match="cannot fetch it"):
                binding.tokenize("x")
    assert fake_tiktoken.tries == 1


def test_tiktoken_that_hangs(fake_tiktoken: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()

    def get_encoding(_: str) -> Any:
        release.wait(30)
        return Encoding()

    fake_tiktoken.get_encoding = get_encoding
    monkeypatch.setattr(tokens, "_WAIT_SECONDS", 0.01)
    with OpenAIBinding(model_name="gpt-4o", service_key="k") as binding:
        for _ in range(2):
            with pytest.raises(CapabilityNotSupported, match="network is slow"):
                binding.tokenize("x")
        release.set()
        tokens._loading["o200k_base"].join(10)
        assert binding.tokenize("a") == [97]


def test_without_tiktoken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tiktoken", None)
    with OpenAIBinding(model_name="gpt-4o", service_key="k") as binding:
        with pytest.raises(CapabilityNotSupported, match=r"pip install 'lollms-openai\[tiktoken\]'"):
            binding.tokenize("x")
