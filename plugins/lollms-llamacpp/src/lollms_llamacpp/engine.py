"""One loaded model and what computes on it: one generation at a time, and one batch of texts to embed beside it.

The weights are loaded once. Generations share one context, embeddings another that is made when first
needed; each context has its :class:`~lollms_llamacpp.turns.Turns`. Tokenizing needs no turn.
"""

from __future__ import annotations

import atexit
import logging
import math
import threading
import weakref
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any, cast

from lollms_core import (
    BadRequest,
    CapabilityNotSupported,
    ContextOverflow,
    EmbedRequest,
    Event,
    Finish,
    GenerationRequest,
    ImageError,
    UnsupportedParameter,
)
from lollms_llamacpp.answer import Answer
from lollms_llamacpp.conversation import Conversations
from lollms_llamacpp.cpus import MAX_THREADS
from lollms_llamacpp.embedder import Embedder, EmbeddingJob
from lollms_llamacpp.image_prompt import place_images, with_pieces
from lollms_llamacpp.model_file import ModelFile
from lollms_llamacpp.native import Context, Model
from lollms_llamacpp.options import DEFAULT_CONTEXT, LoadOptions
from lollms_llamacpp.prompt import Prompter, to_utf8
from lollms_llamacpp.reading import AnswerReader, Showing
from lollms_llamacpp.sampling import DEFAULT_SAMPLING, Sampling, check_biases
from lollms_llamacpp.turns import Turns
from lollms_llamacpp.vision import ImageContext, Projector, projector_file

__all__ = ["Engine"]

_log = logging.getLogger(__name__)


