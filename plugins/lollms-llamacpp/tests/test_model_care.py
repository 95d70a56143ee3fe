"""What is in memory, and giving it back."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from gates import Gate

from lollms_core import BackendUnavailable, Capability, ModelNotFound, TextDelta
from lollms_llamacpp import LlamaCppBinding
from lollms_llamacpp.engine import Engine

NEVER = {258: -1e9, 256: -1e9}  # the tokens that would end an answer
Use = Callable[[LlamaCppBinding], object]


def test_ps(tiny_folder: Path) -> None:
    """Names, sizes and files of what is loaded; nothing where nothing is."""
    file = tiny_folder / "chatty.gguf"
    with LlamaCppBinding(models_path=tiny_folder) as binding:
        assert binding.ps() == []
        assert binding.load_model("chatty")
        entry = {
            "model_name": "chatty",
            "size": file.stat().st_size,
            "expires_at": None,
            "path": str(file),
            "pid": os.getpid(),
        }
        assert binding.ps() == [entry]
        binding.generate_text("x", model="bare", n_predict=1)
        assert binding.ps() == [entry]
    assert binding.ps() == []


def test_a_guest_is_shown(tiny_folder: Path) -> None:
    """A request's own model is in memory as long as the request."""
    with LlamaCppBinding(models_path=tiny_folder, model_name="chatty") as binding:
        events = binding._events(binding._text_checked({"model": "bare", "logit_bias": NEVER}, "x"))
        next(events)
        # It is retiring from the first, so that it goes when the request does.
        assert [model["model_name"] for model in binding.ps()] == ["chatty", "bare"]
        binding.unload("bare")
        del events
        assert [model["model_name"] for model in binding.ps()] == ["chatty"]


@pytest.mark.parametrize(
    "use",
    [
        lambda binding: binding.chat("x", n_predict=1),
        lambda binding: binding.generate_text("x", n_predict=1),
        lambda binding: binding.embed("x"),
        lambda binding: binding.tokenize("x"),
        lambda binding: binding.chat("x", n_predict=1, model="chatty"),
    ],
)
def test_unload(tiny: LlamaCppBinding, use: Use) -> None:
    """The memory is free at once where nothing runs; name and abilities stay; the next use loads the model again."""
    engine = tiny._models.engine
    assert isinstance(engine, Engine)
    free = engine._model._free
    able = tiny.capabilities_of(None)
    before = tiny.chat("x", n_predict=4, temperature=0).text
    tiny.unload()
    assert engine.closed
    assert not free.alive
    assert tiny.ps() == []
    info = tiny.get_model_info()
    assert (info["loaded"], info["model_name"]) == (False, "chatty")
    assert info["path"].endswith("chatty.gguf")
    assert tiny.capabilities_of(None) == able
    assert not any(model["loaded"] for model in tiny.listModels())
    use(tiny)
    assert [model["model_name"] for model in tiny.ps()] == ["chatty"]
    assert tiny.chat("x", n_predict=4, temperature=0).text == before


def test_unload_by_name(tiny: LlamaCppBinding) -> None:
    """What is not in memory cannot be unloaded, and that is said; so is a closed binding."""
    with pytest.raises(ModelNotFound, match="'bare' is not loaded"):
        tiny.unload("bare")
    with pytest.raises(TypeError):
        tiny.unload(7)  # type: ignore[arg-type]
    tiny.unload("chatty")
    for name in ("chatty", None):
        with pytest.raises(ModelNotFound):
            tiny.unload(name)
    assert tiny.load_model("bare")
    assert tiny.model_name == "bare"
    tiny.unload()
    tiny.close()
    with pytest.raises(BackendUnavailable):
        tiny.unload()


def test_unload_waits_for_what_runs(tiny: LlamaCppBinding, hold_after: Callable[[int], Gate]) -> None:
    """An answer that has begun is finished on the old memory, beside the model that a new request loads."""
    gate = hold_after(3)
    stream = tiny.stream("x", logit_bias=NEVER, temperature=0)
    old = tiny._models.engine
    events = iter(stream)
    first = next(events)
    assert isinstance(old, Engine)
    tiny.unload()
    assert old._model._free.alive
    other = tiny.chat("x", n_predict=3, temperature=0)
    gate.opened.set()
    assert other.usage.completion_tokens
    assert tiny._models.engine is not old
    rest = list(events)
    assert isinstance(first, TextDelta)
    assert len(rest) > 2
    assert stream.completion.finish_reason == "length"
    old.close()  # waits for the memory to be freed
    assert not old._model._free.alive


def test_many_at_once_after_unloading(tiny: LlamaCppBinding) -> None:
    """The model is loaded again once, however many requests want it."""
    for _ in range(5):
        tiny.unload()
        found: list[int | None] = []

        def ask(found: list[int | None] = found) -> None:
            found.append(tiny.chat("x", n_predict=2).usage.completion_tokens)

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        assert len(found) == 4
        assert len(tiny.ps()) == 1


def test_a_model_that_is_gone(tmp_path: Path, make_tiny: Callable[..., bytes]) -> None:
    """An unloaded model whose file has vanished is a clear error at the next request."""
    file = tmp_path / "m.gguf"
    file.write_bytes(make_tiny())
    with LlamaCppBinding(model_path=file) as binding:
        binding.unload()
        file.unlink()
        assert binding.get_model_info()["loaded"] is False
        assert Capability.TEXT in binding.capabilities_of(None)
        assert any("error" in model for model in binding.listModels() if model["path"] == str(file))
        with pytest.raises(ModelNotFound, match="no model file"):
            binding.tokenize("x")
        file.write_bytes(make_tiny())
        assert binding.tokenize("x")
