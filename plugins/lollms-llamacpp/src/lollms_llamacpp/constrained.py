"""Sampling within a grammar: what the model would say anyway is taken if the grammar lets it pass.

Asking the grammar about every token of the vocabulary takes some milliseconds (5 at 49,000 tokens), about one token
some microseconds. So a token is sampled as if there were no grammar; only when the grammar refuses it, the
whole vocabulary is filtered and sampled from again. llama.cpp's own programs do the same (common_sampler_sample in
https://github.com/ggml-org/llama.cpp/blob/master/common/sampling.cpp).
"""

from __future__ import annotations

import codecs
import time
from typing import Any, Final

from lollms_core import BackendError
from lollms_llamacpp.context import Context
from lollms_llamacpp.native import Model
from lollms_llamacpp.samplers import Grammar, Sampler

__all__ = ["ConstrainedSampler"]

_LONGEST: Final = 1.0
"""Seconds of computing for one question to the grammar. It takes some milliseconds, unless the grammar can be read
in so many ways at once that the next token, or the one after, would take minutes and all memory."""


class ConstrainedSampler:
    """Samples tokens that a grammar allows.

    Tokens without text, and those that would make bytes that are no UTF-8, are never taken: the text that the caller
    gets is the one that the grammar has seen. Tokens that end the generation are taken where the grammar may end.

    Args:
        model: its vocabulary.
        sampler: how tokens are chosen; it accepts those that are taken, and only those.
        grammar: GBNF with the root ``root``.

    Raises:
        ValueError: llama.cpp refuses the grammar.
    """

    def __init__(self, model: Model, sampler: Sampler, grammar: str) -> None:
        import numpy as np

        self._np = np
        self._model = model
        self._sampler = sampler
        self._grammar = Grammar(model, grammar)
        self._ends = frozenset(model.ends)
        self._refused = model.without_text - self._ends
        n_vocab = model.n_vocab
        self._ids = np.arange(n_vocab, dtype=np.int32)
        self._speaks = np.ones(n_vocab, dtype=bool)
        self._speaks[list(self._refused)] = False
        # llama.h, struct llama_token_data
        self._row = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])
        self._all = np.empty(n_vocab, dtype=self._row)
        self._utf8 = codecs.getincrementaldecoder("utf-8")("strict")

    def sample(self, context: Context, index: int) -> int | None:
        """The next token after the batch's token `index`, accepted; None if there is no token for the grammar's end.

        Raises:
            BackendError: no token of the vocabulary can go on, or the grammar is too ambiguous to follow.
        """
        logits = self._np.frombuffer(context.logits(index), dtype=self._np.float32)
        self._all["id"], self._all["logit"], self._all["p"] = self._ids, logits, 0
        token = self._sampler.choose(self._all.ctypes.data, len(self._all))
        if not self._fits(token):
            allowed = self._allowed(logits)
            while True:
                if not len(allowed):
                    if self.complete:
                        return None
                    raise BackendError("no token of the model's vocabulary can go on as the grammar demands")
                candidates = allowed.copy()  # samplers change them
                token = self._sampler.choose(candidates.ctypes.data, len(candidates))
                if self._fits(token):
                    break
                allowed = allowed[allowed["id"] != token]
        self._take(token)
        return token

    @property
    def complete(self) -> bool:
        """Whether the answer may end here."""
        return any(self._grammar.allows(token) for token in self._ends) if self._ends else True

    def only_end(self) -> bool:
        """Whether the answer is complete and cannot go on."""
        if not self._ends or not self.complete:
            return False
        flat = self._np.zeros(len(self._all), dtype=self._np.float32)
        return all(int(token) in self._ends for token in self._allowed(flat)["id"])

    def close(self) -> None:
        self._grammar.close()

    def _allowed(self, logits: Any) -> Any:
        """The candidates that the grammar lets pass."""
        rows = self._np.empty(int(self._speaks.sum()), dtype=self._row)
        rows["id"], rows["logit"], rows["p"] = self._ids[self._speaks], logits[self._speaks], 0
        with _Watch():
            self._grammar.mask(rows.ctypes.data, len(rows))
        return rows[rows["logit"] > -self._np.inf]

    def _fits(self, token: int) -> bool:
        if token in self._refused:
            return False
        if token not in self._ends:
            piece = self._model.piece(token, special=False)
            # llama.cpp reads no further than to a NUL.
            if not piece or b"\0" in piece or not self._is_utf8(piece):
                return False
        with _Watch():
            return self._grammar.allows(token)

    def _is_utf8(self, piece: bytes) -> bool:
        state = self._utf8.getstate()
        try:
            self._utf8.decode(piece)
        except UnicodeDecodeError:
            return False
        finally:
            self._utf8.setstate(state)
        return True

    def _take(self, token: int) -> None:
        if token not in self._ends:
            self._utf8.decode(self._model.piece(token, special=False))
        self._sampler.accept(token)
        with _Watch():
            self._grammar.accept(token)


class _Watch:
    """Ends an answer whose grammar costs too much, as it doubles from token to token, before it costs everything.

    Raises:
        BackendError: at the end of the block, if that took too long.
    """

    def __enter__(self) -> None:
        # This thread's own time: on a busy machine the clock on the wall says nothing about the grammar.
        self._begun = time.thread_time()

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None and time.thread_time() - self._begun > _LONGEST:
            raise BackendError(
                "the answer's schema or grammar is too ambiguous to be followed: it has alternatives that begin alike "
                "and contain themselves"
            )
