"""The options of loading, each seen to count: in what is computed, in memory, or where it reaches llama.cpp."""

from __future__ import annotations

import logging
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gguf_files import gguf, llama_parts, windowed_parts

from lollms_core import BackendError
from lollms_llamacpp import LlamaCppBinding, parameters
from lollms_llamacpp.context import Context
from lollms_llamacpp.native import Model, library
from lollms_llamacpp.options import LoadOptions

_CACHE = re.compile(
    r"(?P<cells>\d+) cells.*K \((?P<k>\w+)\): +(?P<k_size>[\d.]+) MiB, V \((?P<v>\w+)\): +(?P<v_size>[\d.]+)"
)
BITS = {"f32": 32, "f16": 16, "bf16": 16, "q8_0": 8.5, "q5_1": 6, "q5_0": 5.5, "q4_1": 5, "q4_0": 4.5, "iq4_nl": 4.5}
PROC = Path("/proc/self/maps")


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model with one head of 32 numbers, which is a block of the quantised types."""
    heads: dict[str, Any] = {f"llama__attention__head_count{suffix}": 1 for suffix in ("", "_kv")}
    file = tmp_path_factory.mktemp("options") / "tiny.gguf"
    file.write_bytes(gguf(*llama_parts(**heads, llama__rope__dimension_count=32)))
    return file


@pytest.fixture(scope="module")
def model(path: Path) -> Iterator[Model]:
    model = Model(path, LoadOptions())
    yield model
    model.close()


def vector(path: Path, **options: Any) -> list[float]:
    """What a model makes of a text of 20 tokens."""
    with LlamaCppBinding(model_path=path, ctx_size=64, **options) as binding:
        found: list[float] = binding.embed("a text of 20 letters")
    return found


def caches(log: pytest.LogCaptureFixture, model: Model, n_ctx: int, **options: Any) -> list[dict[str, str]]:
    """What llama.cpp says of the KV caches that it makes."""
    log.clear()
    with log.at_level(logging.DEBUG, "lollms_llamacpp.llama_cpp"):
        Context(model, LoadOptions(**options), n_ctx).close()
    found = [_CACHE.search(record.getMessage()) for record in log.records]
    return [one.groupdict() for one in found if one is not None]


@pytest.mark.parametrize("kind", BITS)
def test_types_of_the_kv_cache(kind: Any, path: Path, model: Model, caplog: pytest.LogCaptureFixture) -> None:
    """Keys and values are stored in the types that were asked for, in the bytes that these take."""
    mib = round(32 * 65536 * BITS[kind] / 8 / 2**20, 2)
    (one,) = caches(caplog, model, 65536, cache_type_k=kind)
    assert (one["k"], float(one["k_size"]), one["v"]) == (kind, mib, "f16")
    (one,) = caches(caplog, model, 65536, cache_type_v=kind)
    assert (one["v"], float(one["v_size"]), one["k"]) == (kind, mib, "f16")
    # What comes out is nearly the same.
    assert vector(path, cache_type_k=kind, cache_type_v=kind) == pytest.approx(vector(path), abs=0.2)


def test_quantised_values_change_what_is_computed(path: Path) -> None:
    """They are rounded, so the option cannot be one that is dropped."""
    assert vector(path, cache_type_v="q4_0") != pytest.approx(vector(path), abs=1e-3)


@pytest.mark.parametrize("flash_attn", [None, True, False])
def test_heads_that_are_no_blocks(tiny_folder: Path, flash_attn: bool | None) -> None:
    """A quantised cache needs heads of whole blocks; llama.cpp does not look without flash attention, so we do."""
    for name in ("cache_type_k", "cache_type_v"):
        if flash_attn is False and name == "cache_type_v":
            continue
        options: dict[str, Any] = {name: "q8_0", "flash_attn": flash_attn}
        with pytest.raises(ValueError, match=rf"{name} is 'q8_0'.*chatty\.gguf has 16"):
            LlamaCppBinding(model_path=tiny_folder / "chatty.gguf", **options)
    with LlamaCppBinding(models_path=tiny_folder, cache_type_k="q4_0") as binding:
        assert not binding.load_model("chatty")
        assert "cache_type_k" in (binding.last_error or "")


@pytest.mark.parametrize(("asked", "got"), [(None, 512), (64, 64), (1, 1), (512, 512)])
def test_n_ubatch(model: Model, asked: int | None, got: int) -> None:
    """So many tokens are computed at once."""
    context = Context(model, LoadOptions(n_batch=512, n_ubatch=asked), 1024)
    assert model.lib.llama_n_ubatch(context.pointer) == got
    context.close()


def test_n_ubatch_is_no_other_answer(path: Path) -> None:
    """A text is the same for steps of any size; a text's vector is pooled over all of it."""
    answers = set()
    for n_ubatch in (1, 7, 512):
        with LlamaCppBinding(model_path=path, n_ubatch=n_ubatch, completion_format="text") as binding:
            answers.add(str(binding.generate_text("a prompt of some length", n_predict=8, temperature=0)))
            assert binding.embed("a text of 20 letters") == pytest.approx(vector(path), abs=1e-3)
    assert len(answers) == 1


