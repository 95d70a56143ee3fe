"""The options that only this binding has: those of loading, and those of one request."""

from __future__ import annotations

import ctypes
import dataclasses
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypedDict, get_args

from lollms_core import UnsupportedParameter
from lollms_llamacpp.cpus import MAX_THREADS, usable_cores

__all__ = [
    "DEFAULT_CONTEXT",
    "LOAD_OPTIONS",
    "CacheType",
    "CompletionFormat",
    "LlamaCppOptions",
    "LoadOptions",
    "OnOverflow",
    "Pooling",
    "RopeScaling",
    "SplitMode",
    "check_request_options",
]

CompletionFormat = Literal["chat", "text"]
OnOverflow = Literal["error", "shift"]
Pooling = Literal["mean", "cls", "last"]
# In the order of llama.h's enums.
RopeScaling = Literal["none", "linear", "yarn"]
SplitMode = Literal["none", "layer", "row", "tensor"]
CacheType = Literal["f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl"]

DEFAULT_CONTEXT: Final = 8192
"""Tokens of context where ``ctx_size`` is not given and the model was trained for as many."""

_UNQUANTISED: Final = frozenset({None, "f32", "f16", "bf16"})
_MAX_WHOLE: Final = 2**31 - 1  # llama.cpp's sizes are 32-bit


