"""The options that only this binding has: Ollama's own."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Final, Literal, get_args

from lollms_http import HttpOptions
from lollms_http.checks import Check, flag, number, text, whole

__all__ = [
    "OPTION_CHECKS",
    "SERVER_OPTIONS",
    "CompletionFormat",
    "OllamaOptions",
]

CompletionFormat = Literal["chat", "text"]


class OllamaOptions(HttpOptions, total=False):
    """Options for the constructor and for a single request, beside those of :class:`~lollms_http.HttpOptions`.

    Those that are sent with the request mean what Ollama's documentation says (docs/api.md and
    docs/modelfile.md of https://github.com/ollama/ollama); where one is not given, the server's choice counts.

    Attributes:
        completion_format: how ``generate_text`` without ``split`` puts its prompt: "chat" (the default) as a
            user's message in the model's template, "text" as it stands (``raw``), for the model to continue.
        keep_alive: how long the model stays loaded afterwards: seconds, or a text such as "10m"; negative is
            for ever, 0 not at all.
        truncate: whether the server may cut off what doesn't fit the context. Default False: it is asked to
            refuse instead, as servers since 0.12 do for prompts and all do for embeddings.
        shift: whether the server may drop the beginning when an answer fills the context. Servers since 0.12.
        suffix: with completion_format "text", what stands after the place to fill in.
        num_gpu: layers on the GPU.
        main_gpu: the GPU for small tensors.
        num_batch: tokens of the prompt that are read in one step.
        num_keep: tokens at the beginning that stay when the context is shifted.
        typical_p: typical sampling.
        tfs_z: tail free sampling (servers before 0.6).
        mirostat: 0 off, 1 or 2 for its versions.
        mirostat_tau: its target entropy.
        mirostat_eta: its learning rate.
        penalize_newline: whether penalties count for newlines.
        low_vram: less GPU memory.
        use_mmap: whether the file is mapped into memory.
        use_mlock: whether the weights are kept from being swapped out.
        numa: NUMA optimisations.
    """

    completion_format: CompletionFormat
    keep_alive: str | int | float
    truncate: bool
    shift: bool
    suffix: str
    num_gpu: int
    main_gpu: int
    num_batch: int
    num_keep: int
    typical_p: float
    tfs_z: float
    mirostat: int
    mirostat_tau: float
    mirostat_eta: float
    penalize_newline: bool
    low_vram: bool
    use_mmap: bool
    use_mlock: bool
    numa: bool


SERVER_OPTIONS: Final = (
    "num_gpu",
    "main_gpu",
    "num_batch",
    "num_keep",
    "typical_p",
    "tfs_z",
    "mirostat",
    "mirostat_tau",
    "mirostat_eta",
    "penalize_newline",
    "low_vram",
    "use_mmap",
    "use_mlock",
    "numa",
)
"""What goes into the request's ``options`` under its own name."""


def _format(name: str, value: object) -> None:
    if value not in get_args(CompletionFormat):
        raise ValueError(f"{name} must be 'chat' or 'text', not {value!r}")


# Go's time.ParseDuration, which Ollama uses for texts.
_DURATION: Final = re.compile(r"[-+]?(0|([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+|[-+]?[0-9]+")


def _duration(name: str, value: object) -> None:
    if isinstance(value, str):
        if not _DURATION.fullmatch(value):
            raise ValueError(f'{name} must be a number of seconds or a text such as "10m", not {value!r}')
    elif isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise TypeError(f'{name} must be a number of seconds or a text such as "10m", not {value!r}')


OPTION_CHECKS: Final[Mapping[str, Check]] = {
    "completion_format": _format,
    "keep_alive": _duration,
    "truncate": flag,
    "shift": flag,
    "suffix": text,
    "num_gpu": whole(-1),
    "main_gpu": whole(0),
    "num_batch": whole(1),
    "num_keep": whole(-1),
    "typical_p": number(0),
    "tfs_z": number(0),
    "mirostat": whole(0, 2),
    "mirostat_tau": number(0),
    "mirostat_eta": number(0),
    "penalize_newline": flag,
    "low_vram": flag,
    "use_mmap": flag,
    "use_mlock": flag,
    "numa": flag,
}
"""What they may be."""
