"""What a binding has taken it gives back: memory, mapped files, descriptors, threads; and what it must not show."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from gguf_files import tiny_lora

from lollms_core import LollmsError
from lollms_core.testing import MARKER, Held, SecretWatch
from lollms_llamacpp import LlamaCppBinding

Make = Callable[..., bytes]
PROC = Path("/proc/self")
NEVER = {258: -1e9, 256: -1e9}  # the tokens that would end an answer

linux = pytest.mark.skipif(not (PROC / "maps").exists(), reason="only Linux tells what is mapped")


@pytest.fixture
def folder(tmp_path: Path, tiny_folder: Path, make_projector: Make) -> Path:
    """A good model with its projector, another one, and a broken one."""
    (tmp_path / "good").mkdir()
    whole = (tiny_folder / "chatty.gguf").read_bytes()
    (tmp_path / "good" / "good.gguf").write_bytes(whole)
    (tmp_path / "good" / "mmproj.gguf").write_bytes(make_projector(n_out=32))
    (tmp_path / "other.gguf").write_bytes(whole)
    (tmp_path / "broken.gguf").write_bytes(whole[:-2000])
    (tmp_path / "adapter.lora").write_bytes(tiny_lora())
    (tmp_path / "refused.lora").write_bytes(tiny_lora(general__architecture="qwen2"))
    # Sound for our own reader; llama.cpp gives up in the midst of it.
    (tmp_path / "refused.gguf").write_bytes(whole.replace(b"blk.0.ffn_norm.weight", b"blk.0.ffn_nurm.weight"))
    return tmp_path


def live(folder: Path, image: bytes) -> None:
    """A binding's whole life: what works, what is cancelled, what fails."""
    with LlamaCppBinding(models_path=folder, model_name="good", use_mmap=True, ctx_size=128) as binding:
        binding.chat("hi", n_predict=3)
        binding.chat("hi", images=[image], n_predict=1)
        binding.chat("hi", n_predict=9, response_format={"type": "boolean"})
        binding.chat("hi", grammar='root ::= "yes" | "no"')
        with pytest.raises(ValueError, match="has no end"):
            binding.chat("hi", grammar='root ::= "a" root')
        binding.embed(["one", "two"])
        stream = binding.stream("hi", logit_bias=NEVER)
        next(iter(stream))
        stream.close()
        cancelled = binding.stream("hi", logit_bias=NEVER)
        next(iter(cancelled))
        binding.cancel()
        binding.generate_text("hi", model="other", n_predict=1)
        with pytest.raises(LollmsError):
            binding.chat("x" * 500)
        assert not binding.load_model("broken")
        assert not binding.load_model("refused")
        assert not binding.load_model("nowhere")
        binding.unload()
        binding.chat("hi", n_predict=1)
        assert binding.load_model("other")
        forgotten = iter(binding.stream("hi", logit_bias=NEVER))
        next(forgotten)
        del forgotten
    with LlamaCppBinding(models_path=folder, model_name="other", lora=folder / "adapter.lora") as adapted:
        adapted.chat("hi", n_predict=2)
        adapted.embed("one")
        adapted.unload()
        assert adapted.load_model("good")
        assert not adapted.load_model("broken")
    for name in ("broken", "refused"):
        with pytest.raises(LollmsError):
            LlamaCppBinding(models_path=folder, model_name=name)
    with pytest.raises(LollmsError):
        LlamaCppBinding(models_path=folder, model_name="other", mmproj=folder / "broken.gguf")
    for name in ("refused.lora", "broken.gguf"):
        with pytest.raises(LollmsError):
            LlamaCppBinding(models_path=folder, model_name="other", lora=folder / name)


def resident() -> int:
    """Bytes of this process in memory, without what the C library keeps for later."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc has it
    if trim is not None:
        trim(0)
    return int((PROC / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.fixture
def unlogged() -> Iterator[None]:
    """No log: pytest keeps all records, and what their errors hold."""
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


@linux
@pytest.mark.faults
@pytest.mark.usefixtures("unlogged")
def test_nothing_is_left(folder: Path, make_png: Make) -> None:
    """After fifty lives: no thread, no descriptor, no mapping more than before, and memory is flat."""
    image = make_png(40, 30)
    half = 100 if os.environ.get("LOLLMS_FAULTS") else 25
    for _ in range(5):  # what is loaded once for the process, and what the allocators keep
        live(folder, image)
    before = Held.now()
    for _ in range(half):
        live(folder, image)
    middle = resident()
    for _ in range(half):
        live(folder, image)
    assert resident() - middle < 6 << 20
    assert before.more() == ""
    assert str(folder) not in (PROC / "maps").read_text()


@linux
def test_mapped_while_it_is_used(folder: Path) -> None:
    """A model's file is mapped while the model is in memory, and not a moment longer."""
    file = str(folder / "other.gguf")

    def mapped() -> bool:
        return file in (PROC / "maps").read_text()

    with LlamaCppBinding(models_path=folder, model_name="other", use_mmap=True) as binding:
        found = [mapped()]
        binding.unload()
        found.append(mapped())
        binding.generate_text("x", n_predict=1)
        found.append(mapped())
        binding.load_model("good")
        found.append(mapped())
    assert found == [True, False, True, False]


@contextlib.contextmanager
def refusal(**keywords: object) -> Iterator[SecretWatch]:
    with SecretWatch("lollms_llamacpp") as watch:
        with pytest.raises(TypeError, match="service_key") as caught:
            LlamaCppBinding(**keywords)  # type: ignore[arg-type]
        assert watch.found(caught.value) == []
        yield watch


def test_a_key_means_nothing_here(tiny_folder: Path) -> None:
    """A key is refused without being repeated: not in the error, its traceback's locals, a repr or a log."""
    with refusal(service_key=MARKER):
        pass
    with refusal(service_key=MARKER, models_path=tiny_folder, model_name="chatty") as watch:
        with LlamaCppBinding(models_path=tiny_folder, model_name="chatty") as binding:
            binding.chat("x", n_predict=1)
            assert watch.found(binding, binding.get_model_info(), binding.listModels(), binding.ps()) == []


def test_prompts_are_not_logged(tiny: LlamaCppBinding, caplog: pytest.LogCaptureFixture) -> None:
    """What users write is in no record at INFO or above, also where it fails."""
    with caplog.at_level(logging.DEBUG):
        tiny.chat(MARKER, n_predict=2)
        tiny.embed(MARKER)
        tiny.generate_text(MARKER, completion_format="text", n_predict=1, timeout=5)
        with pytest.raises(LollmsError) as caught:
            tiny.chat(MARKER * 50)
        assert MARKER not in str(caught.value)
        assert not tiny.load_model("nowhere")
    assert [one for one in caplog.records if one.levelno >= logging.INFO]
    assert not [one for one in caplog.records if one.levelno >= logging.INFO and MARKER in one.getMessage()]


def test_silent_terminal(folder: Path, make_png: Make, capfd: pytest.CaptureFixture[str]) -> None:
    """Nothing of llama.cpp's or libmtmd's own words reaches the terminal, whatever happens."""
    live(folder, make_png(40, 30))
    assert capfd.readouterr() == ("", "")
