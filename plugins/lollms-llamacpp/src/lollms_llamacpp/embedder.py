"""Vectors of texts, computed on a context of their own."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Sequence
from typing import Final

from lollms_core import BackendError, BadRequest, ContextOverflow
from lollms_llamacpp.model_file import POOLING_NONE, ModelFile
from lollms_llamacpp.native import ABORTED, Context, Model, StopFlag
from lollms_llamacpp.options import LoadOptions
from lollms_llamacpp.prompt import to_utf8

__all__ = ["Embedder", "EmbeddingJob"]

_POOLING_MEAN: Final = 1  # llama.h, enum llama_pooling_type
_POOLING_OF_MODEL: Final = -1
_SMALLEST: Final = 512


class Embedder:
    """The embedding side of a model.

    A text's vector is the mean of its tokens' vectors, unless the model's file names another pooling; it is
    scaled to length 1, so that the product of two is their cosine.

    Args:
        model: the model.
        file: its file.
        options: as for the model.
        most: tokens that a text may have.
    """

    def __init__(self, model: Model, file: ModelFile, options: LoadOptions, most: int) -> None:
        self._model, self._options, self._most = model, options, most
        self._size = file.output_length or 0
        self._pooling = _POOLING_MEAN if file.pooling in {None, POOLING_NONE} else _POOLING_OF_MODEL
        self._context: Context | None = None
        self._room = 0

    def tokens(self, texts: Sequence[str]) -> list[list[int]]:
        """The tokens of each text, with those that the model wants at both ends.

        Raises:
            BadRequest: a text is empty.
            ContextOverflow: a text is too long.
            ValueError: a text is no valid Unicode.
        """
        found = []
        for index, text in enumerate(texts):
            with self._model as model:
                tokens = model.tokenize(to_utf8(text), add_special=True)
            if not tokens:
                raise BadRequest(f"text {index} is empty: there is nothing to embed")
            if len(tokens) > self._most:
                raise ContextOverflow(
                    f"text {index} has {len(tokens)} tokens; at most {self._most} can be embedded at once",
                    prompt_tokens=len(tokens),
                    ctx_size=self._most,
                )
            found.append(tokens)
        return found

    def embed(self, tokens: Sequence[int], flag: StopFlag, n_threads: int) -> list[float] | None:
        """The vector of one text; None if `flag` ended it.

        Raises:
            BackendError: llama.cpp failed.
        """
        context = self._context_for(len(tokens))
        context.start(flag, n_threads, n_threads)
        code = context.decode((ctypes.c_int32 * len(tokens))(*tokens), 0, len(tokens))
        if code == ABORTED:
            return None
        if code:
            raise BackendError(f"llama.cpp cannot compute the embedding (llama_decode returned {code})")
        vector = context.embedding(self._size)
        length = math.sqrt(sum(one * one for one in vector)) if vector else 0.0
        if not vector or not math.isfinite(length) or length == 0:
            raise BackendError("llama.cpp gave no usable vector for this text")
        return [one / length for one in vector]

    def close(self) -> None:
        """Free the context."""
        if self._context is not None:
            self._context.close()

    def _context_for(self, n_tokens: int) -> Context:
        """A context that holds `n_tokens`; its size doubles as needed, since the memory grows with its square."""
        if self._context is None or n_tokens > self._room:
            self.close()
            self._context, self._room = None, 0
            room = _SMALLEST
            while room < n_tokens:
                room *= 2
            room = min(room, self._most)
            self._context = Context(self._model, self._options, room, pooling=self._pooling)
            self._room = room
        return self._context


class EmbeddingJob:
    """Some texts to embed: a :class:`~lollms_llamacpp.turns.Job`, one text a step."""

    has_output = False  # everything comes at the end

    def __init__(self, embedder: Embedder, texts: Sequence[Sequence[int]], n_threads: int) -> None:
        self._embedder, self._texts, self._n_threads = embedder, texts, n_threads
        self._vectors: list[list[float]] = []
        self._flag = StopFlag()
        self._error: Exception | None = None
        self._stopped = False

    @property
    def over(self) -> bool:
        return self._stopped or self._error is not None or len(self._vectors) == len(self._texts)

    def step(self) -> None:
        vector = self._embedder.embed(self._texts[len(self._vectors)], self._flag, self._n_threads)
        if vector is None:
            self._stopped = True
        else:
            self._vectors.append(vector)

    def stop(self) -> None:
        if not self.over:
            self._stopped = True
            self._flag.set()

    def fail(self, error: Exception) -> None:
        self._error = error

    def free(self) -> None:
        """Nothing is held beyond the step."""

    def result(self) -> list[list[float]]:
        """The vectors.

        Raises:
            BackendError: it failed, or was ended before the end.
        """
        if self._error is not None:
            raise self._error
        if len(self._vectors) < len(self._texts):
            raise BackendError("the embedding was cancelled")
        return self._vectors
