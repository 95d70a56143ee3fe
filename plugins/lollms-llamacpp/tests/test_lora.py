"""LoRA adapters: what they change, whose they are, and files that are none."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from gguf_files import gguf, llama_parts, lora_parts, tiny_llama, tiny_lora

from lollms_core import BackendError, ModelNotFound, UnsupportedParameter
from lollms_llamacpp import LlamaCppBinding, lora
from lollms_llamacpp.gguf import Header, Tensor
from lollms_llamacpp.lora import Adapter, adapters_for
from lollms_llamacpp.model_file import ModelFile, model_file
from lollms_llamacpp.native import Model
from lollms_llamacpp.options import LoadOptions


def vector(path: Path, adapter: object = None) -> list[float]:
    """What the model makes of a text, told by the embedding of it."""
    with LlamaCppBinding(model_path=path, ctx_size=64, lora=adapter) as binding:
        found: list[float] = binding.embed("the cat")
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """``base`` and ``wide`` are models that differ in their shapes; ``one`` and ``two`` are adapters of the first."""
    (tmp_path / "base.gguf").write_bytes(tiny_llama())
    (tmp_path / "same.gguf").write_bytes(tiny_llama())
    metadata, tensors = llama_parts(llama__feed_forward_length=16)
    narrow = [(name, shape, kind, data) for name, shape, kind, data in tensors if "ffn_" not in name or "norm" in name]
    for name, shape in (("gate", (32, 16)), ("up", (32, 16)), ("down", (16, 32))):
        narrow.append((f"blk.0.ffn_{name}.weight", shape, 0, b"\0" * (4 * 32 * 16)))
    (tmp_path / "narrow.gguf").write_bytes(gguf(metadata, narrow))
    (tmp_path / "one.gguf").write_bytes(tiny_lora())
    (tmp_path / "two.gguf").write_bytes(tiny_lora("attn_v.weight", rank=1))
    return tmp_path


def test_it_changes_the_model(folder: Path) -> None:
    """Answers and embeddings are others, by as much as the scale says; at 0 they are the model's own."""
    base, one, two = (folder / f"{name}.gguf" for name in ("base", "one", "two"))
    plain, whole = vector(base), vector(base, str(one))
    assert whole != pytest.approx(plain, abs=1e-3)
    assert vector(base, {one: 1}) == whole
    assert vector(base, {one: 0}) == pytest.approx(plain, abs=1e-6)
    assert vector(base, {one: -1.0}) != pytest.approx(whole, abs=1e-3)
    both = vector(base, {one: 1.0, str(two): 0.5})
    assert both != pytest.approx(whole, abs=1e-3)
    assert both == pytest.approx(vector(base, {two: 0.5, one: 1.0}), abs=1e-5)
    answers = []
    for adapter in (None, one):
        with LlamaCppBinding(model_path=base, lora=adapter) as binding:
            answers.append(binding.generate_text("the", n_predict=8, temperature=0))
    assert answers[0] != answers[1]


def test_halves_are_a_whole(folder: Path) -> None:
    """What is added is the product of the two matrices times the scale: the same file twice at 0.5 is it once."""
    one = folder / "one.gguf"
    (folder / "copy.gguf").write_bytes(one.read_bytes())
    halves = vector(folder / "base.gguf", {one: 0.5, folder / "copy.gguf": 0.5})
    assert halves == pytest.approx(vector(folder / "base.gguf", one), abs=1e-5)


def test_what_is_loaded_is_told(folder: Path) -> None:
    """get_model_info names the adapters, and their bytes are among the model's."""
    base, one = folder / "base.gguf", folder / "one.gguf"
    with LlamaCppBinding(model_path=base, lora={one: 0.25}) as binding:
        info = binding.get_model_info()
        assert info["lora"] == [{"path": str(one), "scale": 0.25}]
        assert binding.ps()[0]["size"] == base.stat().st_size + one.stat().st_size
    with LlamaCppBinding(model_path=base) as binding:
        assert binding.get_model_info()["lora"] == []


