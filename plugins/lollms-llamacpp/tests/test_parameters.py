"""Options, sampling and threads: what is accepted, and what it is turned into."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lollms_core import GenerationRequest, UnsupportedParameter
from lollms_llamacpp import LlamaCppBinding, cpus
from lollms_llamacpp.options import LOAD_OPTIONS, LlamaCppOptions, LoadOptions, check_request_options
from lollms_llamacpp.sampling import DEFAULT_SAMPLING, Sampling


def sampling(**fields: Any) -> Sampling:
    return Sampling.of(GenerationRequest(prompt="x", **fields), DEFAULT_SAMPLING, n_vocab=100, n_ctx=50)


class Names:
    """Stands for llama.cpp: every function gives its name and arguments."""

    def __getattr__(self, name: str) -> Callable[..., tuple[Any, ...]]:
        return lambda *args: (name.removeprefix("llama_sampler_init_"), *args)


def chain(**fields: Any) -> list[tuple[Any, ...]]:
    return [part(Names()) for part in sampling(**fields).parts(100)]


def test_default_chain() -> None:
    """Without parameters, llama.cpp's own defaults in its own order."""
    assert chain(seed=7) == [("top_k", 40), ("top_p", 0.95, 1), ("min_p", 0.05, 1), ("temp", 0.8), ("dist", 7)]


def test_every_parameter() -> None:
    """Each parameter has its sampler; one that is off has none."""
    off = {"top_k": 0, "top_p": 1, "min_p": 0, "seed": 1, "temperature": 1.5}
    assert chain(**off) == [("temp", 1.5), ("dist", 1)]
    found = chain(**off, repeat_penalty=1.1, repeat_last_n=5, presence_penalty=0.5, frequency_penalty=0.25)
    assert found[0] == ("penalties", 100, 5, 1.1, 0.25, 0.5)
    assert chain(**off, repeat_penalty=1.1, repeat_last_n=0) == chain(**off)


def test_greedy() -> None:
    """Temperature 0 takes the most likely token, after biases and penalties; so does one that is as good as 0."""
    assert chain(temperature=0) == [("greedy",)]
    assert chain(temperature=1e-40) == [("greedy",)]
    assert [part[0] for part in chain(temperature=0, repeat_penalty=2)] == ["penalties", "greedy"]


def test_extremes_fit_llama_cpp() -> None:
    """Numbers that llama.cpp's 32 bits can't hold are brought to the largest that make the same choice."""
    found = sampling(
        top_k=10**12, repeat_last_n=10**12, repeat_penalty=1e300, presence_penalty=-1e300, temperature=1e300
    )
    assert (found.top_k, found.repeat_last_n, found.repeat_penalty) == (100, 50, 1e6)
    assert (found.presence_penalty, found.temperature) == (-1e6, 1e6)
    assert sampling(repeat_last_n=-1).repeat_last_n == 50
    assert sampling(repeat_penalty=1e-300).repeat_penalty == 1e-6


def test_seeds() -> None:
    """A seed is taken as it is where it fits, never as llama.cpp's "any"; None and -1 are random."""
    assert sampling(seed=0).seed == 0
    assert sampling(seed=2**32 - 2).seed == 2**32 - 2
    assert 0 <= sampling(seed=2**32 - 1).seed < 2**32 - 1
    assert 0 <= sampling(seed=10**30).seed < 2**32 - 1
    assert len({sampling(seed=seed).seed for seed in (None, -1) for _ in range(4)}) > 1


def test_logit_bias() -> None:
    """Tokens by number, also as JSON writes them; others are refused."""
    assert sampling(logit_bias={3: 1.5, "4": -1e300}).logit_bias == ((3, 1.5), (4, -1e6))
    for bad in (100, -1, "x", "-1", 1.5, True, "٣"):
        with pytest.raises(ValueError, match="logit_bias"):
            sampling(logit_bias={bad: 1})


