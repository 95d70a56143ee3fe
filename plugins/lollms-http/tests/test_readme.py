"""The README's binding, as it stands there, against a server on the loopback interface."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from http_examples import AcmeBinding, AcmeDialect, text_of

from lollms_core import Completion, Usage
from lollms_core.testing import Asked, FaultServer, response
from lollms_http import HttpBinding

MODELS = [{"id": "m1", "size": 7}, {"id": "m2", "size": 9}]


@pytest.fixture
def server() -> Iterator[FaultServer]:
    dialect = AcmeDialect()

    def embed(asked: Asked) -> tuple[bytes, ...]:
        return (response({"vectors": [[float(len(text)), 1.0] for text in asked.json["texts"]]}),)

    with FaultServer() as server:
        server.on("/api/chat", lambda asked: (dialect.answer(asked.body),))
        server.on("/api/embed", embed)
        server.on("/api/models", (response(MODELS),))
        yield server


@pytest.fixture
def binding(server: FaultServer) -> Iterator[HttpBinding]:
    with AcmeBinding("acme", host_address=f"{server.url}/api", model_name="m1", service_key="sk-1") as binding:
        yield binding


def is_the_answer(completion: Completion) -> bool:
    return (completion.text, completion.finish_reason, completion.usage, completion.model) == (
        "Th\u00e9 sky is \U0001f30d\u2713.",
        "stop",
        Usage(3, 4),
        "m1",
    )


def test_chat_and_streams(server: FaultServer, binding: HttpBinding) -> None:
    assert is_the_answer(binding.chat("Why?", temperature=0.5, n_predict=9, stop="END"))
    stream = binding.stream("Why?")
    assert text_of(stream) == stream.completion.text
    assert is_the_answer(stream.completion)
    whole, streamed = server.asked_at("/api/chat")
    assert whole.json == {
        "model": "m1",
        "messages": [{"role": "user", "content": "Why?"}],
        "stream": False,
        "temperature": 0.5,
        "max_tokens": 9,
        "stop": ["END"],
    }
    assert streamed.json["stream"] is True
    assert [asked.headers["authorization"] for asked in (whole, streamed)] == ["Bearer sk-1"] * 2
    assert server.connections == 1


async def test_async(server: FaultServer, binding: HttpBinding) -> None:
    answers = await asyncio.gather(*(binding.achat("Why?") for _ in range(3)))
    assert all(map(is_the_answer, answers))
    assert await binding.aembed(["a", "bbb"]) == [[1.0, 1.0], [3.0, 1.0]]
    await binding.aclose()


def test_embeddings_go_in_batches(server: FaultServer, binding: HttpBinding) -> None:
    texts = ["x" * length for length in range(1, 8)]
    assert binding.embed(texts, embed_batch_size=3) == [[float(len(text)), 1.0] for text in texts]
    assert sorted(len(asked.json["texts"]) for asked in server.asked_at("/api/embed")) == [1, 3, 3]


def test_models(server: FaultServer, binding: HttpBinding) -> None:
    assert binding.listModels() == [{"model_name": one["id"], "size": one["size"]} for one in MODELS]
    assert binding.load_model("m2")
    assert binding.model_name == "m2"
    assert not binding.load_model("m3")
    assert "m3" in str(binding.last_error)
    info: dict[str, Any] = binding.get_model_info()
    assert (info["model_name"], info["host_address"]) == ("m2", f"{server.url}/api")