class LlamaCppOptions(TypedDict, total=False):
    """Options for the constructor; those marked (r) also for a single request.

    Left out are llama.cpp's options that would change what has been checked of a file (``kv_overrides``), and those of
    the whole process (``numa``).

    Attributes:
        completion_format: (r) how ``generate_text`` without ``split`` puts its prompt: "chat" as a user message in
            the model's chat template, "text" as it stands. Default: "chat" if the model has a template.
        chat_template: (r) a Jinja template in place of the model's own.
        grammar: (r) what the answer's text must be, in GBNF, with the rule ``root``; thinking is not part of it. It
            excludes ``response_format`` and tools; "" is none. Default: none.
        mmproj: a projector's GGUF file, by which the model sees images. Default: the only ``mmproj*.gguf`` beside a
            model that is alone in its folder, if the two fit.
        lora: a LoRA adapter's GGUF file, or several, each with its scale: ``{"a.gguf": 1.0, "b.gguf": 0.5}``. A file
            alone has the scale 1. They are for the binding's own model, not for that of a request. Default: none.
        n_threads_batch: (r) CPU threads for reading the prompt. Default: as ``n_threads``.
        n_gpu_layers: layers to keep on a GPU, -1 for all (the default); a build for CPUs ignores it.
        split_mode: how a model is shared out to several GPUs: by whole layers ("layer"), by rows of the matrices
            ("row"), each matrix computed by all at once ("tensor"), or not ("none"). Default "layer".
        main_gpu: the GPU to use where the model is on one (``split_mode="none"``). Default 0.
        tensor_split: the GPUs' shares of the model in any unit, such as ``[3, 1]``. Default: by their free memory.
        n_parallel: answers that are computed at once; further requests wait. They share the context. Default 8.
        max_queue: requests that may wait; one more is Overloaded. Default 1024.
        cache_ram: MiB of ordinary memory for prompts and answers that the context has no room for any more; 0 for
            none. What begins like one of them is not computed again. Default 512.
        switch_interval: seconds that another thread of the process may keep the interpreter's lock while answers are
            made; the whole process has :func:`sys.setswitchinterval` at no more than that then. Default 0.0002;
            Python's own is 0.005, by which a busy thread can halve the speed of a small model.
        on_overflow: (r) what happens where the context is full: "error" refuses a prompt that doesn't fit and ends an
            answer there (finish_reason "length"), "shift" leaves out the oldest tokens after the system prompt and
            goes on. Default "error".
        pooling: how a text's vector is made of its tokens': their "mean", the first one's ("cls") or the "last" one's.
            Default: what the model's file names, else "mean".
        n_batch: tokens that are read in one step at most; fewer where a step would last too long. Default 2048.
        n_ubatch: tokens that are computed at once, at most ``n_batch``; fewer take less memory. Default: llama.cpp's,
            512.
        flash_attn: flash attention on or off. Default: where the backend has it.
        cache_type_k: how the KV cache stores keys: "f32", "f16", "bf16", or quantised, "q8_0", "q5_1", "q5_0", "q4_1",
            "q4_0", "iq4_nl". Quantised, it takes half the memory or less. Default "f16".
        cache_type_v: the same for values; quantised ones need flash attention. Default "f16".
        swa_full: whether the KV cache of a model with sliding windows keeps what lies before them. Default True.
        check_tensors: whether all weights are looked through for numbers that are none (NaN, infinity), which takes as
            long as reading the file. Default False.
        use_mmap: whether the file is mapped into memory rather than read. Default: llama.cpp's choice.
        use_mlock: whether the weights are kept from being swapped out. Default False.
        offload_kqv: whether the KV cache goes to the GPU with its layers. Default True.
        rope_scaling: how positions beyond the trained context are treated. Default: the model's own.
        rope_freq_base: RoPE's base frequency. Default: the model's own.
        rope_freq_scale: RoPE's frequency factor. Default: the model's own.
        yarn_orig_ctx: the trained context that YaRN starts from, in tokens. Default: the model's own.
        yarn_ext_factor: YaRN's mix of extrapolation, 0 for interpolation alone. Default: the model's own.
        yarn_attn_factor: by what the attention is scaled; llama.cpp works it out itself where YaRN extrapolates.
            Default: the model's own.
        yarn_beta_fast: the rotations in the trained context from which YaRN extrapolates. Default: the model's own.
        yarn_beta_slow: the rotations up to which it interpolates. Default: the model's own.
        isolate: whether each model is in a process of its own, whose death this one survives. Default False.
    """

    completion_format: CompletionFormat
    chat_template: str
    grammar: str
    mmproj: str | os.PathLike[str]
    lora: str | os.PathLike[str] | Mapping[str | os.PathLike[str], float]
    n_threads_batch: int
    n_gpu_layers: int
    split_mode: SplitMode
    main_gpu: int
    n_parallel: int
    max_queue: int
    cache_ram: int
    switch_interval: float
    on_overflow: OnOverflow
    pooling: Pooling
    tensor_split: Sequence[float]
    n_batch: int
    n_ubatch: int
    flash_attn: bool
    cache_type_k: CacheType
    cache_type_v: CacheType
    swa_full: bool
    check_tensors: bool
    use_mmap: bool
    use_mlock: bool
    offload_kqv: bool
    rope_scaling: RopeScaling
    rope_freq_base: float
    rope_freq_scale: float
    yarn_orig_ctx: int
    yarn_ext_factor: float
    yarn_attn_factor: float
    yarn_beta_fast: float
    yarn_beta_slow: float
    isolate: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadOptions:
    """What counts when a model is loaded, checked. None means: the model's own, or llama.cpp's choice.

    Attributes:
        lora: adapters' files as they were given, with their scales.
    """

    ctx_size: int | None = None
    n_threads: int = 1
    n_threads_batch: int = 1
    lora: tuple[tuple[str, float], ...] = ()
    n_gpu_layers: int | None = None
    split_mode: SplitMode | None = None
    main_gpu: int | None = None
    tensor_split: tuple[float, ...] | None = None
    n_parallel: int = 8
    max_queue: int = 1024
    cache_ram: int = 512
    switch_interval: float = 0.0002
    pooling: Pooling | None = None
    n_batch: int = 2048
    n_ubatch: int | None = None
    flash_attn: bool | None = None
    cache_type_k: CacheType | None = None
    cache_type_v: CacheType | None = None
    swa_full: bool | None = None
    check_tensors: bool | None = None
    use_mmap: bool | None = None
    use_mlock: bool | None = None
    offload_kqv: bool | None = None
    rope_scaling: RopeScaling | None = None
    rope_freq_base: float | None = None
    rope_freq_scale: float | None = None
    yarn_orig_ctx: int | None = None
    yarn_ext_factor: float | None = None
    yarn_attn_factor: float | None = None
    yarn_beta_fast: float | None = None
    yarn_beta_slow: float | None = None
    isolate: bool = False

    @classmethod
    def of(cls, defaults: Mapping[str, Any]) -> LoadOptions:
        """From the binding's frozen defaults.

        Raises:
            TypeError, ValueError: an option of the wrong type or out of range, or two that exclude each other; the text
                names them.
        """
        for name, check in _CHECKS.items():
            if defaults.get(name) is not None:
                check(name, defaults[name])
        values = {name: defaults[name] for name in _FIELDS if defaults.get(name) is not None}
        threads = values.setdefault("n_threads", usable_cores())
        values.setdefault("n_threads_batch", threads)
        if "lora" in values:
            values["lora"] = _adapters(values["lora"])
        if "tensor_split" in values:
            values["tensor_split"] = tuple(float(one) for one in values["tensor_split"])
        options = cls(**values)
        options._check_together()
        return options

    def _check_together(self) -> None:
        if self.n_ubatch is not None and self.n_ubatch > self.n_batch:
            raise ValueError(f"n_ubatch is {self.n_ubatch}, and must be at most n_batch, which is {self.n_batch}")
        if self.flash_attn is not False:
            return
        if self.cache_type_v not in _UNQUANTISED:
            raise ValueError(
                f"cache_type_v is {self.cache_type_v!r}, which needs flash attention: leave flash_attn=False out, or "
                "take f32, f16 or bf16"
            )
        if self.split_mode == "tensor":
            raise ValueError('split_mode="tensor" needs flash attention: leave flash_attn=False out')


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