def test_load_options() -> None:
    """Options come from the defaults; threads for the prompt are those of the answer unless given."""
    found = LoadOptions.of({"n_batch": 64, "n_threads": 3, "temperature": 1, "completion_format": "text"})
    assert (found.n_batch, found.n_threads, found.n_threads_batch) == (64, 3, 3)
    assert LoadOptions.of({"n_threads": 3, "n_threads_batch": 4}).n_threads_batch == 4
    assert LoadOptions.of({}).n_threads >= 1


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("n_batch", 0, ValueError),
        ("n_batch", 1.5, TypeError),
        ("n_batch", True, TypeError),
        ("n_gpu_layers", -2, ValueError),
        ("n_gpu_layers", 2**40, ValueError),
        ("main_gpu", -1, ValueError),
        ("flash_attn", 1, TypeError),
        ("use_mmap", "yes", TypeError),
        ("rope_scaling", "spiral", ValueError),
        ("rope_freq_base", 0, ValueError),
        ("rope_freq_scale", float("nan"), ValueError),
        ("rope_freq_base", "x", TypeError),
        ("rope_freq_base", 1e-300, ValueError),  # would be 0 in llama.cpp's single precision: the model's own
        ("rope_freq_base", 10**400, ValueError),
        ("yarn_ext_factor", -1.0, ValueError),
        ("yarn_attn_factor", 0, ValueError),
        ("yarn_beta_fast", float("inf"), ValueError),
        ("yarn_beta_slow", True, TypeError),
        ("n_ubatch", 0, ValueError),
        ("split_mode", "columns", ValueError),
        ("tensor_split", "3,1", TypeError),
        ("tensor_split", 3.0, TypeError),
        ("tensor_split", [3, "1"], TypeError),
        ("tensor_split", [3, -1], ValueError),
        ("tensor_split", [0.0, 0.0], ValueError),
        ("tensor_split", [], ValueError),
        ("cache_type_k", "q2_k", ValueError),
        ("cache_type_v", 8, ValueError),
        ("swa_full", 1, TypeError),
        ("check_tensors", "yes", TypeError),
        ("lora", 7, TypeError),
        ("lora", b"x.gguf", TypeError),
        ("lora", "", ValueError),
        ("lora", ["x.gguf"], TypeError),
        ("lora", {7: 1.0}, TypeError),
        ("lora", {"x.gguf": "1"}, TypeError),
        ("lora", {"x.gguf": True}, TypeError),
        ("lora", {"x.gguf": float("nan")}, ValueError),
        ("lora", {"x.gguf": 1e300}, ValueError),
        ("grammar", 7, TypeError),
        ("grammar", "root ::= a", ValueError),
        ("ctx_size", 2**40, ValueError),
        ("n_threads", 513, ValueError),
        ("completion_format", "prose", ValueError),
        ("chat_template", 7, TypeError),
    ],
)
def test_bad_options(name: str, value: object, error: type[Exception]) -> None:
    """A wrong type or range is told with the option's name."""
    with pytest.raises(error, match=name):
        LoadOptions.of({name: value})


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"n_ubatch": 65, "n_batch": 64}, "n_ubatch is 65.*n_batch, which is 64"),
        ({"n_ubatch": 100_000}, "n_ubatch is 100000.*n_batch"),
        ({"cache_type_v": "q8_0", "flash_attn": False}, "cache_type_v is 'q8_0', which needs flash attention"),
        ({"split_mode": "tensor", "flash_attn": False}, 'split_mode="tensor" needs flash attention'),
    ],
)
def test_options_that_exclude_each_other(options: dict[str, Any], told: str) -> None:
    """The constructor names both, before any file is read."""
    with pytest.raises(ValueError, match=told):
        LlamaCppBinding(**options)


def test_options_that_go_together() -> None:
    LoadOptions.of({"n_ubatch": 64, "n_batch": 64})
    for kind in ("f32", "f16", "bf16"):
        LoadOptions.of({"cache_type_v": kind, "flash_attn": False})
    LoadOptions.of({"cache_type_v": "q4_0", "cache_type_k": "q4_0"})


def test_adapters_and_shares() -> None:
    """A path alone has the scale 1; what is kept is plain and cannot change."""
    assert LoadOptions.of({}).lora == ()
    assert LoadOptions.of({"lora": Path("a.gguf")}).lora == (("a.gguf", 1.0),)
    assert LoadOptions.of({"lora": {"a.gguf": 1, Path("b.gguf"): -0.5}}).lora == (("a.gguf", 1.0), ("b.gguf", -0.5))
    assert LoadOptions.of({"lora": {}}).lora == ()
    assert LoadOptions.of({"tensor_split": [3, 1]}).tensor_split == (3.0, 1.0)


def test_options_of_a_request() -> None:
    """What counts only at loading is refused in a request, unless it is what the constructor was given."""
    check_request_options({"completion_format": "text", "n_batch": 64}, {"n_batch": 64})
    with pytest.raises(UnsupportedParameter, match=r"n_batch.*constructor"):
        check_request_options({"n_batch": 65}, {"n_batch": 64})
    with pytest.raises(ValueError, match="completion_format"):
        check_request_options({"completion_format": "prose"}, {})
    assert frozenset(LlamaCppOptions.__optional_keys__) >= LOAD_OPTIONS
    assert "completion_format" not in LOAD_OPTIONS


def test_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads are as many as physical cores, and no more than the container may use."""
    files: dict[str, str] = {}
    monkeypatch.setattr(cpus, "_allowed_cpus", lambda: {0, 1, 2, 3, 4, 5, 6, 7})
    monkeypatch.setattr(cpus, "_read", files.get)
    assert cpus.usable_cores() == 4
    files.update({cpus._TOPOLOGY.format(cpu): str(cpu % 4) for cpu in range(8)})
    assert cpus.usable_cores() == 4
    files.update({cpus._TOPOLOGY.format(cpu): str(cpu) for cpu in range(8)})
    assert cpus.usable_cores() == 8
    for quota, cores in (("max 100000", 8), ("250000 100000", 3), ("1000 100000", 1), ("nonsense", 8), ("0 0", 8)):
        files[cpus._QUOTA] = quota
        assert cpus.usable_cores() == cores
    assert cpus._allowed_cpus()


def test_cores_of_this_machine() -> None:
    """There is at least one, whatever can be found out."""
    assert 1 <= cpus.usable_cores() <= cpus.MAX_THREADS
    assert cpus._read(str(Path(__file__).parent)) is None
