"""Log probabilities of tokens, as the model gives them before any sampling."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Final

from lollms_core import TokenLogprob
from lollms_llamacpp.context import Context
from lollms_llamacpp.native import Model

__all__ = ["Logprobs"]

_LOWEST: Final = -9999.0  # of what cannot be at all, as OpenAI has it: JSON has no minus infinity


class Logprobs:
    """Computes the log probabilities of tokens, and holds them back as long as their text.

    They are the logarithms of the softmax over the whole vocabulary of the model's own logits: temperature, top_k,
    penalties, biases and grammars make no difference. llama-server's ``n_probs`` are the same where its
    ``post_sampling_probs`` is false, the default
    (https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md).

    Args:
        model: its vocabulary.
        top: how many of the most likely tokens to give with each.
    """

    def __init__(self, model: Model, top: int) -> None:
        import numpy as np

        self._np = np
        self._model = model
        self._top = min(top, model.n_vocab)
        self._waiting: deque[tuple[int, int, TokenLogprob]] = deque()

    def of(self, context: Context, index: int, token: int) -> TokenLogprob:
        """That of `token`, by the logits after the batch's token `index`."""
        return self._of(self._np.frombuffer(context.logits(index), dtype=self._np.float32), token)

    def add(self, found: TokenLogprob, begin: int, end: int) -> None:
        """Hold `found` back, whose text are the answer's characters `begin` to `end`."""
        self._waiting.append((begin, end, found))

    def ready(self, given_out: int) -> Iterator[TokenLogprob]:
        """Those whose text is among the first `given_out` characters, which the reader has; each once."""
        while self._waiting and self._waiting[0][1] <= given_out:
            yield self._waiting.popleft()[2]

    def rest(self, given_out: int) -> Iterator[TokenLogprob]:
        """After the last text: those of which at least the beginning is in it."""
        while self._waiting and self._waiting[0][0] < given_out:
            yield self._waiting.popleft()[2]
        self._waiting.clear()

    def _of(self, logits: object, token: int) -> TokenLogprob:
        np = self._np
        values = np.asarray(logits, dtype=np.float64)
        highest = values.max()
        total = highest + np.log(np.exp(values - highest).sum())
        best: tuple[int, ...] = ()
        if self._top:
            among = np.argpartition(-values, self._top - 1)[: self._top]
            best = tuple(among[np.lexsort((among, -values[among]))].tolist())
        piece = self._model.piece(token, special=True)
        text, whole = _text(piece)
        return TokenLogprob(
            text,
            max(_LOWEST, float(values[token] - total)),
            tuple(
                (_text(self._model.piece(one, special=True))[0], max(_LOWEST, float(values[one] - total)))
                for one in best
            ),
            None if whole else piece,
        )


def _text(piece: bytes) -> tuple[str, bool]:
    """A token's bytes as text, and whether they are whole characters."""
    try:
        return piece.decode(), True
    except UnicodeDecodeError:
        return piece.decode("utf-8", "replace"), False
