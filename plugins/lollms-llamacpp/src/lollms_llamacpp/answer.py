"""One answer in the making: its prompt, its sampler, its text, step by step."""

from __future__ import annotations

import ctypes
from collections import deque
from collections.abc import Sequence
from typing import Any, Literal

from lollms_core import BackendError, Event, Finish, GenerationRequest, TextDelta, Usage
from lollms_llamacpp.constrained import ConstrainedSampler
from lollms_llamacpp.logprobs import Logprobs
from lollms_llamacpp.native import ABORTED, Context, Model, Sampler, StopFlag
from lollms_llamacpp.sampling import Sampling
from lollms_llamacpp.text import AnswerText

__all__ = ["Answer"]


class Answer:
    """A :class:`~lollms_llamacpp.turns.Job` whose output are the events of one answer.

    Args:
        model, context: what it is computed with.
        prompt: tokens, at least one.
        request: for its stop strings, and whether it wants log probabilities.
        sampling: how tokens are chosen.
        most: tokens that the answer may have, at least one.
        threads: CPU threads for single tokens, and for the prompt.
        model_name: stands in the Finish.
        grammar: GBNF that the answer's text keeps to, with the root ``root``; None lets it be anything.

    Raises:
        ValueError: llama.cpp refuses the grammar.
    """

    def __init__(
        self,
        model: Model,
        context: Context,
        prompt: Sequence[int],
        request: GenerationRequest,
        sampling: Sampling,
        *,
        most: int,
        threads: tuple[int, int],
        model_name: str,
        grammar: str | None = None,
    ) -> None:
        self.output: deque[Event] = deque()
        self.error: Exception | None = None
        self.stopped = False
        self._model, self._context = model, context
        self._tokens = (ctypes.c_int32 * len(prompt))(*prompt)
        self._n_prompt = len(prompt)
        self._position = 0  # prompt tokens that are computed
        self._next = (ctypes.c_int32 * 1)()
        self._n_generated = 0
        self._most = most
        self._threads = threads
        self._model_name = model_name
        self._text = AnswerText(request.stop or ())
        self._flag = StopFlag()
        self._sampler = Sampler(model, sampling.parts(model.n_vocab))
        if sampling.penalizes:
            for token in prompt[-sampling.repeat_last_n :]:
                if token >= 0:  # below are the places of images
                    self._sampler.accept(token)
        self._constrained = None if grammar is None else ConstrainedSampler(model, self._sampler, grammar)
        # True asks for the tokens' own, a number for so many alternatives; False and 0 for nothing.
        self._logprobs = (
            Logprobs(model, 0 if request.logprobs is True else request.logprobs) if request.logprobs else None
        )
        self.finished = False

    @property
    def over(self) -> bool:
        return self.finished or self.stopped or self.error is not None

    @property
    def has_output(self) -> bool:
        return bool(self.output)

    def step(self) -> None:
        """Compute the next part of the prompt, or the next token."""
        if self._position < self._n_prompt:
            if not self._position:
                self._context.start(self._flag, *self._threads)
            count = min(self._context.n_batch, self._n_prompt - self._position)
            if not self._decode(self._tokens, self._position, count):
                return
            self._position += count
            if self._position < self._n_prompt:
                return
        elif not self._decode(self._next, 0, 1):
            return
        self._take(self._sample())

    def stop(self) -> None:
        self.stopped = True
        self._flag.set()

    def fail(self, error: Exception) -> None:
        self.error = error

    def free(self) -> None:
        if self._constrained is not None:
            self._constrained.close()
        self._sampler.close()

    def _decode(self, tokens: Any, offset: int, count: int) -> bool:
        code = self._context.decode(tokens, offset, count)
        if code == 0:
            return not self.stopped
        if code != ABORTED:
            raise BackendError(f"llama.cpp cannot compute the next tokens (llama_decode returned {code})")
        return False

    def _sample(self) -> int | None:
        if self._constrained is None:
            return self._sampler.sample(self._context)
        return self._constrained.sample(self._context)

    def _take(self, token: int | None) -> None:
        if token is None or self._model.ends_generation(token):
            self._finish("stop")
            return
        self._n_generated += 1
        begin = self._text.read
        text = self._text.feed(self._model.piece(token, special=False))
        if text:
            self.output.append(TextDelta(text))
        if self._logprobs is not None:
            # A character that is not finished yet is the last one of this token's text.
            end = self._text.read + self._text.unfinished
            self._logprobs.add(self._logprobs.of(self._context, token), begin, end)
            self.output.extend(self._logprobs.ready(self._text.given_out))
        if self._text.stopped:
            self._finish("stop")
        elif self._n_generated >= self._most:
            done = self._constrained is not None and self._constrained.only_end()
            self._finish("stop" if done else "length")
        else:
            self._next[0] = token

    def _finish(self, reason: Literal["stop", "length"]) -> None:
        rest = self._text.flush()
        if rest:
            self.output.append(TextDelta(rest))
        if self._logprobs is not None:
            self.output.extend(self._logprobs.rest(self._text.given_out))
        if self._text.stopped:
            reason = "stop"
        self.output.append(Usage(self._n_prompt, self._n_generated, 0))
        self.output.append(Finish(reason, model=self._model_name))
        self.finished = True
