"""Texts to vectors, as operations: in batches, in order, of one size."""

from __future__ import annotations

import base64
import binascii
import sys
from array import array
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

from lollms_core import CapabilityNotSupported, EmbedRequest, ProtocolError
from lollms_openai.bodies import embedding_body
from lollms_openai.exchange import Ask, Operation, json_of
from lollms_openai.limits import policy_of
from lollms_openai.server import Server

__all__ = ["batches", "joined"]

Vectors = list[list[float]]


def batches(request: EmbedRequest, server: Server, model: str | None) -> list[Operation[Vectors]]:
    """The operations that give one vector for each of the request's texts, some texts each, in their order.

    Each raises:
        CapabilityNotSupported: the model has none to give, or one for each token instead of one for the text.
        ProtocolError: the server's answer does not fit the question.
        LollmsError: whatever else went wrong.
    """
    size = request.options.get("embed_batch_size", 256)
    texts = request.texts
    return [_batch(request, texts[start : start + size], server, model) for start in range(0, len(texts), size)]


def _batch(request: EmbedRequest, texts: Sequence[str], server: Server, model: str | None) -> Operation[Vectors]:
    body = embedding_body(request, texts, server.preset, model)
    ask = Ask("POST", "embeddings", body, model=model)
    policy = policy_of(request.options, deadline=request.options.get("deadline"))
    found = yield from json_of(ask, server, policy)
    return _in_order(found, len(texts), ask.who(server))


def joined(parts: Sequence[Vectors], request: EmbedRequest, server: Server, model: str | None) -> Vectors:
    """The vectors of all batches.

    Raises:
        ProtocolError: they are not of one size, or not of the size that was asked for.
    """
    vectors = list(chain.from_iterable(parts))
    who = Ask("POST", "embeddings", model=model).who(server)
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
