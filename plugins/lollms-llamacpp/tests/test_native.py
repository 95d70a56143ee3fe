"""llama.cpp itself: its log, its absence, its memory."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from lollms_core import BackendError, BackendUnavailable
from lollms_llamacpp import native, parameters, vision
from lollms_llamacpp.context import ABORTED, NO_ROOM, Context
from lollms_llamacpp.native import ClosedError, Model
from lollms_llamacpp.options import LoadOptions

Make = Callable[..., bytes]


@pytest.fixture
def model(tiny_folder: Path) -> Iterator[Model]:
    model = Model(tiny_folder / "chatty.gguf", LoadOptions())
    yield model
    model.close()


def test_log(tiny_folder: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
    """llama.cpp's messages go to a logger at DEBUG, and nothing to the terminal."""
    with caplog.at_level(logging.DEBUG, "lollms_llamacpp.llama_cpp"):
        model = Model(tiny_folder / "chatty.gguf", LoadOptions())
        model.close()
    records = [record for record in caplog.records if record.name == "lollms_llamacpp.llama_cpp"]
    assert any("llama_model_loader" in record.getMessage() for record in records)
    assert {record.levelno for record in records} == {logging.DEBUG}
    assert capfd.readouterr() == ("", "")


def test_missing_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without llama-cpp-python there is one error, with the command that installs it portably."""
    native._library.cache_clear()

    def missing(name: str) -> NoReturn:
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(native, "functions_of", missing)
    with pytest.raises(BackendUnavailable, match=r"GGML_NATIVE=OFF.*--no-binary llama-cpp-python"):
        native.library()
    monkeypatch.undo()
    assert native.library() is native.library()
    vision._functions.cache_clear()  # libmtmd is to speak to the new one


def test_llama_cpp_refuses(tmp_path: Path, make_tiny: Make) -> None:
    """What only llama.cpp finds out is told in its words."""
    file = tmp_path / "tiny.gguf"
    file.write_bytes(make_tiny(general__architecture="unheard_of"))
    with pytest.raises(BackendError, match="unknown model architecture"):
        Model(file, LoadOptions())


def test_loading_can_be_ended(tiny_folder: Path) -> None:
    """A loading is given up when nobody wants the model any more."""
    with pytest.raises(BackendError, match="cannot load"):
        Model(tiny_folder / "chatty.gguf", LoadOptions(), go_on=lambda: False)


def test_closed_model(model: Model) -> None:
    """The memory stays while it is used, and is not used after it is gone."""
    with model:
        assert model.tokenize(b"th") == [259]
    model.close()
    model.close()
    with pytest.raises(ClosedError), model:
        pass


def test_vocabulary(model: Model) -> None:
    """Pieces of tokens, long texts, and the tokens that control."""
    with model:
        assert model.piece(259, special=False) == b"th"
        assert model.piece(258, special=False) == b""
        assert model.piece(258, special=True) == b"<|im_end|>"
        assert model.tokenize(b"<|im_end|>", parse_special=True) == [258]
        assert len(model.tokenize(b"\0\xc3\xa9" * 1000)) == 3000
        assert model.tokenize(b"") == []
        assert model.ends_generation(258)
        assert not model.ends_generation(65)
        assert [token for _, token, _, _ in model.special_tokens()] == [256, 257, 258]
        assert (model.bos, model.eos, model.adds_bos) == (256, 258, False)


def test_stop_flag(model: Model) -> None:
    """A raised flag ends llama.cpp's computing, and the context can be used again."""
    context = Context(model, LoadOptions(), 64)
    index = context.batch.add(range(40), 0, 0, output=True)
    context.flag.set()
    assert context.decode() == ABORTED
    context.forget(0)
    context.flag.clear()
    assert context.decode() == 0
    assert len(context.logits(index)) == model.n_vocab
    with pytest.raises(BackendError, match="no probabilities"):
        context.logits(0)
    context.close()


def test_sequences(model: Model) -> None:
    """Several sequences in one batch; one begins as another does, and each forgets for itself."""
    context = Context(model, LoadOptions(), 256, n_sequences=3)
    batch = context.batch
    batch.add([65, 66, 67], 0, 0, output=False)
    batch.add([67], 0, 1, output=False)
    assert (len(batch), batch.room) == (4, batch.capacity - 4)
    assert context.decode() == 0
    context.copy(0, 2, 2)
    assert context.cut(1, 0)
    batch.clear()
    copied = batch.add([67], 2, 2, output=True)
    assert context.decode() == 0
    after_copy = list(context.logits(copied).cast("B").cast("f"))
    context.forget()
    batch.clear()
    whole = batch.add([65, 66, 67], 0, 1, output=True)
    assert context.decode() == 0
    assert after_copy == pytest.approx(list(context.logits(whole).cast("B").cast("f")), abs=1e-3)
    assert context.first_position(1) == 0
    assert context.first_position(0) == -1
    context.close()


def test_room(model: Model) -> None:
    """A context that is full says so; what was saved of a sequence comes back when there is room."""
    context = Context(model, LoadOptions(), 256, n_sequences=2)
    context.batch.add([65] * 200, 0, 0, output=False)
    assert context.decode() == 0
    saved = context.save(0)
    context.batch.clear()
    context.batch.add([66] * 100, 0, 1, output=False)
    assert context.decode() == NO_ROOM
    context.forget(0)
    assert context.decode() == 0
    assert not context.restore(0, saved)
    context.forget(1)
    assert context.restore(0, saved)
    assert bytes(context.save(0)) == bytes(saved)
    context.close()


def test_load_modes() -> None:
    """use_mmap and use_mlock as llama.cpp's load modes (llama.h)."""
    modes = {
        (None, None): -1,
        (False, None): 0,
        (True, None): 1,
        (False, True): 2,
        (None, True): 3,
        (True, True): 3,
        (True, False): 1,
        (None, False): -1,
    }
    for (use_mmap, use_mlock), mode in modes.items():
        assert parameters._load_mode(LoadOptions(use_mmap=use_mmap, use_mlock=use_mlock), -1) == mode


def test_every_option_reaches_llama_cpp(model: Model) -> None:
    """The context's options are set under llama.cpp's names."""
    options = LoadOptions(
        flash_attn=False,
        offload_kqv=False,
        rope_scaling="yarn",
        rope_freq_base=1e4,
        rope_freq_scale=0.5,
        yarn_orig_ctx=64,
    )
    params = model.lib.llama_context_default_params()
    parameters.set_attention(params, options)
    assert (params.flash_attn_type, params.offload_kqv, params.rope_scaling_type) == (0, False, 2)
    assert (params.rope_freq_base, params.rope_freq_scale, params.yarn_orig_ctx) == (1e4, 0.5, 64)
