"""The life of a model's own process: it comes with the model, goes with it, and never stays behind."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lollms_core import BackendError, BackendUnavailable, CapabilityNotSupported, Finish, LollmsError
from lollms_core.testing import Held
from lollms_llamacpp import LlamaCppBinding
from lollms_llamacpp.isolated import launch, process
from lollms_llamacpp.isolated.remote import RemoteEngine

Make = Callable[..., bytes]
NEVER = {258: -1e9, 256: -1e9}  # the tokens that would end an answer
LONG: dict[str, Any] = {"temperature": 0, "logit_bias": NEVER}


def alive(pid: int) -> bool:
    """Whether there is such a process, a zombie too."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def gone(pid: int) -> bool:
    """Whether it goes, in time enough for a busy machine."""
    until = time.monotonic() + 60
    while alive(pid) and time.monotonic() < until:
        time.sleep(0.01)
    return not alive(pid)


def pid_of(binding: LlamaCppBinding) -> int:
    pid = binding.get_model_info()["pid"]
    assert isinstance(pid, int)
    return pid


@pytest.fixture
def binding(tiny_folder: Path) -> Iterator[LlamaCppBinding]:
    with LlamaCppBinding(models_path=tiny_folder, model_name="chatty", isolate=True) as binding:
        yield binding


def test_what_is_shown(binding: LlamaCppBinding, tiny_folder: Path, tiny: LlamaCppBinding) -> None:
    """Info and ps tell the process; the rest is what it is for a model in this process."""
    info, usual = binding.get_model_info(), tiny.get_model_info()
    assert (info["isolated"], usual["isolated"]) == (True, False)
    assert usual["pid"] == os.getpid()
    assert alive(info["pid"])
    assert info["pid"] != os.getpid()
    own = {"isolated", "pid", "parameters"}
    assert {k: v for k, v in info.items() if k not in own} == {k: v for k, v in usual.items() if k not in own}
    assert binding.ps() == [{**tiny.ps()[0], "pid": info["pid"]}]


def test_close(binding: LlamaCppBinding) -> None:
    """Closing ends what runs, and the process, which leaves no zombie; later calls say that it is closed."""
    stream = binding.stream("x", **LONG)
    events = iter(stream)
    next(events)
    pid = pid_of(binding)
    binding.close()
    binding.close()
    assert not alive(pid)
    assert list(events) == []
    assert stream.completion.finish_reason == "cancelled"
    for call in (lambda: binding.tokenize("x"), lambda: binding.embed("x"), lambda: binding.chat("x")):
        with pytest.raises(BackendUnavailable, match="closed"):
            call()
    assert binding.get_model_info()["loaded"] is False


def test_unload(binding: LlamaCppBinding) -> None:
    """Unloading ends the process at once where nothing runs; the next request starts another."""
    before = binding.chat("x", n_predict=4, temperature=0).text
    pid = pid_of(binding)
    binding.unload()
    assert not alive(pid)
    assert binding.ps() == []
    assert binding.chat("x", n_predict=4, temperature=0).text == before
    assert pid_of(binding) != pid


def test_switch(binding: LlamaCppBinding) -> None:
    """An answer in the making is finished by the old process, which then goes; the new one serves at once."""
    whole = binding.chat("x", n_predict=40, **LONG)
    stream = binding.stream("x", n_predict=40, **LONG)
    events = iter(stream)
    next(events)
    pid = pid_of(binding)
    assert binding.load_model("bare")
    assert isinstance(binding.generate_text("x", n_predict=1), str)  # of what went wrong it would be a dict
    assert alive(pid)
    list(events)
    assert stream.completion.text == whole.text
    assert stream.completion.model == "chatty"
    assert gone(pid)


def test_switch_that_cancels(binding: LlamaCppBinding) -> None:
    """With cancel=True, what the old model does is ended, and its process."""
    stream = binding.stream("x", **LONG)
    events = iter(stream)
    next(events)
    pid = pid_of(binding)
    assert binding.load_model("bare", cancel=True)
    assert not alive(pid)
    assert list(events) == [Finish("cancelled", model="chatty")]


def test_model_of_a_single_request(binding: LlamaCppBinding) -> None:
    """A request's own model has a process of its own, which goes with the request."""
    events = binding._events(binding._text_checked({"model": "sub/bare", **LONG}, "x"))
    next(events)
    own, guest = (model["pid"] for model in binding.ps())
    assert own != guest
    del events
    gc.collect()
    assert gone(guest)
    assert alive(own)


