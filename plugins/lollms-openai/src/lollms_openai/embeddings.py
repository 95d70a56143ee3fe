"""Texts to vectors, as an operation: in batches, in order, of one size."""

from __future__ import annotations

import base64
import binascii
import sys
from array import array
from collections.abc import Mapping
from typing import Any

from lollms_core import CapabilityNotSupported, EmbedRequest, ProtocolError
from lollms_openai.bodies import embedding_body
from lollms_openai.exchange import Ask, Operation, json_of, policy_of
from lollms_openai.server import Server

__all__ = ["embeddings"]


def embeddings(request: EmbedRequest, server: Server, model: str | None, idle: float) -> Operation[list[list[float]]]:
    """One vector for each of the request's texts.

    Raises:
        CapabilityNotSupported: the model has none to give, or one for each token instead of one for the text.
        ProtocolError: the server's answer does not fit the question.
        LollmsError: whatever else went wrong.
    """
    size = request.options.get("embed_batch_size", 256)
    policy = policy_of(request.options)
    connect = float(request.options.get("connect_timeout", 10.0))
    who = server.who
    vectors: list[list[float]] = []
    for start in range(0, len(request.texts), size):
        texts = request.texts[start : start + size]
        body = embedding_body(request, texts, server.preset, model)
        ask = Ask("POST", "embeddings", body, idle=idle, connect=connect, model=model)
        who = ask.who(server)
        found = yield from json_of(ask, server, policy)
        vectors += _in_order(found, len(texts), who)
    wanted = request.dimensions or len(vectors[0])
    for vector in vectors:
        if len(vector) != wanted:
            raise ProtocolError(f"{who} gave a vector of {len(vector)} numbers where {wanted} were to be expected")
    return vectors


def _in_order(found: Any, count: int, who: str) -> list[list[float]]:
    items = found.get("data") if isinstance(found, Mapping) else None
    if not isinstance(items, list) or not all(isinstance(item, Mapping) for item in items):
        raise ProtocolError(f"{who} answered the question for vectors with something else")
    by_index = {item.get("index", place): item for place, item in enumerate(items)}
    if len(items) != count or by_index.keys() != set(range(count)):
        raise ProtocolError(f"{who} answered {count} texts with {len(items)} vectors, or numbered them wrongly")
    return [_vector(by_index[place].get("embedding"), who) for place in range(count)]


def _vector(value: Any, who: str) -> list[float]:
    if isinstance(value, str):
        return _from_base64(value, who)
    if isinstance(value, list) and value:
        if all(isinstance(number, (int, float)) for number in value):
            return [float(number) for number in value]
        if all(isinstance(row, list) for row in value):
            # A server that does not pool. To pool here would be to guess how the model is meant to be used.
            raise CapabilityNotSupported(
                f"{who} gives a vector for each token and none for the text: it is not set up for embeddings "
                "(llama-server: --embeddings --pooling mean)"
            )
    raise ProtocolError(f"{who} gave something else than a vector")


def _from_base64(value: str, who: str) -> list[float]:
    """Little-endian 32-bit floats."""
    numbers = array("f")
    try:
        numbers.frombytes(base64.b64decode(value, validate=True))
    except (binascii.Error, ValueError):
        raise ProtocolError(f"{who} gave a vector that is not base64 of 32-bit floats") from None
    if not numbers:
        raise ProtocolError(f"{who} gave an empty vector")
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tolist()