@pytest.mark.parametrize(
    ("before", "option"),
    [
        ({}, {"rope_freq_base": 100.0}),
        ({}, {"rope_freq_scale": 0.25}),
        ({}, {"rope_scaling": "yarn", "rope_freq_scale": 0.25}),
        ({}, {"yarn_attn_factor": 2.0}),
        ({"rope_scaling": "yarn", "rope_freq_scale": 0.25}, {"yarn_ext_factor": 0.0}),
        ({"rope_scaling": "yarn", "rope_freq_scale": 0.25}, {"yarn_beta_fast": 1.0}),
        ({"rope_scaling": "yarn", "rope_freq_scale": 0.25}, {"yarn_beta_slow": 30.0}),
        ({"rope_scaling": "yarn", "rope_freq_scale": 0.25}, {"yarn_orig_ctx": 16}),
    ],
)
def test_positions(path: Path, before: dict[str, Any], option: dict[str, Any]) -> None:
    """RoPE's and YaRN's figures change what the model makes of a text."""
    assert vector(path, **before, **option) != pytest.approx(vector(path, **before), abs=1e-5)


def test_swa_full(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Without it, the cache of a model that looks back 32 tokens holds little more than these."""
    file = tmp_path / "windowed.gguf"
    file.write_bytes(gguf(*windowed_parts(window=32)))
    model = Model(file, LoadOptions())
    cells = {}
    for full in (None, True, False):
        _, windowed = caches(caplog, model, 4096, n_batch=64, n_ubatch=64, swa_full=full)  # the first is for no layer
        cells[full] = int(windowed["cells"])
    model.close()
    assert cells[None] == cells[True] == 4096
    assert cells[False] == 256


def test_check_tensors(tmp_path: Path, path: Path) -> None:
    """Weights that are no numbers are found when the model is loaded, if that is wanted."""
    metadata, tensors = llama_parts()
    at, (name, shape, kind, data) = next((at, one) for at, one in enumerate(tensors) if "ffn_up" in one[0])
    tensors[at] = (name, shape, kind, struct.pack("<f", float("nan")) + data[4:])
    file = tmp_path / "damaged.gguf"
    file.write_bytes(gguf(metadata, tensors))
    LlamaCppBinding(model_path=file).close()
    with pytest.raises(BackendError, match=r"damaged\.gguf.*invalid"):
        LlamaCppBinding(model_path=file, check_tensors=True)
    LlamaCppBinding(model_path=path, check_tensors=True).close()


@pytest.mark.skipif(not PROC.exists(), reason="only Linux tells what is mapped")
@pytest.mark.parametrize("use_mmap", [True, False])
def test_use_mmap(tmp_path: Path, path: Path, use_mmap: bool) -> None:
    """The file is mapped into memory, or it is read."""
    file = tmp_path / "mapped.gguf"
    file.write_bytes(path.read_bytes())
    with LlamaCppBinding(model_path=file, use_mmap=use_mmap):
        assert (str(file) in PROC.read_text("utf-8")) is use_mmap


def test_a_build_without_gpus(path: Path) -> None:
    """What is about GPUs means nothing to a build for CPUs, but for tensor parallelism, which llama.cpp refuses."""
    plain = vector(path)
    options: tuple[dict[str, Any], ...] = (
        *({"split_mode": mode} for mode in ("none", "layer", "row")),
        *({"tensor_split": [3, 1]}, {"main_gpu": 3}, {"n_gpu_layers": 0}, {"n_gpu_layers": -1}, {"offload_kqv": False}),
    )
    for option in options:
        assert vector(path, **option) == plain
    with pytest.raises(BackendError, match=r"tiny\.gguf.*needs >= 1 devices"):
        LlamaCppBinding(model_path=path, split_mode="tensor")
    with pytest.raises(ValueError, match="tensor_split is for 100 GPUs"):
        LlamaCppBinding(model_path=path, tensor_split=[1] * 100)


def test_placement_reaches_llama_cpp() -> None:
    """Under llama.h's names and numbers."""
    lib = library()
    params = lib.llama_model_default_params()
    parameters.set_placement(lib, params, LoadOptions())
    assert (params.n_gpu_layers, params.split_mode, params.main_gpu) == (-1, 1, 0)
    assert (params.check_tensors, bool(params.tensor_split)) == (False, False)
    for number, mode in enumerate(("none", "layer", "row", "tensor")):
        parameters.set_placement(lib, params, LoadOptions(split_mode=mode))  # type: ignore[arg-type]
        assert params.split_mode == number
    parameters.set_placement(
        lib, params, LoadOptions(n_gpu_layers=7, main_gpu=2, tensor_split=(3.0, 0.0, 1.5), check_tensors=True)
    )
    assert (params.n_gpu_layers, params.main_gpu, params.check_tensors) == (7, 2, True)
    most = lib.llama_max_devices()
    assert list(params.tensor_split[:most]) == [3.0, 0.0, 1.5, *[0.0] * (most - 3)]


def test_attention_reaches_llama_cpp() -> None:
    """What is not set stays as llama.cpp has it."""
    params, untouched = (library().llama_context_default_params() for _ in range(2))
    parameters.set_attention(params, LoadOptions())
    for name, _ in params._fields_:
        one = getattr(params, name)
        if isinstance(one, (int, float)):
            assert one == getattr(untouched, name), name
    options = LoadOptions(
        flash_attn=True,
        cache_type_k="q8_0",
        cache_type_v="iq4_nl",
        swa_full=False,
        yarn_ext_factor=0.5,
        yarn_attn_factor=2.0,
        yarn_beta_fast=16.0,
        yarn_beta_slow=4.0,
    )
    parameters.set_attention(params, options)
    assert (params.flash_attn_type, params.type_k, params.type_v, params.swa_full) == (1, 8, 20, False)
    assert (params.yarn_ext_factor, params.yarn_attn_factor) == (0.5, 2.0)
    assert (params.yarn_beta_fast, params.yarn_beta_slow) == (16.0, 4.0)