def test_bad_files(tmp_path: Path, make_tiny: Make, make_projector: Make) -> None:
    """What cannot be loaded is the same error as in this process, and no process is left."""
    whole = make_tiny()
    (tmp_path / "refused.gguf").write_bytes(whole.replace(b"blk.0.ffn_norm.weight", b"blk.0.ffn_nurm.weight"))
    (tmp_path / "twice.gguf").write_bytes(make_tiny(tokenizer__ggml__tokens=["x"] * 260))
    (tmp_path / "fine.gguf").write_bytes(whole)
    (tmp_path / "mmproj.gguf").write_bytes(make_projector(n_out=32)[:-500])
    before = Held.now()
    rows: list[dict[str, Any]] = [
        {"model_name": "refused"},
        {"model_name": "twice"},
        {"model_name": "fine", "mmproj": tmp_path / "mmproj.gguf"},
    ]
    for options in rows:
        told = []
        for isolate in (True, False):
            with pytest.raises(LollmsError) as caught:
                LlamaCppBinding(models_path=tmp_path, isolate=isolate, **options)
            told.append((type(caught.value), str(caught.value)))
        assert told[0] == told[1]
        assert told[0][0] is BackendError
    assert before.more() == ""


def test_close_while_it_loads(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Closing ends a loading that is under way: the process is not waited for."""
    monkeypatch.setenv("ODD_CHILD", "waits")
    monkeypatch.setattr(process, "PATIENCE", 0.2)
    monkeypatch.setattr(RemoteEngine, "module", "odd_child")
    before = Held.now()
    binding = LlamaCppBinding(models_path=tiny_folder, isolate=True)
    call = process.Child.call

    def closed_meanwhile(self: process.Child, *args: Any, **keywords: Any) -> int:
        threading.Thread(target=binding.close).start()
        return call(self, *args, **keywords)

    monkeypatch.setattr(process.Child, "call", closed_meanwhile)
    assert not binding.load_model("chatty")
    assert "was ended" in caplog.text
    assert before.more() == ""


def test_a_deaf_child(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that does not end when it is told is killed."""
    monkeypatch.setenv("ODD_CHILD", "deaf")
    monkeypatch.setattr(RemoteEngine, "module", "odd_child")
    monkeypatch.setattr(process, "PATIENCE", 0.2)
    with LlamaCppBinding(models_path=tiny_folder, model_name="chatty", isolate=True) as binding:
        assert binding.tokenize("th") == [259]
        pid = pid_of(binding)
    assert gone(pid)


def test_forgotten_binding(tiny_folder: Path) -> None:
    """A binding that nobody holds any more takes its process along."""
    before = Held.now()
    binding = LlamaCppBinding(models_path=tiny_folder, model_name="chatty", isolate=True)
    pid = pid_of(binding)
    del binding
    gc.collect()
    assert gone(pid)
    assert before.more() == ""


def test_nothing_is_left(binding: LlamaCppBinding, tiny_folder: Path) -> None:
    """After whole lives, with switches, guests, cancels and deaths: no thread, no descriptor, no process more."""

    def live() -> list[int]:
        with LlamaCppBinding(models_path=tiny_folder, model_name="chatty", isolate=True) as one:
            pids = [pid_of(one)]
            one.chat("x", n_predict=1)
            stream = one.stream("x", **LONG)
            next(iter(stream))
            stream.close()
            one.generate_text("x", model="sub/bare", n_predict=1)
            os.kill(pids[0], signal.SIGKILL)
            assert gone(pids[0])
            one.embed("x")
            pids.append(pid_of(one))
            assert one.load_model("bare")
            pids.append(pid_of(one))
        return pids

    live()
    before = Held.now()
    pids = [pid for _ in range(2) for pid in live()]
    assert before.more() == ""
    assert [pid for pid in pids if alive(pid)] == []


# Programs of their own --------------------------------------------------------------------------------------

PROGRAM = (
    "import os, signal, sys, threading\n"
    "from lollms_llamacpp import LlamaCppBinding\n"
    "binding = LlamaCppBinding(model_path=sys.argv[1], isolate=True, n_threads=1)\n"
    "pid = binding.get_model_info()['pid']\n"
    "events = iter(binding.stream('x', temperature=0, logit_bias={258: -1e9, 256: -1e9}))\n"
    "next(events)\n"
)


def program(tiny_folder: Path, code: str, *flags: str) -> subprocess.Popen[str]:
    """A program that has a model in another process, and an answer in the making."""
    return subprocess.Popen(
        [sys.executable, *flags, "-c", PROGRAM + code, str(tiny_folder / "chatty.gguf")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def test_quiet_exit(tiny_folder: Path) -> None:
    """A program that ends without closing, in the midst of answers, ends without a word, and so does the process."""
    code = (
        "begun = threading.Event()\n"
        "def go_on():\n"
        "    while True:\n"
        "        binding.generate_text('x', temperature=0)\n"
        "        begun.set()\n"
        "threading.Thread(target=go_on, daemon=True).start()\n"
        "begun.wait(60)\n"
        "print(pid)\n"
    )
    with program(tiny_folder, code, "-X", "dev", "-W", "error") as done:
        out, err = done.communicate(timeout=60)
    assert (done.returncode, err) == (0, "")
    assert gone(int(out))


@pytest.mark.parametrize("way", ["", "stuck"])
def test_the_parent_dies(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    """When the program dies the process ends by itself, also where it is stuck with the interpreter's lock held."""
    code = "print(pid, flush=True)\nsys.stdin.read()\n"
    if way:
        monkeypatch.setenv("ODD_CHILD", way)
        monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent / "helpers"))
    use_it = "from lollms_llamacpp.isolated.remote import RemoteEngine\nRemoteEngine.module = 'odd_child'\n"
    monkeypatch.setattr(sys.modules[__name__], "PROGRAM", (use_it if way else "") + PROGRAM)
    with program(tiny_folder, code) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert alive(pid)
        parent.kill()
    assert gone(pid)


def test_ctrl_c(tiny_folder: Path) -> None:
    """Ctrl-C goes to all processes of a terminal: it ends the answer, not the model's process."""
    code = (
        # Python leaves it ignored where whoever started the tests has it so, a shell's background job for one.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "try:\n"
        "    print(pid, flush=True)\n"
        "    for event in events: pass\n"
        "    sys.stdin.read()\n"
        "except KeyboardInterrupt:\n"
        "    del events\n"
        "    answer = binding.generate_text('x', n_predict=1, logit_bias={258: -1e9, 256: -1e9})\n"
        "    print(isinstance(answer, str), binding.get_model_info()['pid'] == pid)\n"
        "    binding.close()\n"
    )
    with program(tiny_folder, code) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        os.killpg(parent.pid, signal.SIGINT)
        out, err = parent.communicate(timeout=60)
    assert (out, err) == ("True True\n", "")
    assert gone(pid)


def test_fork(tiny_folder: Path) -> None:
    """The child of a fork does not speak to the process of its parent: it starts its own."""
    code = (
        "import warnings\n"
        "warnings.simplefilter('ignore')\n"
        "forked = os.fork()\n"
        "if not forked:\n"
        "    answer = binding.generate_text('x', n_predict=2, temperature=0)\n"
        "    print(isinstance(answer, str), binding.get_model_info()['pid'] not in (None, pid), flush=True)\n"
        "    binding.close()\n"
        "    os._exit(0)\n"
        "print(os.waitpid(forked, 0)[1], flush=True)\n"
        "print(len(list(events)) > 5, binding.get_model_info()['pid'] == pid)\n"
        "binding.close()\n"
    )
    with program(tiny_folder, code) as parent:
        out, err = parent.communicate(timeout=60)
    assert (out, err) == ("True True\n0\nTrue True\n", "")


# Where it cannot be -----------------------------------------------------------------------------------------


def test_other_systems(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there are no such processes, isolate=True is refused with a clear sentence."""
    monkeypatch.setattr(process, "os", type("os", (), {"name": "nt"}))
    with pytest.raises(CapabilityNotSupported, match="isolate"):
        LlamaCppBinding(models_path=tiny_folder, model_name="chatty", isolate=True)


@pytest.mark.parametrize(("name", "value"), [("frozen", True), ("executable", "")])
def test_no_interpreter(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: object) -> None:
    """A program that is no Python interpreter is not started over and over in the place of one."""
    monkeypatch.setattr(sys, name, value, raising=False)
    with pytest.raises(CapabilityNotSupported, match="interpreter"):
        LlamaCppBinding(models_path=tiny_folder, model_name="chatty", isolate=True)


def test_a_process_that_cannot_be_started(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the system refuses, that is one sentence, and nothing is left."""
    before = Held.now()
    monkeypatch.setattr(sys, "executable", str(tiny_folder / "nowhere"))
    with pytest.raises(BackendUnavailable, match=r"no process can be started.*nowhere"):
        LlamaCppBinding(models_path=tiny_folder, model_name="chatty", isolate=True)
    assert before.more() == ""


def test_flags(monkeypatch: pytest.MonkeyPatch) -> None:
    """An interpreter that ignores the environment or the user's packages has a child that does."""

    class Flags:
        isolated = ignore_environment = no_user_site = 0

    def flags(**given: int) -> list[str]:
        monkeypatch.setattr(sys, "flags", type("flags", (Flags,), given))
        return launch.python_command("x")[1:-4]

    assert flags() == []
    assert flags(ignore_environment=1, no_user_site=1) == ["-E", "-s"]
    assert flags(isolated=1, ignore_environment=1, no_user_site=1) == ["-I"]