class Engine:
    """A model in memory.

    Args:
        name: the name that the model is known by.
        file: the model's file.
        options: how to load it.
        chat_template: used in place of the file's own.
        mmproj: a projector, by which the model sees images.
        go_on: asked during the loading; False ends it.

    Raises:
        BackendUnavailable: no llama.cpp.
        BackendError: the file is none, or llama.cpp cannot load it.
        ValueError: the model cannot have so large a context.
    """

    def __init__(
        self,
        name: str,
        file: ModelFile,
        options: LoadOptions,
        *,
        chat_template: str | None = None,
        mmproj: Path | None = None,
        go_on: Callable[[], bool] | None = None,
    ) -> None:
        file.check(tokens=True)
        projector = None if mmproj is None else projector_file(mmproj)
        self.name = name
        self.file = file
        self.options = options
        self.ctx_size = _context_size(file, options.ctx_size)
        self.sampling_defaults = _sampling_defaults(file)
        self._model = Model(file.path, options, vocabulary_only=file.vocabulary_only, go_on=go_on)
        source = chat_template or file.chat_template
        self._conversations = Conversations(name, self._model, Prompter(self._model), source)
        self._context: Context | None = None
        self._embedder: Embedder | None = None
        self._projector: Projector | None = None
        self._projector_size = 0
        try:
            if file.embeds:
                self._embedder = Embedder(self._model, file, options, min(self.ctx_size, file.trained_context or 1))
            if file.generates:
                self._context = Context(self._model, options, self.ctx_size)
                if projector is not None:
                    self._projector = Projector(projector.path, self._model, options)
                    self._projector_size = projector.size
        except BaseException:
            if self._context is not None:
                self._context.close()
            self._model.close()
            raise
        self._closing = threading.Lock()
        self._open_parts = 2
        self._turns = Turns(self._generations_ended)
        self._embedding_turns = Turns(self._embeddings_ended)
        _engines.add(self)

    @property
    def size(self) -> int:
        """Bytes of the weights, the projector's with them."""
        return self.file.size + self._projector_size

    @property
    def sees(self) -> bool:
        """Whether it takes images."""
        return self._projector is not None and self._projector.sees

    # The vocabulary -------------------------------------------------------------------------------------

    @property
    def n_vocab(self) -> int:
        """The number of tokens that the model knows."""
        return self._model.n_vocab

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        """See :meth:`LlamaCppBinding.tokenize`."""
        data = to_utf8(text)
        with self._model as model:
            return model.tokenize(data, add_special=add_special, parse_special=parse_special)

    def detokenize(self, tokens: Sequence[int]) -> str:
        """See :meth:`LlamaCppBinding.detokenize`."""
        with self._model as model:
            data = b"".join(model.piece(token, special=True) for token in tokens)
        # SentencePiece vocabularies put a space before the text and take it away again.
        if self._adds_space and data[:1] == b" ":
            data = data[1:]
        return data.decode("utf-8", "replace")

    @property
    def _adds_space(self) -> bool:
        sentencepiece = self.file.header.text("tokenizer.ggml.model") in {"llama", "t5"}
        return self.file.header.flag("tokenizer.ggml.add_space_prefix", sentencepiece)

    # Generating -----------------------------------------------------------------------------------------

    def generate(self, request: GenerationRequest) -> Generator[Event, None, None]:
        """The events of one answer. It ends at once, without Finish, when the request is cancelled.

        Raises:
            ClosedError: the engine is closed; nothing has been done.
            ContextOverflow, BadRequest: the prompt doesn't fit, or is none.
            ImageError: an image cannot be read.
            BackendError: llama.cpp failed.
        """
        if self._context is None:
            raise CapabilityNotSupported(f"the model {self.name!r} cannot generate text")
        context = self._context
        try:
            self.check(request)
            messages, images, places = place_images(request)
            plan = self._conversations.plan(request, messages, places)
        except (CapabilityNotSupported, ImageError):
            raise
        except ValueError as error:
            raise BadRequest(str(error)) from error
        prompt = plan.tokens
        if images:
            if self._projector is None:
                raise CapabilityNotSupported(f"the model {self.name!r} has no projector (mmproj), so it sees no images")
            pieces = with_pieces(prompt, [self._projector.pieces(image) for image in images])
            seeing = ImageContext(context, self._projector, pieces)
            prompt, context = seeing.prompt, cast("Context", seeing)
        ctx_size = request.ctx_size or self.ctx_size
        if not prompt:
            raise BadRequest("the prompt is empty: there is nothing that the model could continue")
        if len(prompt) >= ctx_size:
            raise ContextOverflow(
                f"the prompt has {len(prompt)} tokens, and the context of {ctx_size} must hold it and the answer",
                prompt_tokens=len(prompt),
                ctx_size=ctx_size,
            )
        # With a grammar no token without text is ever taken.
        showing = plan.shown and plan.grammar is None
        job = Answer(
            cast("Model", Showing(self._model, plan.shown)) if showing else self._model,
            context,
            prompt,
            request,
            Sampling.of(request, self.sampling_defaults, n_vocab=self.n_vocab, n_ctx=self.ctx_size),
            most=min(request.n_predict or ctx_size, ctx_size - len(prompt)),
            threads=(
                request.n_threads or self.options.n_threads,
                request.options.get("n_threads_batch") or request.n_threads or self.options.n_threads_batch,
            ),
            model_name=self.name,
            grammar=plan.grammar,
        )
        return self._read(job, request, plan.reader)

    def _read(self, job: Answer, request: GenerationRequest, reader: AnswerReader) -> Generator[Event, None, None]:
        turns = self._turns
        turns.join(job)
        forget: Callable[[], object] = _nothing
        try:
            forget = request.on_cancel(lambda: turns.leave(job))
            while not request.cancelled:
                turns.advance(job)
                while job.output and not request.cancelled:
                    yield from reader.feed(job.output.popleft())
                if job.error is not None:
                    raise job.error
                if job.over:
                    break
            if job.stopped and not job.finished and not request.cancelled:
                # Not the caller has ended it, but a change of the model.
                yield from reader.feed(Finish("cancelled", model=self.name))
        finally:
            forget()
            turns.leave(job)

    def check(self, request: GenerationRequest) -> None:
        """Whether this model can honour the parameters, as far as that can be told without work.

        Raises:
            ValueError: it can't; the text names the parameter.
            CapabilityNotSupported: its chat template has no place for what is asked.
        """
        if request.ctx_size is not None and request.ctx_size > self.ctx_size:
            raise ValueError(
                f"ctx_size is {request.ctx_size}, but {self.name!r} was loaded with a context of {self.ctx_size} "
                "tokens; give the larger ctx_size to the constructor"
            )
        if request.n_threads is not None and request.n_threads > MAX_THREADS:
            raise ValueError(f"n_threads must be at most {MAX_THREADS}, not {request.n_threads}")
        check_biases(request.logit_bias, self.n_vocab)
        self._conversations.check(request)

    # Embedding ------------------------------------------------------------------------------------------

    def embed(self, request: EmbedRequest) -> list[list[float]]:
        """The vectors of the texts, in their order.

        Raises:
            ClosedError: the engine is closed; nothing has been done.
            ContextOverflow: a text doesn't fit.
            BadRequest: a text is empty.
            BackendError: llama.cpp failed, or the request was cancelled.
        """
        if self._embedder is None:
            raise CapabilityNotSupported(f"the model {self.name!r} cannot embed")
        size = self.file.output_length
        if request.dimensions not in {None, size}:
            raise UnsupportedParameter(f"dimensions is {request.dimensions}; the model {self.name!r} has only {size}")
        try:
            tokens = self._embedder.tokens(request.texts)
        except ValueError as error:
            raise BadRequest(str(error)) from error
        threads = request.options.get("n_threads_batch") or self.options.n_threads_batch
        job = EmbeddingJob(self._embedder, tokens, threads)
        turns = self._embedding_turns
        turns.join(job)
        forget: Callable[[], object] = _nothing
        try:
            forget = request.on_cancel(lambda: turns.leave(job))
            while not job.over:
                turns.advance(job)
        finally:
            forget()
            turns.leave(job)
        return job.result()

    # Ending ---------------------------------------------------------------------------------------------

    @property
    def closed(self) -> bool:
        """Whether no request is taken any more."""
        return self._turns.closed

    def retire(self) -> None:
        """Free everything as soon as the requests that run have ended."""
        self._turns.retire()
        self._embedding_turns.retire()

    def close(self, patience: float = math.inf) -> None:
        """End what runs, at most `patience` seconds long, and free everything."""
        self._turns.close(patience)
        self._embedding_turns.close(patience)

    def _generations_ended(self) -> None:
        if self._context is not None:
            self._context.close()
        self._close_part()

    def _embeddings_ended(self) -> None:
        if self._embedder is not None:
            self._embedder.close()
        self._close_part()

    def _close_part(self) -> None:
        with self._closing:
            self._open_parts -= 1
            last = not self._open_parts
        if last:
            if self._projector is not None:
                self._projector.close()
            self._model.close()


