"""The binding on tiny models: construction, switching, closing."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from gates import Gate

import lollms_llamacpp
from lollms_core import (
    BackendError,
    BackendUnavailable,
    Capability,
    CapabilityNotSupported,
    ModelNotFound,
    TextDelta,
)
from lollms_llamacpp import LlamaCppBinding, native
from lollms_llamacpp.context import Context
from lollms_llamacpp.engine import Engine

Make = Callable[..., bytes]


def test_light_import() -> None:
    """Importing the package imports neither llama.cpp nor what it needs."""
    code = "import sys, lollms_llamacpp; print([m for m in ('llama_cpp', 'numpy', 'jinja2') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_face() -> None:
    """The package's face: the binding, its options, a version."""
    assert lollms_llamacpp.__version__
    assert LlamaCppBinding.options is lollms_llamacpp.LlamaCppOptions
    assert Capability.CHAT in LlamaCppBinding.capabilities


def test_by_path_and_by_name(tiny_folder: Path) -> None:
    """A model named by its path, or by a name in the folder, is loaded at once."""
    with LlamaCppBinding(model_path=tiny_folder / "chatty.gguf") as binding:
        assert binding.model_name == "chatty"
        assert binding.get_model_info()["loaded"]
    with LlamaCppBinding(model_path=str(tiny_folder / "chatty.gguf"), model_name="my own") as binding:
        assert binding.model_name == "my own"
        assert binding.chat("x", n_predict=1).model == "my own"
    with LlamaCppBinding(models_path=tiny_folder, model_name="bare") as binding:
        assert binding.get_model_info()["path"] == str(tiny_folder / "sub" / "bare.gguf")


def test_no_model(tiny_folder: Path) -> None:
    """Without a model there is one clear error, and load_model is all it takes."""
    with LlamaCppBinding(models_path=tiny_folder) as binding:
        assert binding.get_model_info() | {"parameters": {}, "supports": []} == {
            "binding_name": "llamacpp",
            "model_name": None,
            "loaded": False,
            "ctx_size": None,
            "path": None,
            "parameters": {},
            "supports": [],
        }
        for call in (lambda: binding.tokenize("x"), lambda: binding.chat("x"), lambda: binding.embed("x")):
            with pytest.raises(ModelNotFound, match="no model is loaded"):
                call()
        answer = binding.generate_text("x")
        assert isinstance(answer, dict)
        assert answer["error_type"] == "ModelNotFound"
        assert binding.load_model("chatty")
        assert isinstance(binding.generate_text("x", n_predict=1), str)


@pytest.mark.parametrize(
    "keywords",
    [
        {"host_address": "http://localhost"},
        {"service_key": "secret"},
        {"verify_ssl_certificate": True},
        {"temprature": 1},
        {"model_path": 7},
        {"model_name": 7},
        {"models_path": 7},
        {"temperature": -1},
        {"temperature": float("nan")},
        {"n_batch": 0},
        {"ctx_size": 0},
        {"n_threads": 10_000},
        {"completion_format": "prose"},
    ],
)
def test_misused_constructor(keywords: dict[str, Any]) -> None:
    """Keywords that mean nothing or can't be are refused, by name."""
    with pytest.raises((TypeError, ValueError), match=next(iter(keywords))):
        LlamaCppBinding(**keywords)


def test_none_means_nothing_given() -> None:
    """All five common names and every option may be None."""
    LlamaCppBinding(
        host_address=None,
        models_path=None,
        model_name=None,
        service_key=None,
        verify_ssl_certificate=None,
        n_batch=None,
    ).close()


def test_bad_files(tmp_path: Path, make_tiny: Make) -> None:
    """A missing, empty, cut or foreign file is one clear error, and nothing is half-loaded."""
    whole = make_tiny()
    for content, error in (
        (b"", BackendError),
        (b"PK\3\4", BackendError),
        (whole[:-100], BackendError),
        (None, ModelNotFound),
    ):
        file = tmp_path / "model.gguf"
        file.unlink(missing_ok=True)
        if content is not None:
            file.write_bytes(content)
        with pytest.raises(error, match=r"model\.gguf"):
            LlamaCppBinding(model_path=file)
    with pytest.raises(BackendError, match="directory"):
        LlamaCppBinding(model_path=tmp_path)


