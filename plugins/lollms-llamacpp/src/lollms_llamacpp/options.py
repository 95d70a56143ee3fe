"""The options that only this binding has: those of loading, and those of one request."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypedDict, get_args

from lollms_core import UnsupportedParameter
from lollms_llamacpp.cpus import MAX_THREADS, usable_cores

__all__ = [
    "DEFAULT_CONTEXT",
    "LOAD_OPTIONS",
    "CompletionFormat",
    "LlamaCppOptions",
    "LoadOptions",
    "OnOverflow",
    "Pooling",
    "check_request_options",
]

CompletionFormat = Literal["chat", "text"]
OnOverflow = Literal["error", "shift"]
Pooling = Literal["mean", "cls", "last"]
RopeScaling = Literal["none", "linear", "yarn"]

DEFAULT_CONTEXT: Final = 8192
"""Tokens of context where ``ctx_size`` is not given and the model was trained for as many."""

_MAX_WHOLE: Final = 2**31 - 1  # llama.cpp's sizes are 32-bit


class LlamaCppOptions(TypedDict, total=False):
    """Options for the constructor; those marked (r) also for a single request.

    Attributes:
        completion_format: (r) how ``generate_text`` without ``split`` puts its prompt: "chat" as a user message in
            the model's chat template, "text" as it stands. Default: "chat" if the model has a template.
        chat_template: (r) a Jinja template in place of the model's own.
        mmproj: a projector's GGUF file, by which the model sees images. Default: the only ``mmproj*.gguf`` beside a
            model that is alone in its folder, if the two fit.
        n_threads_batch: (r) CPU threads for reading the prompt. Default: as ``n_threads``.
        n_gpu_layers: layers to keep on a GPU, -1 for all (the default); a build for CPUs ignores it.
        main_gpu: the GPU to use where there are several. Default 0.
        n_parallel: answers that are computed at once; further requests wait. They share the context. Default 8.
        max_queue: requests that may wait; one more is Overloaded. Default 1024.
        on_overflow: (r) what happens where the context is full: "error" refuses a prompt that doesn't fit and ends an
            answer there (finish_reason "length"), "shift" leaves out the oldest tokens after the system prompt and
            goes on. Default "error".
        pooling: how a text's vector is made of its tokens': their "mean", the first one's ("cls") or the "last" one's.
            Default: what the model's file names, else "mean".
        n_batch: tokens that are read in one step at most; fewer where a step would last too long. Default 2048.
        flash_attn: flash attention on or off. Default: where the backend has it.
        use_mmap: whether the file is mapped into memory rather than read. Default: llama.cpp's choice.
        use_mlock: whether the weights are kept from being swapped out. Default False.
        offload_kqv: whether the KV cache goes to the GPU with its layers. Default True.
        rope_scaling: how positions beyond the trained context are treated. Default: the model's own.
        rope_freq_base: RoPE's base frequency. Default: the model's own.
        rope_freq_scale: RoPE's frequency factor. Default: the model's own.
        yarn_orig_ctx: the trained context that YaRN starts from, in tokens. Default: the model's own.
        isolate: whether each model is in a process of its own, whose death this one survives. Default False.
    """

    completion_format: CompletionFormat
    chat_template: str
    mmproj: str | os.PathLike[str]
    n_threads_batch: int
    n_gpu_layers: int
    main_gpu: int
    n_parallel: int
    max_queue: int
    on_overflow: OnOverflow
    pooling: Pooling
    n_batch: int
    flash_attn: bool
    use_mmap: bool
    use_mlock: bool
    offload_kqv: bool
    rope_scaling: RopeScaling
    rope_freq_base: float
    rope_freq_scale: float
    yarn_orig_ctx: int
    isolate: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadOptions:
    """What counts when a model is loaded, checked. None means: the model's own, or llama.cpp's choice."""

    ctx_size: int | None = None
    n_threads: int = 1
    n_threads_batch: int = 1
    n_gpu_layers: int | None = None
    main_gpu: int | None = None
    n_parallel: int = 8
    max_queue: int = 1024
    pooling: Pooling | None = None
    n_batch: int = 2048
    flash_attn: bool | None = None
    use_mmap: bool | None = None
    use_mlock: bool | None = None
    offload_kqv: bool | None = None
    rope_scaling: RopeScaling | None = None
    rope_freq_base: float | None = None
    rope_freq_scale: float | None = None
    yarn_orig_ctx: int | None = None
    isolate: bool = False

    @classmethod
    def of(cls, defaults: Mapping[str, Any]) -> LoadOptions:
        """From the binding's frozen defaults.

        Raises:
            TypeError, ValueError: an option of the wrong type or out of range; the text names it.
        """
        for name, check in _CHECKS.items():
            if defaults.get(name) is not None:
                check(name, defaults[name])
        values = {name: defaults[name] for name in _FIELDS if defaults.get(name) is not None}
        threads = values.setdefault("n_threads", usable_cores())
        values.setdefault("n_threads_batch", threads)
        return cls(**values)


def check_request_options(options: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
    """Whether the options of one request can be honoured; those that equal the constructor's always can.

    Raises:
        UnsupportedParameter: one of them counts only when a model is loaded.
        TypeError, ValueError: one is of the wrong type or out of range.
    """
    for name, value in options.items():
        if name in LOAD_OPTIONS and value != defaults.get(name):
            raise UnsupportedParameter(
                f"{name} counts when the model is loaded: give it to the constructor, not to a single request"
            )
        if name in _CHECKS:
            _CHECKS[name](name, value)


def _whole(low: int, high: int = _MAX_WHOLE) -> Any:
    def check(name: str, value: object) -> None:
        if type(value) is not int:
            raise TypeError(f"{name} must be a whole number, not {value!r}")
        if not low <= value <= high:
            raise ValueError(f"{name} must be between {low} and {high}, not {value}")

    return check


def _flag(name: str, value: object) -> None:
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, not {value!r}")


def _positive(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be a number, not {value!r}")
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{name} must be greater than 0 and finite, not {value}")


def _one_of(choices: tuple[str, ...]) -> Any:
    def check(name: str, value: object) -> None:
        if value not in choices:
            raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, not {value!r}")

    return check


def _path(name: str, value: object) -> None:
    if not isinstance(value, (str, os.PathLike)):
        raise TypeError(f"{name} must be a path, not {type(value).__name__}")


def _template(name: str, value: object) -> None:
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a str, not {type(value).__name__}")


_CHECKS: Final[dict[str, Any]] = {
    "ctx_size": _whole(1),
    "n_threads": _whole(1, MAX_THREADS),
    "completion_format": _one_of(get_args(CompletionFormat)),
    "chat_template": _template,
    "mmproj": _path,
    "n_threads_batch": _whole(1, MAX_THREADS),
    "n_gpu_layers": _whole(-1),
    "main_gpu": _whole(0),
    "n_parallel": _whole(1, 256),
    "max_queue": _whole(0),
    "on_overflow": _one_of(get_args(OnOverflow)),
    "pooling": _one_of(get_args(Pooling)),
    "n_batch": _whole(1),
    "flash_attn": _flag,
    "use_mmap": _flag,
    "use_mlock": _flag,
    "offload_kqv": _flag,
    "rope_scaling": _one_of(get_args(RopeScaling)),
    "rope_freq_base": _positive,
    "rope_freq_scale": _positive,
    "yarn_orig_ctx": _whole(1),
    "isolate": _flag,
}
_FIELDS: Final = frozenset(field.name for field in dataclasses.fields(LoadOptions))
_OF_REQUESTS: Final = frozenset({"completion_format", "chat_template", "n_threads_batch", "on_overflow"})

LOAD_OPTIONS: Final = frozenset(LlamaCppOptions.__optional_keys__) - _OF_REQUESTS
"""Options that count only when a model is loaded."""