def _number(*, zero: bool = False) -> Any:
    """Checks for a number above 0, or not below it, that llama.cpp's 32 bits can tell from 0 and infinity."""

    def check(name: str, value: object) -> None:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise TypeError(f"{name} must be a number, not {value!r}")
        single = _single(value)
        if not (math.isfinite(single) and (single > 0 or (zero and value == 0))):
            raise ValueError(f"{name} must be {'at least' if zero else 'greater than'} 0 and finite, not {value}")

    return check


def _single(value: float) -> float:
    """`value` in single precision, infinity if it is too large for that."""
    try:
        return ctypes.c_float(value).value
    except OverflowError:  # a whole number beyond double precision too
        return math.inf


def _shares(name: str, value: object) -> None:
    if isinstance(value, (str, bytes)) or not isinstance(value, Sequence):
        raise TypeError(f"{name} must be a list of numbers, one for each GPU, not {value!r}")
    for one in value:
        _number(zero=True)(f"each of {name}", one)
    if not any(value):
        raise ValueError(f"{name} must have a share that is greater than 0, not {list(value)}")


def _lora(name: str, value: object) -> None:
    if not isinstance(value, Mapping):
        _path(name, value)
        return
    for path, scale in value.items():
        _path(name, path)
        if isinstance(scale, bool) or not isinstance(scale, (int, float)):
            raise TypeError(f"{name} must have a number as the scale of {os.fspath(path)}, not {scale!r}")
        if not math.isfinite(_single(scale)):
            raise ValueError(f"{name} must have a finite scale for {os.fspath(path)}, not {scale}")


def _adapters(value: Any) -> tuple[tuple[str, float], ...]:
    files = value if isinstance(value, Mapping) else {value: 1.0}
    return tuple((os.fspath(path), float(scale)) for path, scale in files.items())


def _grammar(name: str, value: object) -> None:
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a str, not {type(value).__name__}")
    if value:
        # Imported here: few answers have one.
        from lollms_llamacpp.grammar import check_grammar

        check_grammar(value)


def _one_of(choices: tuple[str, ...]) -> Any:
    def check(name: str, value: object) -> None:
        if value not in choices:
            raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, not {value!r}")

    return check


def _path(name: str, value: object) -> None:
    if not isinstance(value, (str, os.PathLike)) or isinstance(os.fspath(value), bytes):
        raise TypeError(f"{name} must be a path, not {type(value).__name__}")
    if not os.fspath(value):
        raise ValueError(f"{name} must not be empty")


def _template(name: str, value: object) -> None:
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a str, not {type(value).__name__}")


_CHECKS: Final[dict[str, Any]] = {
    "ctx_size": _whole(1),
    "n_threads": _whole(1, MAX_THREADS),
    "completion_format": _one_of(get_args(CompletionFormat)),
    "chat_template": _template,
    "grammar": _grammar,
    "mmproj": _path,
    "lora": _lora,
    "n_threads_batch": _whole(1, MAX_THREADS),
    "n_gpu_layers": _whole(-1),
    "split_mode": _one_of(get_args(SplitMode)),
    "main_gpu": _whole(0),
    "n_parallel": _whole(1, 254),
    "max_queue": _whole(0),
    "cache_ram": _whole(0),
    "switch_interval": _number(),
    "on_overflow": _one_of(get_args(OnOverflow)),
    "pooling": _one_of(get_args(Pooling)),
    "tensor_split": _shares,
    "n_batch": _whole(1),
    "n_ubatch": _whole(1),
    "flash_attn": _flag,
    "cache_type_k": _one_of(get_args(CacheType)),
    "cache_type_v": _one_of(get_args(CacheType)),
    "swa_full": _flag,
    "check_tensors": _flag,
    "use_mmap": _flag,
    "use_mlock": _flag,
    "offload_kqv": _flag,
    "rope_scaling": _one_of(get_args(RopeScaling)),
    "rope_freq_base": _number(),
    "rope_freq_scale": _number(),
    "yarn_orig_ctx": _whole(1),
    "yarn_ext_factor": _number(zero=True),
    "yarn_attn_factor": _number(),
    "yarn_beta_fast": _number(zero=True),
    "yarn_beta_slow": _number(zero=True),
    "isolate": _flag,
}
_FIELDS: Final = frozenset(field.name for field in dataclasses.fields(LoadOptions))
_OF_REQUESTS: Final = frozenset({"completion_format", "chat_template", "grammar", "n_threads_batch", "on_overflow"})

LOAD_OPTIONS: Final = frozenset(LlamaCppOptions.__optional_keys__) - _OF_REQUESTS
"""Options that count only when a model is loaded."""