def test_a_guest_has_none(folder: Path) -> None:
    """A model that one request names is as its file says; the binding's own has its adapter before and after."""
    asked: dict[str, Any] = {"n_predict": 8, "temperature": 0}
    with LlamaCppBinding(models_path=folder, model_name="base") as binding:
        plain = binding.generate_text("the", **asked)
    with LlamaCppBinding(models_path=folder, model_name="base", lora=folder / "one.gguf") as binding:
        adapted = binding.generate_text("the", **asked)
        assert binding.generate_text("the", model="same", **asked) == plain
        assert binding.generate_text("the", **asked) == adapted != plain
        with pytest.raises(UnsupportedParameter, match=r"lora.*constructor"):
            binding.generate_text("the", lora=folder / "two.gguf", **asked)


def test_it_comes_back_with_the_model(folder: Path) -> None:
    """After unload() the next request loads the adapter again; load_model takes it to a model that it fits."""
    with LlamaCppBinding(models_path=folder, model_name="base", lora=folder / "one.gguf") as binding:
        before = binding.generate_text("the", n_predict=8, temperature=0)
        binding.unload()
        assert binding.generate_text("the", n_predict=8, temperature=0) == before
        assert binding.load_model("same")
        assert binding.generate_text("the", n_predict=8, temperature=0) == before
        assert binding.get_model_info()["lora"]


def test_for_another_model(folder: Path) -> None:
    """An adapter of other shapes is refused with both names; load_model leaves the earlier model in use."""
    with pytest.raises(BackendError, match=r"one\.gguf does not fit the model .*narrow\.gguf.*ffn_down"):
        LlamaCppBinding(model_path=folder / "narrow.gguf", lora=folder / "one.gguf")
    with LlamaCppBinding(models_path=folder, model_name="base", lora=folder / "one.gguf") as binding:
        before = binding.generate_text("the", n_predict=4, temperature=0)
        assert not binding.load_model("narrow")
        assert "one.gguf" in (binding.last_error or "")
        assert "narrow.gguf" in (binding.last_error or "")
        assert binding.model_name == "base"
        assert binding.generate_text("the", n_predict=4, temperature=0) == before


def renamed(tensors: list[Any], old: str, new: str) -> None:
    tensors[:] = [(name.replace(old, new), *rest) for name, *rest in tensors]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (tiny_llama(), "no adapter"),
        (gguf({"general.architecture": "clip", "general.type": "mmproj"}), "a vision projector"),
        (tiny_lora(adapter__type="control_vector"), "'control_vector'"),
        (tiny_lora(adapter__type=None), "adapter.type is missing"),
        (tiny_lora(general__architecture=7), "general.architecture is missing or no text"),
        (tiny_lora(general__architecture="qwen2"), "the architecture 'qwen2'"),
        (tiny_lora(adapter__lora__alpha=4), "must be a finite f32"),
        (tiny_lora(adapter__lora__alpha=float("inf")), "must be a finite f32"),
        (tiny_lora(adapter__alora__invocation_tokens=[1, 2]), "aLoRA"),
        (tiny_lora()[:-100], "cut short"),
        (tiny_lora("token_embd.weight"), "embeddings of tokens"),
    ],
)
def test_what_is_none(folder: Path, content: bytes, reason: str) -> None:
    """Each file that is no adapter, or none for this model, is named with the reason."""
    file = folder / "bad.gguf"
    file.write_bytes(content)
    with pytest.raises(BackendError, match=r"bad\.gguf") as caught:
        LlamaCppBinding(model_path=folder / "base.gguf", lora=file)
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda tensors: tensors.clear(), "no tensors of an adapter"),
        (lambda tensors: tensors.pop(), "without"),
        (lambda tensors: renamed(tensors, ".lora_a", ".lora_b.lora_a"), "the ending twice"),
        (lambda tensors: renamed(tensors, ".weight.lora", ".lora"), "has no tensor 'blk.0.attn_q'"),
        (lambda tensors: tensors.append(("blk.0.attn_q.bias", (32,), 0, bytes(128))), "none of an adapter"),
        (lambda tensors: tensors.__setitem__(0, (*tensors[0][:2], 26, tensors[0][3])), "type I32"),
        (lambda tensors: tensors.__setitem__(0, (tensors[0][0], (32, 0), 0, b"")), "the shape [32, 0]"),
        (lambda tensors: tensors.__setitem__(0, (tensors[0][0], (32, 2), 0, bytes(256))), "have the shapes [32, 2]"),
        (lambda tensors: tensors.__setitem__(0, (tensors[0][0], (32, 4, 2), 0, bytes(1024))), "[32, 4, 2]"),
        (lambda tensors: renamed(tensors, "attn_q", "attn_norm"), "is no matrix"),
    ],
)
def test_matrices_that_do_not_fit(folder: Path, change: Callable[[list[Any]], object], reason: str) -> None:
    """What llama.cpp would die of when it computes, or leave out without a word, is refused before."""
    metadata, tensors = lora_parts(llama_parts()[1])
    change(tensors)
    file = folder / "bad.gguf"
    file.write_bytes(gguf(metadata, tensors))
    with pytest.raises(BackendError, match=r"bad\.gguf") as caught:
        LlamaCppBinding(model_path=folder / "base.gguf", lora=file)
    assert reason in str(caught.value)


