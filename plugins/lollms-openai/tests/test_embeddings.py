"""Texts to vectors: batches, order, sizes, both encodings."""

from __future__ import annotations

import base64
import struct
from collections.abc import Callable
from typing import Any

import pytest
from openai_wire import Loopback, Reply, http

from lollms_core import CapabilityNotSupported, ProtocolError
from lollms_openai import OpenAIBinding
from lollms_openai.presets import groq

Bind = Callable[..., OpenAIBinding]
Ask = Callable[..., Any]
PATH = "/v1/embeddings"


def vectors(seen: Any, *, encoded: bool = False) -> Reply:
    """Each text's length and a constant, the last text first."""
    data: list[dict[str, Any]] = []
    for index, text in enumerate(seen.body["input"]):
        vector: Any = [float(len(text)), 0.5]
        if encoded:
            vector = base64.b64encode(struct.pack("<2f", *vector)).decode()
        data.insert(0, {"object": "embedding", "index": index, "embedding": vector})
    return Reply(http({"object": "list", "data": data, "usage": {"prompt_tokens": 1, "total_tokens": 1}}))


@pytest.mark.parametrize("encoded", [False, True])
def test_order_is_kept_over_batches(server: Loopback, bind: Bind, ask: Ask, encoded: bool) -> None:
    server.answer = lambda seen: vectors(seen, encoded=encoded)
    binding = bind(embed_batch_size=2)
    texts = ["a", "bb", "ccc", "dddd", "eeeee"]
    assert ask(binding, "embed", texts) == [[float(len(text)), 0.5] for text in texts]
    assert [body["input"] for body in server.bodies(PATH)] == [["a", "bb"], ["ccc", "dddd"], ["eeeee"]]
    assert ask(binding, "embed", "abc") == [3.0, 0.5]
    assert ask(binding, "embed", []) == []
    assert len(server.seen) == 4


def test_model_and_dimensions(server: Loopback, bind: Bind, ask: Ask) -> None:
    server.answer = vectors
    ask(bind(), "embed", "x", model="other", dimensions=2)
    assert server.bodies(PATH) == [{"model": "other", "input": ["x"], "dimensions": 2}]
    with pytest.raises(ProtocolError, match="2 numbers where 3"):
        ask(bind(), "embed", "x", dimensions=3)


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"data": []},
        {"data": [{"index": 0, "embedding": [1.0]}]},
        {"data": [{"index": 0, "embedding": [1.0]}, {"index": 0, "embedding": [1.0]}]},
        {"data": [{"index": 0, "embedding": [1.0]}, {"index": 1, "embedding": [1.0, 2.0]}]},
        {"data": [{"index": 0, "embedding": [1.0]}, {"index": 1, "embedding": []}]},
        {"data": [{"index": 0, "embedding": [1.0]}, {"index": 1, "embedding": ["x"]}]},
        {"data": [{"index": 0, "embedding": "AAAA"}, {"index": 1, "embedding": "AAAA"}]},
        {"data": [{"index": 0, "embedding": "!"}, {"index": 1, "embedding": "!"}]},
        {"data": ["x", "y"]},
    ],
)
def test_answers_that_do_not_fit(server: Loopback, bind: Bind, ask: Ask, answer: Any) -> None:
    server.on(PATH, http(answer))
    with pytest.raises(ProtocolError, match=r"127\.0\.0\.1.*'m1'"):
        ask(bind(), "embed", ["a", "b"])


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (
            "501 Not Implemented",
            {"code": 501, "message": "This server does not support embeddings.", "type": "not_supported_error"},
        ),
        ("500 Oops", {"message": "Llama model must be created with embedding=True to call this method"}),
        ("403 Forbidden", {"message": "You are not allowed to generate embeddings from this model"}),
        ("400 Bad Request", {"message": "The model does not support Embeddings API", "code": 400}),
    ],
)
def test_a_model_that_cannot_embed(server: Loopback, bind: Bind, ask: Ask, status: str, error: dict[str, Any]) -> None:
    server.on(PATH, http({"error": error}, status))
    with pytest.raises(CapabilityNotSupported, match=r"127\.0\.0\.1.*'m1' cannot embed"):
        ask(bind(retries=2), "embed", "x")
    assert len(server.seen) == 1


def test_a_vector_for_each_token_is_not_one_for_the_text(server: Loopback, bind: Bind, ask: Ask) -> None:
    server.on(PATH, http({"data": [{"index": 0, "embedding": [[1.0], [2.0]]}]}))
    with pytest.raises(CapabilityNotSupported, match="for each token"):
        ask(bind(), "embed", "x")


def test_a_service_without_embeddings(bind: Bind, ask: Ask) -> None:
    with pytest.raises(CapabilityNotSupported):
        ask(bind(groq, host_address=None), "embed", "x")


def test_misuse(bind: Bind, ask: Ask) -> None:
    for bad in (3, None, [3], b"x"):
        with pytest.raises(TypeError):
            ask(bind(), "embed", bad)
    with pytest.raises(TypeError, match="dimensons"):
        ask(bind(), "embed", "x", dimensons=3)
    with pytest.raises(ValueError, match="at least 1"):
        ask(bind(), "embed", "x", embed_batch_size=0)
