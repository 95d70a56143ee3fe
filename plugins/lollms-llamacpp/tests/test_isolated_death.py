"""What is left of a model's process that dies: an error for those who were in it, and a new process for the next."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from odd_child import WAYS

from lollms_core import BackendCrashed, LollmsError, ProtocolError
from lollms_core.testing import Held
from lollms_llamacpp import LlamaCppBinding
from lollms_llamacpp.isolated import process
from lollms_llamacpp.isolated.deaths import crash, ending
from lollms_llamacpp.isolated.remote import RemoteEngine
from lollms_llamacpp.model_file import model_file

NEVER = {258: -1e9, 256: -1e9}  # the tokens that would end an answer
LONG: dict[str, Any] = {"temperature": 0, "logit_bias": NEVER}
CONTEXT = 32768


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, make_tiny: Callable[..., bytes], tiny_folder: Path) -> Path:
    """A model whose context is so long that no answer is over before its process dies, and another."""
    folder = tmp_path_factory.mktemp("death")
    chatml = model_file(tiny_folder / "chatty.gguf").chat_template
    made = make_tiny(llama__context_length=CONTEXT, tokenizer__chat_template=chatml)
    (folder / "chatty.gguf").write_bytes(made)
    (folder / "bare.gguf").write_bytes(make_tiny())
    return folder


@pytest.fixture
def binding(folder: Path) -> Iterator[LlamaCppBinding]:
    with LlamaCppBinding(models_path=folder, model_name="chatty", ctx_size=CONTEXT, isolate=True) as binding:
        yield binding


@pytest.fixture
def odd(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """From now on children go wrong, in the way that ODD_CHILD names."""
    monkeypatch.setattr(RemoteEngine, "module", "odd_child")
    return monkeypatch


def child_of(binding: LlamaCppBinding) -> process.Child:
    engine = binding._models.engine
    assert isinstance(engine, RemoteEngine)
    assert engine._child is not None
    return engine._child


def kill(binding: LlamaCppBinding) -> int:
    """Kill the model's process, and wait until that is known here."""
    child = child_of(binding)
    pid = child.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    assert child.gone.wait(60)
    return pid


def test_several_in_flight(binding: LlamaCppBinding) -> None:
    """Kill -9 with several answers in the making: each gets BackendCrashed with its text, and the next is served."""
    before = binding.chat("x", n_predict=8, **LONG).text
    begun = threading.Event()
    outcomes: list[tuple[BackendCrashed, str]] = []

    def ask() -> None:
        text = ""
        try:
            for piece in binding.stream("x", **LONG).text_stream:
                text += piece
                begun.set()
        except BackendCrashed as error:
            outcomes.append((error, text))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert begun.wait(60)
    while len(child_of(binding)._calls) < 4:
        threading.Event().wait(0.001)
    pid = kill(binding)
    for thread in threads:
        thread.join(60)
    assert len({id(error) for error, _ in outcomes}) == 4
    assert any(text for _, text in outcomes)
    for error, text in outcomes:
        assert (error.signal, error.partial) == (signal.SIGKILL, text)
        assert "'chatty' died of SIGKILL" in str(error)
        assert "short of memory" in str(error)
    assert binding.chat("x", n_predict=8, **LONG).text == before
    assert binding.get_model_info()["pid"] != pid


def test_the_text_is_kept(binding: LlamaCppBinding) -> None:
    """generate_text gives what came before the death."""
    pieces: list[str] = []

    def die(piece: str, _: object) -> None:
        if not pieces:
            os.kill(binding.get_model_info()["pid"], signal.SIGSEGV)
        pieces.append(piece)

    answer = binding.generate_text("x", streaming_callback=die, **LONG)
    assert isinstance(answer, dict)
    assert (answer["error_type"], answer["partial"]) == ("BackendCrashed", "".join(pieces))
    assert "GGML_NATIVE=OFF" in answer["error"]


@pytest.mark.parametrize(
    "use",
    [
        lambda binding: binding.chat("x", n_predict=1),
        lambda binding: binding.chat("x", n_predict=1, think=False, tools=None, stop="a"),
        lambda binding: binding.embed("x"),
        lambda binding: binding.tokenize("x"),
        lambda binding: binding.detokenize([1]),
    ],
)
def test_the_next_one(binding: LlamaCppBinding, use: Any) -> None:
    """Whatever comes next starts a new process; until then there is none, and nobody says otherwise."""
    pid = kill(binding)
    info = binding.get_model_info()
    assert (info["loaded"], info["pid"], info["ctx_size"]) == (False, None, CONTEXT)
    assert binding.ps() == []
    use(binding)
    assert binding.ps()[0]["pid"] != pid


