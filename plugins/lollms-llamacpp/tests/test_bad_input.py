"""Bad input while an answer is in the making: a clear error, and the answer goes on to its end as if nothing were."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from gguf_files import gguf, llama_parts, tiny_llama, tiny_lora, tiny_projector

from lollms_core import BackendError, LollmsError
from lollms_llamacpp import LlamaCppBinding

NEVER = {258: -1e9, 256: -1e9}  # the tokens that would end an answer
ASKED: dict[str, Any] = {"n_predict": 40, "temperature": 0, "logit_bias": NEVER, "completion_format": "text"}
TEMPLATE = "{% for m in messages %}{{ m.content }}{% endfor %}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The good model, one that is smaller, and a projector and an adapter of the good one, outside of models_path."""
    models = tmp_path / "models"
    models.mkdir()
    (models / "good.gguf").write_bytes(tiny_llama(tokenizer__chat_template=TEMPLATE))
    metadata, tensors = llama_parts(tokenizer__chat_template=TEMPLATE, llama__embedding_length=16)
    halves = [
        (
            name,
            tuple(16 if size == 32 else size for size in shape),
            kind,
            data[: len(data) >> len(shape)],
        )
        for name, shape, kind, data in tensors
    ]
    halves[0] = (halves[0][0], (16, 260), 0, tensors[0][3][: 16 * 260 * 4])
    metadata |= {"llama.feed_forward_length": 16, "llama.rope.dimension_count": 8}
    (models / "other.gguf").write_bytes(gguf(metadata, halves))
    (tmp_path / "adapter.gguf").write_bytes(tiny_lora())
    (tmp_path / "mmproj.gguf").write_bytes(tiny_projector(n_out=32))
    return tmp_path


Spoil = Callable[[Path], object]
Case = tuple[LlamaCppBinding, Callable[[], object], str, str]


def content(data: bytes) -> Spoil:
    return lambda folder: (folder / "models" / "bad.gguf").write_bytes(data)


BAD: dict[str, tuple[dict[str, str], Spoil, str, str]] = {
    # Options that name files, what is done to them, the model that is then loaded, what the reason says.
    "nothing but zeros": ({}, content(bytes(100_000)), "bad", "bad.gguf: it is not a GGUF file"),
    "cut short": ({}, content(tiny_llama()[:-500]), "bad", "bad.gguf: it is cut short"),
    "a tensor is missing": ({}, content(tiny_llama().replace(b"ffn_norm", b"ffn_nurm")), "bad", "bad.gguf: "),
    "a projector": ({}, content(tiny_projector()), "bad", "bad.gguf: it is a vision projector"),
    "an adapter": ({}, content(tiny_lora()), "bad", "bad.gguf: it is a LoRA adapter"),
    "no model": ({}, lambda folder: None, "bad", "bad"),
    "a projector of another model": ({"mmproj": "mmproj.gguf"}, lambda folder: None, "other", "mmproj.gguf"),
    "a projector that has become none": (
        {"mmproj": "mmproj.gguf"},
        lambda folder: (folder / "mmproj.gguf").write_bytes(tiny_lora()),
        *("good", "mmproj.gguf as mmproj: it is no projector"),
    ),
    "a projector that has been cut": (
        {"mmproj": "mmproj.gguf"},
        lambda folder: (folder / "mmproj.gguf").write_bytes(tiny_projector(n_out=32)[:-300]),
        *("good", "mmproj.gguf: it is cut short"),
    ),
    "an adapter of another model": (
        {"lora": "adapter.gguf"},
        lambda folder: None,
        "other",
        "adapter.gguf does not fit",
    ),
    "an adapter that has become none": (
        {"lora": "adapter.gguf"},
        lambda folder: (folder / "adapter.gguf").write_bytes(tiny_llama()),
        *("good", "adapter.gguf as a LoRA adapter: it is no adapter"),
    ),
    "an adapter that has vanished": (
        {"lora": "adapter.gguf"},
        lambda folder: (folder / "adapter.gguf").unlink(),
        *("good", "adapter.gguf"),
    ),
}


@pytest.fixture(params=BAD)
def case(request: pytest.FixtureRequest, folder: Path) -> Iterator[Case]:
    """A binding with the good model, what spoils a file, the model to load then, and what the reason must say."""
    files, spoil, name, reason = BAD[request.param]
    options: dict[str, Any] = {option: folder / file for option, file in files.items()}
    with LlamaCppBinding(models_path=folder / "models", model_name="good", ctx_size=128, **options) as binding:
        yield binding, lambda: spoil(folder), name, reason


def test_loading_fails_beside_an_answer(case: Case) -> None:
    """load_model says False and why, naming the file; the answer that runs is the one that it would have been."""
    binding, spoil, name, reason = case
    whole = binding.generate_text("the", **ASKED)
    stream = binding.stream("the", **{**ASKED, "completion_format": None}, system_prompt="")
    events = iter(stream)
    next(events)
    spoil()
    for cancel in (False, True):
        assert not binding.load_model(name, cancel=cancel)
        assert reason in (binding.last_error or "")
    for _ in events:
        pass
    assert stream.completion.finish_reason == "length"
    assert stream.completion.usage.completion_tokens == 40
    assert binding.model_name == "good"
    assert binding.generate_text("the", **ASKED) == whole
    assert stream.completion.text == binding.chat("the", **{**ASKED, "completion_format": None}).text


def test_the_other_model_is_sound(folder: Path) -> None:
    """What the projector and the adapter do not fit is a model that loads by itself."""
    with LlamaCppBinding(models_path=folder / "models", model_name="other") as binding:
        assert binding.generate_text("the", **ASKED)
    for option in ("mmproj", "lora"):
        file = folder / ("mmproj.gguf" if option == "mmproj" else "adapter.gguf")
        given: dict[str, Any] = {option: file}
        LlamaCppBinding(models_path=folder / "models", model_name="good", **given).close()
        with pytest.raises(BackendError, match=file.name):
            LlamaCppBinding(models_path=folder / "models", model_name="other", **given)


@pytest.mark.parametrize(
    "bad",
    [
        {"grammar": "root ::= ("},
        {"grammar": 'root ::= root "a" | "b"'},
        {"grammar": "root ::= ([a-z]+ [0-9]?)*"},
        {"response_format": {"type": "array", "items": {"$ref": "#/nowhere"}}},
        {"images": [b"none"]},
        {"model": "bad"},
    ],
    ids=str,
)
def test_a_bad_request_beside_an_answer(folder: Path, bad: dict[str, Any]) -> None:
    """It raises, and the answer that runs goes on to its end."""
    (folder / "models" / "bad.gguf").write_bytes(b"GGUF, but no more")
    with LlamaCppBinding(models_path=folder / "models", model_name="good", ctx_size=128) as binding:
        asked = {**ASKED, "completion_format": None}
        whole = binding.chat("the", **asked).text
        stream = binding.stream("the", **asked)
        events = iter(stream)
        next(events)
        with pytest.raises((ValueError, LollmsError)):
            binding.chat("x", **bad)
        for _ in events:
            pass
        assert stream.completion.text == whole