def test_failed_switch(tiny: LlamaCppBinding, tiny_folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """load_model that fails returns False with the reason, and the old model serves on."""
    before = tiny.chat("x", n_predict=5, seed=1).text
    for name, told in (("nothing", "no model"), ("../chatty", "leads out"), ("", "empty")):
        with caplog.at_level(logging.WARNING):
            assert tiny.load_model(name) is False
        assert told in str(tiny.last_error)
        assert told in caplog.text
    (tiny_folder / "cut.gguf").write_bytes((tiny_folder / "chatty.gguf").read_bytes()[:-100])
    try:
        assert tiny.load_model("cut") is False
    finally:
        (tiny_folder / "cut.gguf").unlink()
    assert "cut short" in str(tiny.last_error)
    assert tiny.model_name == "chatty"
    assert tiny.chat("x", n_predict=5, seed=1).text == before
    assert tiny.load_model("chatty")
    assert tiny.last_error is None
    with pytest.raises(TypeError):
        tiny.load_model(7)  # type: ignore[arg-type]


def test_switch_while_it_answers(tiny: LlamaCppBinding, hold_after: Callable[[int], Gate]) -> None:
    """An answer in the making is finished by the old model; the new one serves at once."""
    whole = tiny.chat("x", n_predict=20, temperature=0, ctx_size=100)
    gate = hold_after(3)
    stream = tiny.stream("x", n_predict=20, temperature=0)
    events = iter(stream)
    next(events)
    old = tiny._models.engine
    assert old is not None
    assert tiny.load_model("bare")
    assert not old.closed
    assert tiny.model_name == "bare"
    assert isinstance(tiny.generate_text("x", n_predict=1), str)
    gate.opened.set()
    list(events)
    assert stream.completion.text == whole.text
    assert stream.completion.model == "chatty"
    assert old.closed


def test_switch_that_cancels(tiny: LlamaCppBinding, hold_after: Callable[[int], Gate]) -> None:
    """With cancel=True, what the old model does is ended."""
    gate = hold_after(3)
    stream = tiny.stream("x", temperature=0)
    events = iter(stream)
    next(events)
    old = tiny._models.engine
    assert old is not None
    assert gate.reached.wait(60)
    threading.Timer(0.05, gate.opened.set).start()  # closing waits for the step that runs
    assert tiny.load_model("bare", cancel=True)
    assert old.closed
    assert len(list(events)) <= 4  # what was computed by then
    assert stream.completion.finish_reason == "cancelled"


def test_model_of_a_single_request(tiny: LlamaCppBinding, tiny_folder: Path) -> None:
    """A request may name another model, which is freed afterwards; the binding keeps its own."""
    assert tiny.chat("x", model="chatty", n_predict=1).model == "chatty"
    answer = tiny.generate_text("x", model="sub/bare", n_predict=2)
    assert isinstance(answer, str)
    assert len(tiny.embed("x", model="bare")) == 32
    assert all(guest.closed for guest in tiny._models.guests.values())
    assert tiny.model_name == "chatty"
    with pytest.raises(CapabilityNotSupported, match=r"bare.*chat"):
        tiny.chat("x", model="bare")
    with pytest.raises(ModelNotFound, match="nothing"):
        tiny.chat("x", model="nothing")
    with LlamaCppBinding(models_path=tiny_folder) as empty:
        assert empty.chat("x", model="chatty", n_predict=1).model == "chatty"
        streams = [iter(empty.stream("x", model="chatty", temperature=0)) for _ in range(2)]
        assert [isinstance(next(stream), TextDelta) for stream in streams] == [True, True]
        assert len(empty._models.guests) == 1
        for stream in streams:
            stream.close()  # type: ignore[attr-defined]
        assert all(guest.closed for guest in empty._models.guests.values())


def test_close(tiny_folder: Path) -> None:
    """Closing ends what runs and frees the model; later calls say that it is closed."""
    binding = LlamaCppBinding(models_path=tiny_folder, model_name="chatty")
    stream = binding.stream("x", temperature=0)
    events = iter(stream)
    next(events)
    engine = binding._models.engine
    assert isinstance(engine, Engine)
    binding.close()
    binding.close()
    assert not engine._model._free.alive
    assert list(events) == []
    assert stream.completion.finish_reason == "cancelled"
    for call in (
        lambda: binding.tokenize("x"),
        lambda: binding.detokenize([1]),
        lambda: binding.embed("x"),
        lambda: binding.chat("x"),
    ):
        with pytest.raises(BackendUnavailable, match="closed"):
            call()
    answer = binding.generate_text("x")
    assert isinstance(answer, dict)
    assert "closed" in answer["error"]
    assert not binding.load_model("chatty")
    assert binding.get_model_info()["loaded"] is False


def test_close_while_it_loads(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Closing ends a loading that is under way."""
    binding = LlamaCppBinding(models_path=tiny_folder)
    load = native.Model.__init__

    def closed_meanwhile(self: native.Model, *args: Any, **keywords: Any) -> None:
        closer = threading.Thread(target=binding.close)
        closer.start()
        # close() says that it is over before it waits for the loading to end.
        while not binding._models._ended:
            threading.Event().wait(0.001)
        load(self, *args, **keywords)

    monkeypatch.setattr(native.Model, "__init__", closed_meanwhile)
    assert not binding.load_model("chatty")
    assert binding.get_model_info()["loaded"] is False


def test_forgotten_binding(tiny_folder: Path) -> None:
    """A binding that nobody holds any more gives its memory back."""
    import gc

    binding = LlamaCppBinding(models_path=tiny_folder, model_name="chatty")
    binding.embed("x")
    assert isinstance(binding._models.engine, Engine)
    free = binding._models.engine._model._free
    engine_thread = next(thread for thread in threading.enumerate() if thread.name == "lollms-llamacpp chatty")
    del binding
    gc.collect()
    engine_thread.join(30)
    assert not free.alive


def test_forgotten_stream(tiny: LlamaCppBinding, hold_after: Callable[[int], Gate]) -> None:
    """A stream that nobody holds any more leaves the queue."""
    import gc

    hold_after(3)
    events = iter(tiny.stream("x", temperature=0))
    next(events)
    assert isinstance(tiny._models.engine, Engine)
    assert tiny._models.engine.n_requests == 1
    del events
    gc.collect()
    assert not tiny._models.engine.n_requests


def test_quiet_exit(tiny_folder: Path) -> None:
    """A program that ends without closing, in the midst of an answer, ends without a word."""
    code = (
        "import sys, threading\n"
        "from lollms_llamacpp import LlamaCppBinding\n"
        "binding = LlamaCppBinding(model_path=sys.argv[1], n_threads=1)\n"
        "binding.embed('x')\n"
        "events = iter(binding.stream('x', temperature=0))\n"
        "next(events)\n"
        "begun = threading.Event()\n"
        "def go_on():\n"
        "    while True:\n"
        "        binding.generate_text('x', temperature=0)\n"
        "        begun.set()\n"
        "threading.Thread(target=go_on, daemon=True).start()\n"
        "begun.wait(60)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tiny_folder / "chatty.gguf")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_vocabulary_only(tmp_path: Path, make_tiny: Make) -> None:
    """A file without weights serves for its tokens, and says so where more is asked."""
    whole = make_tiny()
    file = tmp_path / "vocab.gguf"
    # The number of tensors stands at byte 8; their table follows the metadata and may just as well be missing.
    file.write_bytes(whole[:8] + bytes(8) + whole[16:])
    with LlamaCppBinding(model_path=file) as binding:
        assert binding.detokenize(binding.tokenize("the")) == "the"
        with pytest.raises(CapabilityNotSupported):
            binding.generate_text("x")
        with pytest.raises(CapabilityNotSupported):
            binding.embed("x")


def test_context_sizes(tmp_path: Path, make_tiny: Make, caplog: pytest.LogCaptureFixture) -> None:
    """The context is what was asked for, else the trained one, at most 8192 tokens."""
    file = tmp_path / "tiny.gguf"
    file.write_bytes(make_tiny())
    with LlamaCppBinding(model_path=file) as binding:
        assert binding.get_model_info()["ctx_size"] == 256
    with LlamaCppBinding(model_path=file, ctx_size=300) as binding:
        assert binding.get_model_info()["ctx_size"] == 300
        assert "trained for 256" in caplog.text
    file.write_bytes(make_tiny(llama__context_length=100_000))
    with LlamaCppBinding(model_path=file) as binding:
        info = binding.get_model_info()
        assert (info["ctx_size"], info["trained_ctx_size"]) == (8192, 100_000)


@pytest.mark.parametrize("trained", [1, 3, 7])
def test_a_context_of_few_tokens(tmp_path: Path, make_tiny: Make, trained: int) -> None:
    """Whatever a damaged file says: fewer tokens than sequences that are embedded at once."""
    file = tmp_path / "tiny.gguf"
    file.write_bytes(make_tiny(llama__context_length=trained, tokenizer__ggml__add_bos_token=False))
    with LlamaCppBinding(model_path=file) as binding:
        assert [len(vector) for vector in binding.embed(["a"] * 9)] == [32] * 9


def test_load_while_others_ask(tiny: LlamaCppBinding) -> None:
    """Switching to and fro under requests from several threads: every request is served whole."""
    answers: list[object] = []
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            answers.append(tiny.generate_text("x", n_predict=3, temperature=0, completion_format="text"))
            answers.append(tiny.detokenize(tiny.tokenize("the")))

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for name in ("bare", "chatty") * 5:
        assert tiny.load_model(name)
    done.set()
    for thread in threads:
        thread.join()
    # The two models are the same but for the template, so there is one right answer.
    assert all(isinstance(answer, str) for answer in answers)
    assert len(set(answers)) == 2


def test_out_of_memory(tiny: LlamaCppBinding, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A context that can't be made leaves nothing behind and costs the old model nothing."""

    def fails(*args: object, **kwargs: object) -> None:
        raise BackendError("llama.cpp cannot make room")

    monkeypatch.setattr(Context, "__init__", fails)
    assert not tiny.load_model("bare")
    with pytest.raises(BackendError, match="room"):
        LlamaCppBinding(models_path=tiny_folder, model_name="bare")
    monkeypatch.undo()
    assert isinstance(tiny.generate_text("x", n_predict=1), str)
