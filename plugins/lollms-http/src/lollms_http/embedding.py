"""Many texts for their vectors, without I/O: in several requests, some at once, and checked."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from lollms_core import EmbedRequest, ProtocolError
from lollms_http.call import Call
from lollms_http.options import DEFAULT_EMBED_BATCH_SIZE, DEFAULT_EMBED_CONCURRENCY
from lollms_http.steps import Several, Steps

__all__ = ["checked", "embedded"]


def embedded(
    request: EmbedRequest, call_for: Callable[[Sequence[str]], Call], vectors: Callable[[Any], Any], who: str
) -> Steps[list[list[float]]]:
    """One vector for each text of `request`, in their order.

    Args:
        request: its options may have ``embed_batch_size`` and ``embed_concurrency``.
        call_for: the call for the vectors of some texts.
        vectors: those in the answer to such a call.
        who: binding and host, for messages.

    Raises:
        ProtocolError: they are not as many, or not of one size.
        LollmsError: a request failed.
    """
    texts = request.texts
    size = request.options.get("embed_batch_size", DEFAULT_EMBED_BATCH_SIZE)
    batches = [texts[start : start + size] for start in range(0, len(texts), size)]
    found = yield Several(
        tuple(call_for(batch) for batch in batches),
        lambda place, answer: checked(vectors(answer), len(batches[place]), who),
        request.options.get("embed_concurrency", DEFAULT_EMBED_CONCURRENCY),
    )
    if len({len(batch[0]) for batch in found}) > 1:
        raise ProtocolError(f"{who} sent vectors of different size")
    return [vector for batch in found for vector in batch]


def checked(found: Any, count: int, who: str) -> list[list[float]]:
    """`found`, if that is one vector for each of `count` texts.

    Raises:
        ProtocolError: their number is another, or they are no vectors of one size.
    """
    if not isinstance(found, list) or len(found) != count:
        got = len(found) if isinstance(found, list) else "no"
        raise ProtocolError(f"{who} answered {count} texts with {got} vectors")
    size = len(found[0]) if found and isinstance(found[0], list) else 0
    for vector in found:
        if not isinstance(vector, list) or len(vector) != size or not size:
            raise ProtocolError(f"{who} sent vectors of different or no size")
        if not all(type(x) is float or type(x) is int for x in vector) or not all(map(math.isfinite, vector)):
            raise ProtocolError(f"{who} sent a vector with something else than numbers")
    return [[float(x) for x in vector] for vector in found]
