"""One answer in the making: its tokens, its sampler, its text."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Final, Literal

from lollms_core import Event, Finish, GenerationRequest, TextDelta, Usage
from lollms_llamacpp.batching.images import PlacedImage
from lollms_llamacpp.constrained import ConstrainedSampler
from lollms_llamacpp.context import Context
from lollms_llamacpp.logprobs import Logprobs
from lollms_llamacpp.native import Model
from lollms_llamacpp.samplers import Sampler
from lollms_llamacpp.sampling import Sampling
from lollms_llamacpp.text import AnswerText

__all__ = ["Answer", "Limits"]

# Waiting is cut in pieces so that Ctrl-C gets through where the system's locks don't let it (Windows).
_PIECE_OF_WAITING: Final = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What an answer may take.

    Attributes:
        n_predict: tokens that it may have, at least one; None for as many as fit.
        ctx_size: tokens that prompt and answer may have together.
        keep: where the context is full, the oldest tokens after so many go; None ends the answer there.
        threads: CPU threads for single tokens, and for prompts.
    """

    n_predict: int | None
    ctx_size: int
    keep: int | None
    threads: tuple[int, int]


class Answer:
    """What one request wants of the model.

    All tokens that are known stand in ``tokens``, the prompt's and the answer's; ``computed`` of them are. So reading
    a prompt, generating, and going on after something was forgotten are one thing: compute what is not yet,
    and choose the next token when nothing is left.

    Args:
        model: its vocabulary.
        prompt: tokens, at least one; below 0 where an image stands.
        images: those images.
        request: for its stop strings, and whether it wants log probabilities.
        sampling: how tokens are chosen.
        limits: how long it may get.
        model_name: stands in the Finish.
        grammar: GBNF that the answer's text keeps to, with the root ``root``; None lets it be anything.
        notify: called, from the engine's thread or another, when there is something to read.

    Raises:
        ValueError: llama.cpp refuses the grammar.
    """

    def __init__(
        self,
        model: Model,
        prompt: Sequence[int],
        request: GenerationRequest,
        sampling: Sampling,
        *,
        limits: Limits,
        model_name: str,
        images: Sequence[PlacedImage] = (),
        grammar: str | None = None,
        notify: Callable[[], object] | None = None,
    ) -> None:
        self.tokens = list(prompt)
        self.images = tuple(images)
        self.n_prompt = len(prompt)
        self.computed = 0
        self.n_cached = 0
        self.limits = limits
        self.cache_prompt = request.cache_prompt is not False
        self.exact = not self.cache_prompt and not self.images
        """Whether it must be the same alone and in company, to the last bit."""
        self.stopped = False
        self.finished = False
        self.error: Exception | None = None
        self._n_generated = 0
        self._events: list[Event] = []
        self._output: SimpleQueue[list[Event] | None] = SimpleQueue()
        self._notify = notify
        self._model = model
        self._model_name = model_name
        self._text = AnswerText(request.stop or ())
        self._sampler = Sampler(model, sampling.parts(model.n_vocab), greedy=sampling.plainly_greedy)
        if sampling.penalizes:
            for token in prompt[-sampling.repeat_last_n :]:
                if token >= 0:
                    self._sampler.accept(token)
        self._constrained = None if grammar is None else ConstrainedSampler(model, self._sampler, grammar)
        # True asks for the tokens' own, a number for so many alternatives; False and 0 for nothing.
        self._logprobs = (
            Logprobs(model, 0 if request.logprobs is True else request.logprobs) if request.logprobs else None
        )

    @property
    def over(self) -> bool:
        """Whether there is nothing more to do."""
        return self.finished or self.stopped or self.error is not None

    @property
    def generates(self) -> bool:
        """Whether only its last token has to be computed for the next one."""
        return bool(self._n_generated) and len(self.tokens) - self.computed == 1

    # The reader's side ----------------------------------------------------------------------------------

    def read(self) -> list[Event] | None:
        """What has come since the last call; waits for it. None at the end, and nothing comes after it."""
        while True:
            try:
                return self._output.get(timeout=_PIECE_OF_WAITING)
            except Empty:
                continue

    def read_all(self) -> Iterator[list[Event] | None]:
        """What :meth:`read` would give without waiting."""
        with contextlib.suppress(Empty):
            while True:
                yield self._output.get_nowait()

    def _give(self, news: list[Event] | None) -> None:
        self._output.put(news)
        if self._notify is not None:
            self._notify()

    # The engine's side ----------------------------------------------------------------------------------

    def position(self, index: int) -> int:
        """The position of token `index`: an image can have fewer positions than tokens."""
        return index + sum(image.n_positions - image.n_tokens for image in self.images if image.end <= index)

    def next_image(self) -> PlacedImage | None:
        """The image that is to be computed now, if it is one."""
        return next((image for image in self.images if image.begin == self.computed), None)

    def next_tokens(self, most: int) -> list[int]:
        """At most so many of the tokens that are to be computed now; up to the next image."""
        end = min(len(self.tokens), self.computed + most)
        for image in self.images:
            if self.computed < image.begin < end:
                end = image.begin
        return self.tokens[self.computed : end]

    def before_image(self, count: int) -> int:
        """`count` tokens from the beginning, or fewer so that no image is cut."""
        return next((image.begin for image in self.images if image.begin < count < image.end), count)

    def take_next(self, context: Context, index: int) -> None:
        """Choose the next token, by what was computed as the batch's token `index`.

        Raises:
            BackendError: no token can go on as the grammar demands.
        """
        if self._constrained is None:
            token: int | None = self._sampler.sample(context, index)
        else:
            token = self._constrained.sample(context, index)
        if token is None or self._model.ends_generation(token):
            self._finish("stop")
            return
        self._n_generated += 1
        begin = self._text.read
        text = self._text.feed(self._model.piece(token, special=False))
        if text:
            self._events.append(TextDelta(text))
        if self._logprobs is not None:
            # A character that is not finished yet is the last one of this token's text.
            end = self._text.read + self._text.unfinished
            self._logprobs.add(self._logprobs.of(context, index, token), begin, end)
            self._events.extend(self._logprobs.ready(self._text.given_out))
        if self._text.stopped:
            self._finish("stop")
            return
        self.tokens.append(token)
        full = len(self.tokens) >= self.limits.ctx_size
        if self._n_generated == self.limits.n_predict or (full and not self._shift()):
            done = self._constrained is not None and self._constrained.only_end()
            self._finish("stop" if done else "length")

    def deliver(self) -> None:
        """Give the reader what has come; the end, too."""
        if self._events:
            self._give(self._events)
            self._events = []
        if self.over:
            self._give(None)

    def stop(self) -> None:
        """It is wanted no more."""
        if not self.over:
            self.stopped = True
            self._give(None)

    def fail(self, error: Exception) -> None:
        """It cannot go on."""
        if not self.over:
            self.error = error
            self._give(None)

    def free(self) -> None:
        """Give back what it holds of llama.cpp's memory."""
        if self._constrained is not None:
            self._constrained.close()
        self._sampler.close()

    def _shift(self) -> bool:
        """Make room where the context is full; False if it is to end.

        Half of what may go is left out and the rest computed anew. Moving the rest's positions in the cache would be
        quicker, but it leaves behind what the tokens took from those that are gone, and not every model can.
        """
        keep = self.limits.keep
        if keep is None or self.images:
            return False
        leave_out = max(1, (len(self.tokens) - keep) // 2)
        if len(self.tokens) - leave_out <= keep:
            return False
        del self.tokens[keep : keep + leave_out]
        self.computed = min(self.computed, keep)
        return True

    def _finish(self, reason: Literal["stop", "length"]) -> None:
        rest = self._text.flush()
        if rest:
            self._events.append(TextDelta(rest))
        if self._logprobs is not None:
            self._events.extend(self._logprobs.rest(self._text.given_out))
        if self._text.stopped:
            reason = "stop"
        self._events.append(Usage(self.n_prompt, self._n_generated, self.n_cached))
        self._events.append(Finish(reason, model=self._model_name))
        self.finished = True
