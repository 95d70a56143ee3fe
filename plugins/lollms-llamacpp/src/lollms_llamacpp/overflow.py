"""What goes where a prompt is longer than the context: the oldest tokens after the system prompt."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["shifted"]


def shifted(tokens: Sequence[int], keep: int, ctx_size: int, n_predict: int | None) -> list[int]:
    """`tokens` without as many after the first `keep` as are needed for an answer to fit.

    Args:
        tokens: more than fit.
        keep: how many stay at the beginning; fewer than `ctx_size` - 1.
        ctx_size: tokens that prompt and answer may have together.
        n_predict: tokens that the answer needs; None for a quarter of the context.
    """
    wanted = ctx_size // 4 if n_predict is None else n_predict
    # Of what may go at least half stays: an answer to nothing is worth less than a short one.
    room = max(1, min(wanted, (ctx_size - keep) // 2))
    rest = max(1, ctx_size - keep - room)
    return [*tokens[:keep], *tokens[-rest:]]
