"""LoRA adapters: small changes to a model's matrices, from files of their own.

An adapter has for some matrices W of its model two thin ones, A and B, whose product is added to W, times the scale.
The names and shapes are those that convert_lora_to_gguf.py of llama.cpp writes and src/llama-adapter.cpp there reads:
https://github.com/ggml-org/llama.cpp/blob/master/src/llama-adapter.cpp

llama.cpp ends the process for values of the wrong type and for matrices that cannot be multiplied, the latter not until
the first token is computed. So a file is looked at before it gets there.
"""

from __future__ import annotations

import ctypes
import logging
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from lollms_core import BackendError
from lollms_llamacpp.gguf import FLOAT, STRING, Header, Tensor
from lollms_llamacpp.library import as_path
from lollms_llamacpp.model_checks import NO_WEIGHTS
from lollms_llamacpp.model_file import ModelFile, model_file

__all__ = ["Adapter", "adapters_for", "load_adapters", "set_adapters"]

_log = logging.getLogger(__name__)

_ALPHA: Final = "adapter.lora.alpha"
_ACTIVATION: Final = "adapter.alora.invocation_tokens"
_TEXTS: Final = ("general.type", "general.architecture", "adapter.type")
_SUFFIXES: Final = (".lora_a", ".lora_b")
_NORM: Final = "_norm.weight"
_EMBEDDING: Final = "token_embd.weight"
_OUTPUT: Final = "output.weight"


@dataclass(frozen=True, slots=True)
class Adapter:
    """An adapter's file that fits its model.

    Attributes:
        path: the file.
        scale: what the change is multiplied by; 0 is no change.
        size: bytes of the file.
    """

    path: Path
    scale: float
    size: int


def adapters_for(model: ModelFile, wanted: Sequence[tuple[str, float]]) -> tuple[Adapter, ...]:
    """The adapters in the files `wanted`, each with its scale.

    Raises:
        ModelNotFound: there is no such file.
        BackendError: one is damaged, no LoRA adapter, or made for another model.
    """
    return tuple(_adapter(model, as_path(path, "lora"), scale) for path, scale in wanted)


def _adapter(model: ModelFile, path: Path, scale: float) -> Adapter:
    file = model_file(path)
    fault = _fault(file)
    if fault is not None:
        raise BackendError(f"cannot use {path} as a LoRA adapter: {fault}")
    misfit = _misfit(file, model)
    if misfit is not None:
        raise BackendError(f"the LoRA adapter {path} does not fit the model {model.path}: {misfit}")
    norms = sum(name.endswith(_NORM) for name in file.tensors)
    if norms:
        _log.warning("the LoRA adapter %s changes %d norms of the model too, which llama.cpp leaves out", path, norms)
    return Adapter(path, scale, file.size)


# Checks -----------------------------------------------------------------------------------------------


def _fault(file: ModelFile) -> str | None:
    """What is wrong with a file by itself."""
    header = file.header
    if header.text("general.type") != "adapter":
        return f"it is {file.companion or 'no adapter'}"
    for key in _TEXTS:
        if header.kinds.get(key) != STRING:
            return f"its {key} is missing or no text"
    if header.text("adapter.type") != "lora":
        return f"its adapter.type is {header.text('adapter.type')!r}, and only 'lora' is known"
    if _ACTIVATION in header.kinds:
        return (
            "it is an activated LoRA (aLoRA), which counts for a part of the text only; llama.cpp would apply it to all"
        )
    return _alpha_fault(header) or _tensor_fault(file.tensors)


def _alpha_fault(header: Header) -> str | None:
    kind, value = header.kinds.get(_ALPHA), header.number(_ALPHA)
    if kind is not None and (kind != FLOAT or value is None or not math.isfinite(value)):
        return f"its {_ALPHA} is {value}, and must be a finite f32"
    return None


def _tensor_fault(tensors: Mapping[str, Tensor]) -> str | None:
    if not any(name.endswith(_SUFFIXES) for name in tensors):
        return "it has no tensors of an adapter"
    for name, (shape, kind) in tensors.items():
        if name.endswith(_SUFFIXES):
            stem = name[: -len(_SUFFIXES[0])]
            if any(suffix in stem for suffix in _SUFFIXES):
                return f"its tensor {name!r} has the ending twice"
            other = next(stem + suffix for suffix in _SUFFIXES if not name.endswith(suffix))
            if other not in tensors:
                return f"its tensor {name!r} is there without {other!r}"
            if kind in NO_WEIGHTS:
                return f"its tensor {name!r} is of type {kind}, which is none for weights"
            if not math.prod(shape):
                return f"its tensor {name!r} has the shape {list(shape)}"
        elif not name.endswith(_NORM):
            return f"its tensor {name!r} is none of an adapter"
    return None