def test_a_missing_file(folder: Path) -> None:
    with pytest.raises(ModelNotFound, match="nowhere"):
        LlamaCppBinding(model_path=folder / "base.gguf", lora=folder / "nowhere.gguf")


def test_embeddings_of_tokens(tmp_path: Path) -> None:
    """Where the model has an output of its own, its embeddings can be adapted."""
    metadata, tensors = llama_parts()
    output = ("output.weight", *tensors[0][1:])
    (tmp_path / "m.gguf").write_bytes(gguf(metadata, [*tensors, output]))
    (tmp_path / "l.gguf").write_bytes(gguf(*lora_parts(tensors, ["token_embd.weight"])))
    assert vector(tmp_path / "m.gguf", tmp_path / "l.gguf") != pytest.approx(vector(tmp_path / "m.gguf"), abs=1e-3)


def test_norms_are_told(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What llama.cpp leaves out of an adapter is in the log."""
    metadata, tensors = lora_parts(llama_parts()[1])
    file = folder / "norms.gguf"
    file.write_bytes(gguf(metadata, [*tensors, ("blk.0.attn_norm.weight", (32,), 0, bytes(128))]))
    with caplog.at_level(logging.WARNING, "lollms_llamacpp.lora"):
        LlamaCppBinding(model_path=folder / "base.gguf", lora=file).close()
    assert [record.getMessage() for record in caplog.records if "norms" in record.getMessage()] == [
        f"the LoRA adapter {file} changes 1 norms of the model too, which llama.cpp leaves out"
    ]


def test_llama_cpp_refuses(folder: Path) -> None:
    """What only llama.cpp finds out is told in its words, and the model's memory is given back."""
    (folder / "bad.gguf").write_bytes(b"none")
    with pytest.raises(BackendError, match=r"cannot load the LoRA adapter .*bad\.gguf.*failed to load"):
        Model(folder / "base.gguf", LoadOptions(), adapters=[Adapter(folder / "bad.gguf", 1.0, 4)])


def of(tensors: Mapping[str, Tensor], kind: str | None = None) -> ModelFile:
    metadata: dict[str, Any] = {"general.architecture": "llama", "general.type": kind, "adapter.type": "lora"}
    return ModelFile(Path("model.gguf"), Header(3, metadata), 0, tensors)


@pytest.mark.parametrize(
    ("a", "b", "reason"),
    [
        ((32, 4, 8), (4, 64, 8), None),
        ((32, 4, 7), (4, 64, 8), "the shapes"),
        ((32, 4), (4, 64), "the shapes"),
        ((32, 4, 8), (4, 64), "the shapes"),
    ],
)
def test_experts(a: tuple[int, ...], b: tuple[int, ...], reason: str | None) -> None:
    """A mixture's matrices, one for each expert, are changed by as many."""
    name = "blk.0.ffn_up_exps.weight"
    adapter = of({f"{name}.lora_a": Tensor(a, "F32"), f"{name}.lora_b": Tensor(b, "F32")}, "adapter")
    found = lora._misfit(adapter, of({name: Tensor((32, 64, 8), "Q4_K")}))
    assert (found is None) if reason is None else reason in (found or "")
    assert "NVFP4" in (lora._misfit(adapter, of({name: Tensor((32, 64, 8), "NVFP4")})) or "")


def test_paths(folder: Path) -> None:
    """Files are found as other paths are, and come in the order in which they were given."""
    model = model_file(folder / "base.gguf")
    wanted = ((str(folder / "two.gguf"), 2.0), (str(folder / "one.gguf"), 1.0))
    assert [(one.path.name, one.scale) for one in adapters_for(model, wanted)] == [("two.gguf", 2.0), ("one.gguf", 1.0)]