def _nothing() -> None:
    """Stands for taking back a registration that was never made."""


def _context_size(file: ModelFile, asked: int | None) -> int:
    trained = file.trained_context
    if trained is None:  # only where there are no weights
        return asked or DEFAULT_CONTEXT
    if asked is None:
        return min(trained, DEFAULT_CONTEXT)
    if asked > trained:
        if not any(key.startswith(f"{file.architecture}.rope.") for key in file.header.metadata):
            raise ValueError(f"ctx_size is {asked}, but the positions of {file.path.name} end at {trained}")
        _log.warning("ctx_size is %d, but %s was trained for %d tokens of context", asked, file.path.name, trained)
    return asked


def _sampling_defaults(file: ModelFile) -> dict[str, float]:
    """llama.cpp's defaults, replaced by those that the model's file recommends and that make sense."""
    defaults = dict(DEFAULT_SAMPLING)
    for name, value in file.sampling.items():
        recommended: dict[str, Any] = {name: value}
        try:
            GenerationRequest(prompt="", **recommended)
        except (TypeError, ValueError) as error:
            _log.warning("%s recommends sampling that cannot be: %s", file.path.name, error)
        else:
            defaults[name] = value
    return defaults


_engines: weakref.WeakSet[Engine] = weakref.WeakSet()


def _close_all() -> None:
    # A thread that still computes while the interpreter goes would read memory that is freed under it.
    for engine in list(_engines):
        engine.close(patience=5.0)


atexit.register(_close_all)
