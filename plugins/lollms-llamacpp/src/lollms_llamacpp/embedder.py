"""Vectors of texts, computed on a context of their own, so that they disturb no answer."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from lollms_core import BackendError, BadRequest, ContextOverflow
from lollms_llamacpp.context import ABORTED, Context
from lollms_llamacpp.model_file import POOLING_NONE, ModelFile
from lollms_llamacpp.native import ClosedError, Model, StopFlag
from lollms_llamacpp.options import LoadOptions
from lollms_llamacpp.prompt import to_utf8

__all__ = ["Embedder", "Wish"]

_POOLINGS: Final = {"mean": 1, "cls": 2, "last": 3}  # llama.h, enum llama_pooling_type
_POOLING_OF_MODEL: Final = -1
_SMALLEST: Final = 512
_MOST_TEXTS: Final = 32


class Wish:
    """What a request for vectors still wants: :meth:`cancel` ends it, from any thread."""

    def __init__(self) -> None:
        self.cancelled = False
        self._flag: StopFlag | None = None

    def cancel(self) -> None:
        """It is wanted no more."""
        self.cancelled = True
        flag = self._flag
        if flag is not None:
            flag.set()

    def begins(self, flag: StopFlag) -> None:
        """From now on `flag` ends what is computed for it."""
        flag.clear()
        self._flag = flag
        if self.cancelled:
            flag.set()

    def ends(self) -> None:
        """What was computed is done."""
        self._flag = None


class Embedder:
    """The embedding side of a model. Requests of several threads take turns, one batch of texts at a time.

    A text's vector is the mean of its tokens' vectors, unless the options or the model's file name another pooling;
    it is scaled to length 1, so that the product of two is their cosine.

    Args:
        model: the model.
        file: its file.
        options: as for the model.
        most: tokens that a text may have.
        on_closed: called once, when nothing will be computed any more and the context is freed.
    """

    def __init__(
        self,
        model: Model,
        file: ModelFile,
        options: LoadOptions,
        most: int,
        on_closed: Callable[[], object],
    ) -> None:
        self._model, self._options, self._most = model, options, most
        self._size = file.output_length or 0
        unnamed = file.pooling in {None, POOLING_NONE}
        wanted = options.pooling or ("mean" if unnamed else None)
        self._pooling = _POOLING_OF_MODEL if wanted is None else _POOLINGS[wanted]
        self._turn = threading.Lock()
        self._context: Context | None = None
        self._room = 0
        self._changed = threading.Condition()
        self._wishes: set[Wish] = set()
        self._on_closed = on_closed
        self._retired = self._freed = False

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

    def embed(self, texts: Sequence[Sequence[int]], wish: Wish, n_threads: int) -> list[list[float]]:
        """The vector of each text, in their order.

        Raises:
            ClosedError: the embedder is closed, and nothing has been done.
            BackendError: llama.cpp failed, or `wish` was cancelled.
        """
        with self._changed:
            if self._retired:
                raise ClosedError
            self._wishes.add(wish)
        vectors: list[list[float]] = []
        try:
            for batch in self._batches(texts):
                # Taken anew for each batch, so that a request of one text needn't wait for one of a thousand.
                with self._turn:
                    vectors += self._embed(batch, wish, n_threads)
        finally:
            with self._changed:
                self._wishes.discard(wish)
                self._close_if_idle()
        return vectors

    @property
    def closed(self) -> bool:
        """Whether no text is taken any more."""
        return self._retired

    def retire(self) -> None:
        """Free the memory as soon as the requests that run have ended."""
        with self._changed:
            self._retired = True
            self._close_if_idle()

    def close(self, patience: float = math.inf) -> None:
        """End what runs and free the memory; returns when that is done, or after `patience` seconds."""
        with self._changed:
            self._retired = True
            for wish in self._wishes:
                wish.cancel()
            self._close_if_idle()
            self._changed.wait_for(lambda: self._freed, None if patience == math.inf else patience)

    def _close_if_idle(self) -> None:
        if self._retired and not self._wishes and not self._freed:
            self._free()
            self._freed = True
            self._changed.notify_all()
            self._on_closed()

    def _batches(self, texts: Sequence[Sequence[int]]) -> Iterator[list[Sequence[int]]]:
        """Texts that are computed together: as many as fit in the smallest context, or in that of the longest."""
        most_texts = 1 if self._model.whole_sequences else _MOST_TEXTS
        room = max(_SMALLEST, max(map(len, texts), default=0))
        batch: list[Sequence[int]] = []
        for text in texts:
            if batch and (len(batch) == most_texts or sum(map(len, batch)) + len(text) > min(room, self._most)):
                yield batch
                batch = []
            batch.append(text)
        if batch:
            yield batch

    def _embed(self, texts: Sequence[Sequence[int]], wish: Wish, n_threads: int) -> list[list[float]]:
        if wish.cancelled:
            raise BackendError("the embedding was cancelled")
        context = self._context_for(sum(map(len, texts)))
        context.forget()
        context.set_threads(n_threads, n_threads)
        context.batch.clear()
        for number, text in enumerate(texts):
            context.batch.add(text, 0, number, output=True)
        context.batch.all_outputs()
        wish.begins(context.flag)
        try:
            code = context.decode()
        finally:
            wish.ends()
        if code == ABORTED or wish.cancelled:
            raise BackendError("the embedding was cancelled")
        if code:
            raise BackendError(f"llama.cpp cannot compute the embedding (llama_decode returned {code})")
        return [self._vector(context, number) for number in range(len(texts))]

    def _vector(self, context: Context, number: int) -> list[float]:
        vector = context.embedding(number, self._size)
        length = math.sqrt(sum(one * one for one in vector)) if vector else 0.0
        if not vector or not math.isfinite(length) or length == 0:
            raise BackendError("llama.cpp gave no usable vector for this text")
        return [one / length for one in vector]

    def _context_for(self, n_tokens: int) -> Context:
        """A context that holds `n_tokens`; its size doubles as needed, since the memory grows with its square."""
        if self._context is None or n_tokens > self._room:
            self._free()
            room = _SMALLEST
            while room < n_tokens:
                room *= 2
            room = min(room, self._most)
            n_sequences = 1 if self._model.whole_sequences else _MOST_TEXTS
            self._context = Context(self._model, self._options, room, n_sequences=n_sequences, pooling=self._pooling)
            self._room = room
        return self._context

    def _free(self) -> None:
        if self._context is not None:
            self._context.close()
        self._context, self._room = None, 0
