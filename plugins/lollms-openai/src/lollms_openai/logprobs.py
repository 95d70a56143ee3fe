"""Log probabilities, in the forms in which servers give them.

Chat completions have a list of records
(https://platform.openai.com/docs/api-reference/chat/object); plain ones, and Together's chat, parallel lists
(https://platform.openai.com/docs/api-reference/completions/object,
https://docs.together.ai/docs/inference/chat/logprobs), where llama-server has the former again; a stream of
Together's has the number alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from lollms_core import TokenLogprob

__all__ = ["token_logprobs"]


def token_logprobs(found: Any, text: str, top: int) -> Iterator[TokenLogprob]:
    """The tokens of a ``logprobs``; what is none of its forms gives none.

    Args:
        found: the value.
        text: the text that came with it.
        top: how many alternatives were asked for.
    """
    number = _number(found)
    if number is not None and text:
        yield TokenLogprob(text, number)
    if not isinstance(found, Mapping):
        return
    content = found.get("content")
    if isinstance(content, list):
        for item in content:
            token = _token(item, top)
            if token is not None:
                yield token
        return
    tokens, numbers, tops = (_list(found.get(name)) for name in ("tokens", "token_logprobs", "top_logprobs"))
    for place, (token, own) in enumerate(zip(tokens, numbers, strict=False)):
        number = _number(own)
        if isinstance(token, str) and number is not None:
            likely = tops[place] if place < len(tops) else None
            pairs = likely.items() if isinstance(likely, Mapping) else ()
            yield TokenLogprob(token, number, _best(pairs, top))


def _token(item: Any, top: int) -> TokenLogprob | None:
    if not isinstance(item, Mapping):
        return None
    token, number = item.get("token"), _number(item.get("logprob"))
    if not isinstance(token, str) or number is None:
        return None
    likely = [one for one in _list(item.get("top_logprobs")) if isinstance(one, Mapping)]
    pairs = ((one.get("token"), one.get("logprob")) for one in likely)
    return TokenLogprob(token, number, _best(pairs, top), _bytes(item.get("bytes"), token))


def _best(pairs: Iterable[tuple[Any, Any]], top: int) -> tuple[tuple[str, float], ...]:
    """The `top` likeliest; servers give more than was asked for, the sampled token for one."""
    known = [
        (token, number) for token, value in pairs if isinstance(token, str) and (number := _number(value)) is not None
    ]
    return tuple(sorted(known, key=lambda pair: -pair[1])[:top])


def _bytes(found: Any, token: str) -> bytes | None:
    """The bytes of a token that is no whole character."""
    try:
        data = bytes(found) if isinstance(found, list) else None
    except (TypeError, ValueError):
        return None
    return None if data is None or data == token.encode("utf-8", "surrogatepass") else data


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _list(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else ()
