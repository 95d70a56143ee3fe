"""The options of loading under llama.cpp's own names (llama.h: llama_model_params, llama_context_params)."""

from __future__ import annotations

import ctypes
from typing import Any, Final, get_args

from lollms_llamacpp.gguf_tables import TENSOR_TYPES
from lollms_llamacpp.model_file import ModelFile
from lollms_llamacpp.options import LoadOptions, RopeScaling, SplitMode

__all__ = ["check_cache_types", "set_attention", "set_placement"]

_CACHE_TYPES: Final = {kind.name.lower(): (number, kind.block) for number, kind in TENSOR_TYPES.items()}
"""Numbers of enum ggml_type, and how many elements are stored together."""

_SAME: Final = (
    "offload_kqv",
    "swa_full",
    "rope_freq_base",
    "rope_freq_scale",
    "yarn_ext_factor",
    "yarn_attn_factor",
    "yarn_beta_fast",
    "yarn_beta_slow",
    "yarn_orig_ctx",
)


def set_placement(lib: Any, params: Any, options: LoadOptions) -> None:
    """Where the weights go, in a llama_model_params.

    Raises:
        ValueError: tensor_split is for more GPUs than llama.cpp knows.
    """
    params.load_mode = _load_mode(options, params.load_mode)
    for name in ("n_gpu_layers", "main_gpu", "check_tensors"):
        if getattr(options, name) is not None:
            setattr(params, name, getattr(options, name))
    if options.split_mode is not None:
        params.split_mode = get_args(SplitMode).index(options.split_mode)
    if options.tensor_split is not None:
        most = int(lib.llama_max_devices())
        if len(options.tensor_split) > most:
            raise ValueError(f"tensor_split is for {len(options.tensor_split)} GPUs; llama.cpp can use {most}")
        # As long as llama.cpp expects it, whatever the number of GPUs; the struct keeps its memory.
        params.tensor_split = (ctypes.c_float * most)(*options.tensor_split)


def set_attention(params: Any, options: LoadOptions) -> None:
    """Attention, KV cache and positions, in a llama_context_params."""
    for name in _SAME:
        if getattr(options, name) is not None:
            setattr(params, name, getattr(options, name))
    if options.flash_attn is not None:
        params.flash_attn_type = int(options.flash_attn)
    if options.rope_scaling is not None:
        params.rope_scaling_type = get_args(RopeScaling).index(options.rope_scaling)
    if options.cache_type_k is not None:
        params.type_k = _CACHE_TYPES[options.cache_type_k][0]
    if options.cache_type_v is not None:
        params.type_v = _CACHE_TYPES[options.cache_type_v][0]


def check_cache_types(file: ModelFile, options: LoadOptions) -> None:
    """Whether a model's keys and values can be stored in the types of `options`.

    llama.cpp looks at this only where flash attention is on; else it ends the process.

    Raises:
        ValueError: a head of the model is not whole blocks of that type.
    """
    for name, key in (("cache_type_k", "key_length"), ("cache_type_v", "value_length")):
        kind = getattr(options, name)
        block = 1 if kind is None else _CACHE_TYPES[kind][1]
        size = file.head_size(key)
        if size is not None and size % block:
            raise ValueError(
                f"{name} is {kind!r}, which stores {block} numbers together, but a head of {file.path.name} has "
                f"{size}: choose f32, f16 or bf16 for it"
            )


def _load_mode(options: LoadOptions, default: int) -> int:
    """llama.h, enum llama_load_mode."""
    if options.use_mmap is None and not options.use_mlock:
        return default
    plain, mapped, locked, both = 0, 1, 2, 3
    if options.use_mlock:
        return locked if options.use_mmap is False else both
    return mapped if options.use_mmap else plain
