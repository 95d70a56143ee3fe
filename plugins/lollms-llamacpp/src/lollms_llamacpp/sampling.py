"""A request's sampling parameters as a chain of llama.cpp's samplers."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from lollms_core import GenerationRequest

__all__ = ["DEFAULT_SAMPLING", "Sampling", "check_biases"]

DEFAULT_SAMPLING: Final[Mapping[str, float]] = {
    "temperature": 0.8,
    "top_k": 40,
    "top_p": 0.95,
    "min_p": 0.05,
    "repeat_penalty": 1.0,
    "repeat_last_n": 64,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
}
"""Where neither the caller nor the model's file says otherwise; llama.cpp's own (common/common.h)."""

# Below it the most likely token is certain; much smaller ones would overflow llama.cpp's 32-bit floats.
_GREEDY_BELOW: Final = 1e-5
# More than this changes nothing in the choice, but does not fit the integers llama.cpp sorts logits by.
_MOST: Final = 1e6
_RANDOM_SEED: Final = 0xFFFFFFFF  # LLAMA_DEFAULT_SEED, which llama.cpp takes for "any"


@dataclass(frozen=True, slots=True)
class Sampling:
    """One request's sampling, complete.

    Attributes:
        logit_bias: what is added to the logits, as pairs of token and addition.
        seed: 0 to 2**32 - 2.
    """

    temperature: float
    top_k: int
    top_p: float
    min_p: float
    repeat_penalty: float
    repeat_last_n: int
    presence_penalty: float
    frequency_penalty: float
    logit_bias: tuple[tuple[int, float], ...]
    seed: int

    @classmethod
    def of(cls, request: GenerationRequest, defaults: Mapping[str, float], *, n_vocab: int, n_ctx: int) -> Sampling:
        """The sampling of `request`, with the model's `defaults` where it has None.

        Raises:
            ValueError: logit_bias names no token of a vocabulary of `n_vocab`.
        """
        values: dict[str, Any] = {}
        for name, default in defaults.items():
            value = getattr(request, name)
            values[name] = default if value is None else value
        seed = request.seed
        if seed is None or seed < 0:
            seed = secrets.randbelow(_RANDOM_SEED)
        last_n = n_ctx if values["repeat_last_n"] < 0 else min(int(values["repeat_last_n"]), n_ctx)
        return cls(
            temperature=min(values["temperature"], _MOST),
            top_k=min(int(values["top_k"]), n_vocab),
            top_p=values["top_p"],
            min_p=values["min_p"],
            repeat_penalty=max(1 / _MOST, min(values["repeat_penalty"], _MOST)),
            repeat_last_n=last_n,
            presence_penalty=_bounded(values["presence_penalty"]),
            frequency_penalty=_bounded(values["frequency_penalty"]),
            logit_bias=check_biases(request.logit_bias, n_vocab),
            seed=seed % _RANDOM_SEED,
        )

    @property
    def penalizes(self) -> bool:
        """Whether earlier tokens count."""
        return self.repeat_last_n > 0 and (
            self.repeat_penalty != 1 or self.presence_penalty != 0 or self.frequency_penalty != 0
        )

    @property
    def plainly_greedy(self) -> bool:
        """Whether the most likely token is taken, whatever came before."""
        return self.temperature < _GREEDY_BELOW and not self.logit_bias and not self.penalizes

    def parts(self, n_vocab: int) -> list[Callable[[Any], Any]]:
        """Makers of the samplers, in llama.cpp's own order (common/common.h)."""
        parts: list[Callable[[Any], Any]] = []
        if self.logit_bias:
            parts.append(lambda lib: _bias_sampler(lib, n_vocab, self.logit_bias))
        if self.penalizes:
            parts.append(
                lambda lib: lib.llama_sampler_init_penalties(
                    n_vocab,
                    self.repeat_last_n,
                    self.repeat_penalty,
                    self.frequency_penalty,
                    self.presence_penalty,
                )
            )
        if self.temperature < _GREEDY_BELOW:
            return [*parts, lambda lib: lib.llama_sampler_init_greedy()]
        if self.top_k > 0:
            parts.append(lambda lib: lib.llama_sampler_init_top_k(self.top_k))
        if self.top_p < 1:
            parts.append(lambda lib: lib.llama_sampler_init_top_p(self.top_p, 1))
        if self.min_p > 0:
            parts.append(lambda lib: lib.llama_sampler_init_min_p(self.min_p, 1))
        parts.append(lambda lib: lib.llama_sampler_init_temp(self.temperature))
        parts.append(lambda lib: lib.llama_sampler_init_dist(self.seed))
        return parts


def _bounded(value: float) -> float:
    return max(-_MOST, min(value, _MOST))


def check_biases(biases: Mapping[Any, float] | None, n_vocab: int) -> tuple[tuple[int, float], ...]:
    """A request's logit_bias as pairs of token and addition.

    Raises:
        ValueError: it names no token of a vocabulary of `n_vocab`.
    """
    checked = []
    for token, bias in (biases or {}).items():
        # JSON has only strings as keys, so "42" is token 42.
        number = int(token) if isinstance(token, str) and token.isascii() and token.isdecimal() else token
        if type(number) is not int or not 0 <= number < n_vocab:
            raise ValueError(f"logit_bias names the token {token!r}; this model has the tokens 0 to {n_vocab - 1}")
        checked.append((number, _bounded(bias)))
    return tuple(checked)


def _bias_sampler(lib: Any, n_vocab: int, biases: tuple[tuple[int, float], ...]) -> Any:
    array = (lib.llama_logit_bias * len(biases))(*biases)
    return lib.llama_sampler_init_logit_bias(n_vocab, len(biases), array)
