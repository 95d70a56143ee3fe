"""One loaded model and what computes on it: many answers at once, and texts to embed beside them.

The weights are loaded once. Answers share one context, which a thread of its own computes on
(:mod:`lollms_llamacpp.batching`); embeddings have another that is made when first needed. Tokenizing waits for neither.
"""

from __future__ import annotations

import atexit
import logging
import math
import os
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
    GenerationRequest,
    ImageError,
    UnsupportedParameter,
)
from lollms_core.messages import Image
from lollms_llamacpp.batching.answer import Answer, Limits
from lollms_llamacpp.batching.begun import Begun
from lollms_llamacpp.batching.images import PlacedImage, place
from lollms_llamacpp.batching.scheduler import Scheduler, n_sequences
from lollms_llamacpp.context import Context
from lollms_llamacpp.conversation import Conversations, Plan
from lollms_llamacpp.cpus import MAX_THREADS
from lollms_llamacpp.embedder import Embedder, Wish
from lollms_llamacpp.image_prompt import place_images, with_pieces
from lollms_llamacpp.lora import adapters_for
from lollms_llamacpp.model_file import ModelFile
from lollms_llamacpp.native import ClosedError, Model, StopFlag
from lollms_llamacpp.options import DEFAULT_CONTEXT, LoadOptions
from lollms_llamacpp.overflow import shifted
from lollms_llamacpp.parameters import check_cache_types
from lollms_llamacpp.prompt import Prompter, to_utf8
from lollms_llamacpp.reading import Showing
from lollms_llamacpp.sampling import DEFAULT_SAMPLING, Sampling, check_biases
from lollms_llamacpp.vision import Piece, Projector, projector_file

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
        BackendError: the file is none, or llama.cpp cannot load it; or a LoRA adapter is none, or another model's.
        ValueError: the model cannot have so large a context, or no KV cache of these types.
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
        adapters = adapters_for(file, options.lora)
        check_cache_types(file, options)
        self.name = name
        self.file = file
        self.options = options
        self.ctx_size = _context_size(file, options.ctx_size)
        self.sampling_defaults = _sampling_defaults(file)
        model = Model(file.path, options, adapters=adapters, vocabulary_only=file.vocabulary_only, go_on=go_on)
        parts = self._parts = _Parts(model)
        self._model = model
        self._adapters_size = sum(adapter.size for adapter in adapters)
        source = chat_template or file.chat_template
        self._conversations = Conversations(name, self._model, Prompter(self._model), source)
        self._projector_size = 0 if projector is None else projector.size
        self._embedder: Embedder | None = None
        try:
            self._embedder = self._make_embedder(parts)
            self._scheduler = self._make_scheduler(parts, None if projector is None else projector.path)
        except BaseException:
            parts.retire()
            if self._embedder is not None:
                self._embedder.retire()
            raise
        # The engine's thread does not keep the engine alive: one that nobody closes gives its memory back all the same.
        self._forgotten = weakref.finalize(self, _retire, self._scheduler, self._embedder, parts, wait=False)
        self._forgotten.atexit = False
        _engines.add(self)

    def _make_embedder(self, parts: _Parts) -> Embedder | None:
        if not self.file.embeds:
            return None
        most = min(self.ctx_size, self.file.trained_context or 1)
        return Embedder(parts.model, self.file, self.options, most, parts.held())

    def _make_scheduler(self, parts: _Parts, projector: Path | None) -> Scheduler | None:
        if not self.file.generates:
            return None
        options = self.options
        count = n_sequences(parts.model, options.n_parallel)
        context = Context(parts.model, options, self.ctx_size, n_sequences=count)
        try:
            if projector is not None:
                parts.projector = Projector(projector, parts.model, options)
            return Scheduler(self.name, parts.model, context, options, parts.held())
        except BaseException:
            context.close()
            raise

    @property
    def size(self) -> int:
        """Bytes of the weights, the projector's and the adapters' with them."""
        return self.file.size + self._projector_size + self._adapters_size

    @property
    def pid(self) -> int:
        """The process whose memory it is in: this one."""
        return os.getpid()

    @property
    def sees(self) -> bool:
        """Whether it takes images."""
        return self._parts.projector is not None and self._parts.projector.sees

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
            ClosedError, ContextOverflow, BadRequest, ImageError, BackendError: as :meth:`begin`.
        """
        begun = self.begin(request)
        if begun is not None:
            yield from begun.events()

    def begin(self, request: GenerationRequest, notify: Callable[[], object] | None = None) -> Begun | None:
        """An answer, begun; None if the request was cancelled before.

        Args:
            request: what is asked for.
            notify: called, from any thread, whenever there is something to read.

        Raises:
            ClosedError: the engine is closed; nothing has been done.
            ContextOverflow, BadRequest: the prompt doesn't fit, or is none.
            ImageError: an image cannot be read.
            Overloaded: too many requests wait already.
            BackendError: llama.cpp failed.
        """
        scheduler = self._scheduler
        if scheduler is None:
            raise CapabilityNotSupported(f"the model {self.name!r} cannot generate text")
        if scheduler.closed:
            raise ClosedError
        try:
            self.check(request)
            messages, images, places = place_images(request)
            plan = self._conversations.plan(request, messages, places)
            keep = self._kept_at_overflow(request, plan, places)
        except (CapabilityNotSupported, ImageError):
            raise
        except ValueError as error:
            raise BadRequest(str(error)) from error
        flag = StopFlag()
        forget = request.on_cancel(flag.set)
        try:
            prompt = self._prompt(request, plan.tokens, [self._pieces(image) for image in images], keep, flag)
        finally:
            forget()
        if prompt is None:
            return None
        answer = self._answer(request, plan, *prompt, keep=keep, notify=notify)
        scheduler.submit(answer)
        return Begun(scheduler, answer, request, plan.reader, self.name)

    def _answer(
        self,
        request: GenerationRequest,
        plan: Plan,
        tokens: list[int],
        images: list[PlacedImage],
        *,
        keep: int | None,
        notify: Callable[[], object] | None,
    ) -> Answer:
        # With a grammar no token without text is ever taken.
        showing = plan.shown and plan.grammar is None
        return Answer(
            cast("Model", Showing(self._model, plan.shown)) if showing else self._model,
            tokens,
            request,
            Sampling.of(request, self.sampling_defaults, n_vocab=self.n_vocab, n_ctx=self.ctx_size),
            limits=Limits(
                n_predict=request.n_predict,
                ctx_size=request.ctx_size or self.ctx_size,
                keep=keep,
                threads=(
                    request.n_threads or self.options.n_threads,
                    request.options.get("n_threads_batch") or request.n_threads or self.options.n_threads_batch,
                ),
            ),
            model_name=self.name,
            images=images,
            grammar=plan.grammar,
            notify=notify,
        )

    def _pieces(self, image: Image) -> list[Piece]:
        projector = self._parts.projector
        if projector is None:
            raise CapabilityNotSupported(f"the model {self.name!r} has no projector (mmproj), so it sees no images")
        return projector.pieces(image)

    def _prompt(
        self,
        request: GenerationRequest,
        tokens: list[int],
        images: Sequence[Sequence[Piece]],
        keep: int | None,
        flag: StopFlag,
    ) -> tuple[list[int], list[PlacedImage]] | None:
        """The prompt's tokens and images, if they fit; None if `flag` was raised in the meantime.

        Raises:
            BadRequest: it is empty.
            ContextOverflow: it doesn't fit.
        """
        pieces = with_pieces(tokens, images) if images else []
        n_tokens = sum(piece.n_tokens for piece in pieces) if images else len(tokens)
        ctx_size = request.ctx_size or self.ctx_size
        if not n_tokens:
            raise BadRequest("the prompt is empty: there is nothing that the model could continue")
        if n_tokens >= ctx_size:
            if keep is None or keep >= ctx_size - 1:
                raise ContextOverflow(
                    f"the prompt has {n_tokens} tokens, and the context of {ctx_size} must hold it and the answer",
                    prompt_tokens=n_tokens,
                    ctx_size=ctx_size,
                )
            tokens = shifted(tokens, keep, ctx_size, request.n_predict)
            _log.info("%d of the oldest tokens of a prompt of %d were left out", n_tokens - len(tokens), n_tokens)
        if not images:
            return tokens, []
        projector = self._parts.projector
        assert projector is not None
        vectors = []
        # Here, in the caller's thread: an image takes seconds, and those who generate needn't wait for it.
        for piece in pieces:
            if piece.chunk:
                made = projector.vectors(piece, flag)
                if made is None:
                    return None
                vectors.append(made)
        return place(pieces, vectors, projector)

    def _kept_at_overflow(self, request: GenerationRequest, plan: Plan, places: Sequence[str]) -> int | None:
        """How many tokens stay when the context is full: those of the system prompt. None if nothing may go."""
        if request.options.get("on_overflow") != "shift" or places:
            return None
        most = request.ctx_size or self.ctx_size
        if request.n_predict is not None and len(plan.tokens) + request.n_predict <= most:
            return None  # it will never be full
        return self._conversations.system_tokens(request, plan.tokens)

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
        embedder = self._embedder
        if embedder is None:
            raise CapabilityNotSupported(f"the model {self.name!r} cannot embed")
        size = self.file.output_length
        if request.dimensions not in {None, size}:
            raise UnsupportedParameter(f"dimensions is {request.dimensions}; the model {self.name!r} has only {size}")
        try:
            tokens = embedder.tokens(request.texts)
        except ValueError as error:
            raise BadRequest(str(error)) from error
        wish = Wish()
        forget = request.on_cancel(wish.cancel)
        try:
            return embedder.embed(tokens, wish, request.options.get("n_threads_batch") or self.options.n_threads_batch)
        finally:
            forget()

    @property
    def n_requests(self) -> int:
        """Answers that are being computed or wait for a slot."""
        return 0 if self._scheduler is None else self._scheduler.n_requests

    # Ending ---------------------------------------------------------------------------------------------

    @property
    def closed(self) -> bool:
        """Whether no request is taken any more."""
        part = self._scheduler or self._embedder or self._parts
        return part.closed

    @property
    def failed(self) -> bool:
        """Whether an error has closed it, so that the model has to be loaded again."""
        return self._scheduler is not None and self._scheduler.failed

    def retire(self) -> None:
        """Free everything as soon as the requests that run have ended: at once if none do."""
        _retire(self._scheduler, self._embedder, self._parts)

    def close(self, patience: float = math.inf) -> None:
        """End what runs, at most `patience` seconds long, and free everything."""
        for part in (self._scheduler, self._embedder):
            if part is not None:
                part.close(patience)
        self._parts.retire()


def _retire(scheduler: Scheduler | None, embedder: Embedder | None, parts: _Parts, *, wait: bool = True) -> None:
    # A finalizer runs in any thread, in the midst of anything: it must not wait.
    if scheduler is not None:
        scheduler.retire(wait=wait)
    if embedder is not None:
        embedder.retire()
    parts.retire()


class _Parts:
    """What the contexts of an engine share, the weights above all: freed when none of them needs it any more."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.projector: Projector | None = None
        self._lock = threading.Lock()
        self._holders = 0
        self._retired = False

    def held(self) -> Callable[[], None]:
        """One more needs it; what it returns is to be called once, when that is over."""
        with self._lock:
            self._holders += 1
        return self._let_go

    @property
    def closed(self) -> bool:
        """Whether it is to be freed, or is."""
        return self._retired

    def retire(self) -> None:
        """Nobody more will need it."""
        with self._lock:
            self._retired = True
            last = not self._holders
        if last:
            self._free()

    def _let_go(self) -> None:
        with self._lock:
            self._holders -= 1
            last = self._retired and not self._holders
        if last:
            self._free()

    def _free(self) -> None:
        if self.projector is not None:
            self.projector.close()
        self.model.close()


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