def test_many_come_next(binding: LlamaCppBinding) -> None:
    """Of many who come next one starts the process, and all use it."""
    kill(binding)
    start = threading.Barrier(6)
    pids: set[int] = set()

    def ask() -> None:
        start.wait(60)
        assert binding.chat("x", n_predict=3, logit_bias=NEVER).usage.completion_tokens == 3
        pids.add(binding.get_model_info()["pid"])

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(pids) == 1


def test_dead_and_unloaded(binding: LlamaCppBinding) -> None:
    """A model whose process has died can be unloaded, changed and closed like any other."""
    kill(binding)
    assert binding.load_model("bare")
    kill(binding)
    binding.unload()
    assert isinstance(binding.generate_text("x", n_predict=1), str)  # of what went wrong it would be a dict
    kill(binding)


@pytest.mark.parametrize(
    ("way", "number", "told"),
    [
        ("dies", signal.SIGSEGV, "died of SIGSEGV while it loaded the model; .*GGML_NATIVE=OFF"),
        ("exits", None, "exited with 3 while it loaded the model, saying: no more of this"),
    ],
)
def test_death_while_it_loads(
    tiny_folder: Path, odd: pytest.MonkeyPatch, way: str, number: int | None, told: str
) -> None:
    """A process that dies of loading a model is that constructor's error, with the remedy."""
    odd.setenv("ODD_CHILD", way)
    before = Held.now()
    with pytest.raises(BackendCrashed, match=told) as caught:
        LlamaCppBinding(models_path=tiny_folder, model_name="chatty", isolate=True)
    assert caught.value.signal == number
    assert before.more() == ""


def test_no_loop(binding: LlamaCppBinding, odd: pytest.MonkeyPatch) -> None:
    """A process that cannot be started again is tried once for each request, and serves when it can be again."""
    before = binding.chat("x", n_predict=4, temperature=0).text
    kill(binding)
    odd.setenv("ODD_CHILD", "dies")
    started: list[str] = []
    start = process.Child.__init__

    def counted(self: process.Child, name: str, module: str) -> None:
        started.append(module)
        start(self, name, module)

    odd.setattr(process.Child, "__init__", counted)
    for number in (1, 2):
        with pytest.raises(BackendCrashed, match="SIGSEGV"):
            binding.chat("x")
        assert len(started) == number
    assert not binding.load_model("bare")
    odd.undo()
    assert binding.chat("x", n_predict=4, temperature=0).text == before


@pytest.mark.parametrize("way", sorted(WAYS))
def test_nonsense(tiny_folder: Path, odd: pytest.MonkeyPatch, way: str) -> None:
    """A process that says what makes no sense is ended, and its requests get a ProtocolError."""
    odd.setenv("ODD_CHILD", way)
    before = Held.now()
    with pytest.raises(ProtocolError, match="'chatty' was ended"):
        LlamaCppBinding(models_path=tiny_folder, model_name="chatty", isolate=True)
    assert before.more() == ""


def test_cancelled_while_another_starts(binding: LlamaCppBinding, odd: pytest.MonkeyPatch) -> None:
    """A request that is cancelled while the process starts again does not wait for it."""
    kill(binding)
    odd.setattr(process, "PATIENCE", 0.2)
    odd.setenv("ODD_CHILD", "waits")
    stream = binding.stream("x", **LONG)
    reader = threading.Thread(target=lambda: list(stream))
    reader.start()
    while binding._models.engine is None or binding._models.engine.pid is None:
        threading.Event().wait(0.001)
    binding.cancel()
    reader.join(60)
    assert stream.completion.finish_reason == "cancelled"


def test_an_engine_that_fails(folder: Path, odd: pytest.MonkeyPatch) -> None:
    """An engine that has closed by itself in the child is loaded anew, in another child."""
    odd.setenv("ODD_CHILD", "closed")
    before = Held.now()
    with LlamaCppBinding(models_path=folder, model_name="bare", isolate=True) as binding:
        pid = binding.get_model_info()["pid"]
        odd.undo()
        assert isinstance(binding.generate_text("x", n_predict=1), str)
        assert binding.get_model_info()["pid"] != pid
    assert before.more() == ""


def test_words() -> None:
    """How processes end, in words."""
    assert ending(0) == "exited with 0"
    assert ending(-signal.SIGABRT) == "died of SIGABRT"
    assert ending(-60 - signal.NSIG) == f"died of signal {60 + signal.NSIG}"
    error = crash("m", -signal.SIGABRT, ["x" * 300, "GGML_ASSERT(false) failed"])
    assert "saying: " in str(error)
    assert "GGML_ASSERT(false) failed; if that happens again" in str(error)
    assert isinstance(error, LollmsError)
    assert crash("m", 1, []).signal is None