def _misfit(file: ModelFile, model: ModelFile) -> str | None:
    """Where an adapter is another model's."""
    if file.architecture != model.architecture:
        return f"it is for models of the architecture {file.architecture!r}, and this one is {model.architecture!r}"
    return next(_misfits(file.tensors, model.tensors), None)


def _misfits(tensors: Mapping[str, Tensor], model: Mapping[str, Tensor]) -> Iterator[str]:
    for name, tensor in tensors.items():
        if not name.endswith(_SUFFIXES[0]):
            continue
        stem = name.removesuffix(_SUFFIXES[0])
        changed = model.get(stem)
        if changed is None:
            yield f"the model has no tensor {stem!r}"
            continue
        if len(_plain(changed.shape)) < 2:
            yield f"the model's tensor {stem!r} is no matrix, so llama.cpp would leave its change out"
        if stem == _EMBEDDING and _OUTPUT not in model:
            yield "it changes the embeddings of tokens, which are the model's output too, and llama.cpp cannot do that"
        if changed.kind == "NVFP4":
            yield f"the model's tensor {stem!r} is of type NVFP4, which llama.cpp cannot change"
        first, second = tensor.shape, tensors[stem + _SUFFIXES[1]].shape
        if not _fits(first, second, changed.shape, embedding=stem == _EMBEDDING):
            yield (
                f"its matrices for {stem!r} have the shapes {list(first)} and {list(second)}, and the model's is "
                f"{list(changed.shape)}"
            )


def _fits(first: tuple[int, ...], second: tuple[int, ...], changed: tuple[int, ...], *, embedding: bool) -> bool:
    """Whether the product of A and B has the shape of what it changes; further dimensions are those of experts."""
    a, b, w = (_plain(shape) + (1,) * (4 - len(_plain(shape))) for shape in (first, second, changed))
    if a[2:] != w[2:] or b[2:] != w[2:]:
        return False
    if embedding:  # a row of A is looked up for each token, and B is not transposed
        return a[1] == w[1] and b[1] == w[0] and a[0] == b[0]
    return a[0] == w[0] and b[1] == w[1] and a[1] == b[0]


def _plain(shape: tuple[int, ...]) -> tuple[int, ...]:
    """`shape` without the last dimensions of 1, which mean nothing to ggml."""
    while shape[-1:] == (1,):
        shape = shape[:-1]
    return shape


# llama.cpp --------------------------------------------------------------------------------------------


def load_adapters(lib: Any, model: int, adapters: Sequence[Adapter]) -> list[tuple[Any, float]]:
    """The adapters in memory, for :func:`set_adapters`. They are the model's from now on and are freed with it.

    Args:
        lib: llama.cpp.
        model: the llama_model; it must not have a context yet, as that is made as large as the adapters need it.
        adapters: looked at before (:func:`adapters_for`).

    Raises:
        BackendError: llama.cpp refuses one; the text has its words.
    """
    loaded = []
    for adapter in adapters:
        with lib.loading:
            lib.listen()
            pointer = lib.llama_adapter_lora_init(model, os.fsencode(adapter.path))
            cause = lib.messages.cause()
        if not pointer:
            raise BackendError(f"llama.cpp cannot load the LoRA adapter {adapter.path}{cause}")
        loaded.append((pointer, adapter.scale))
    return loaded


def set_adapters(lib: Any, context: int, adapters: Sequence[tuple[Any, float]]) -> None:
    """Have a llama_context compute with its model's `adapters`.

    Raises:
        BackendError: llama.cpp refuses them.
    """
    if not adapters:
        return
    pointers = (lib.llama_adapter_lora_p_ctypes * len(adapters))(*(pointer for pointer, _ in adapters))
    scales = (ctypes.c_float * len(adapters))(*(scale for _, scale in adapters))
    code = lib.llama_set_adapters_lora(context, pointers, len(adapters), scales)
    if code:
        raise BackendError(f"llama.cpp cannot compute with the LoRA adapters (llama_set_adapters_lora returned {code})")
