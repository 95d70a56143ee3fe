"""probe(): whether llama.cpp computes here; and builds that are tried before they are used."""

from __future__ import annotations

import json
import logging
import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lollms_core import BackendUnavailable
from lollms_core.testing import Held
from lollms_llamacpp import LlamaCppBinding, Probe, native, probe, vision
from lollms_llamacpp.gguf_tables import TENSOR_TYPES
from lollms_llamacpp.model_file import model_file
from lollms_llamacpp.options import LoadOptions
from lollms_llamacpp.probing import builds, run, trial
from lollms_llamacpp.probing import tiny_model as tiny_models
from lollms_llamacpp.probing.builds import Cpu, check_build
from lollms_llamacpp.probing.tiny_model import N_VOCAB, tiny_model

AMX = "CPU : AVX2 = 1 | AMX_INT8 = 1 | "
VIRTUAL = (
    "processor\t: 0\nmodel name\t: Some CPU\nflags\t\t: fpu amx_int8 hypervisor\n\nprocessor\t: 1\nflags\t: none\n"
)


@pytest.fixture
def odd(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Probe]:
    """What comes of a trial that goes wrong in this way."""

    def try_it(way: str) -> Probe:
        monkeypatch.setenv("DYING_TRIAL", way)
        return run.run_trial("dying_trial", 0.5 if way == "waits" else 60)

    return try_it


def test_this_machine() -> None:
    """llama.cpp works where these tests run; its build is described, and nothing is left behind."""
    before = Held.now()
    found = probe()
    assert (found.ok, found.signal, found.error, found.remedy) == (True, None, None, None)
    assert found.version is not None
    assert "llama-cpp-python 0." in found.version
    assert found.system_info is not None
    assert "= 1" in found.system_info
    assert 0 < found.seconds < 60
    assert before.more() == ""


def test_a_doctor_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the trial came to, with the remedy that it knows, or one for a machine that was too slow."""
    outcomes = [
        Probe(ok=True, version="llama-cpp-python 9", system_info="AVX = 1", seconds=1.0),
        Probe(ok=False, signal=4, error="llama.cpp was ended by SIGILL", remedy="install another build"),
        Probe(ok=False, error="llama.cpp had not computed its first tokens after 1 s"),
    ]
    given: list[float] = []

    def try_it(*, timeout: float) -> Probe:
        given.append(timeout)
        return outcomes.pop(0)

    monkeypatch.setattr("lollms_llamacpp.probing.probe", try_it)
    found = [finding for _ in range(3) for finding in LlamaCppBinding.diagnose(7)]
    assert [finding.state for finding in found] == ["ok", "problem", "problem"]
    assert found[0].text == "llama-cpp-python 9 computes on this machine"
    assert found[0].facts["version"] == "llama-cpp-python 9"
    assert (found[1].remedy, found[1].facts["signal"]) == ("install another build", 4)
    assert "--timeout" in str(found[2].remedy)
    assert given == [7, 7, 7]


def test_llama_cpp_stays_away() -> None:
    """The process that asks does not load llama.cpp."""
    code = (
        "import sys, lollms_llamacpp\n"
        "assert lollms_llamacpp.probe().ok\n"
        "print([name for name in ('llama_cpp', 'numpy') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf"), True, "1"])
def test_misuse(timeout: Any) -> None:
    """A time that is none is refused."""
    with pytest.raises((TypeError, ValueError), match="timeout"):
        probe(timeout=timeout)


def test_a_crash(odd: Callable[[str], Probe]) -> None:
    """What kills the process is told with the signal, the build that died, and the remedy."""
    found = odd("SIGSEGV")
    assert (found.ok, found.signal) == (False, signal.SIGSEGV)
    assert found.error == "llama.cpp died of SIGSEGV while it computed"
    assert found.remedy is not None
    assert "GGML_NATIVE=OFF" in found.remedy
    assert (found.version, found.system_info) == ("9", "AMX_INT8 = 1 |")
    assert odd("SIGSEGV at once").error == "llama.cpp died of SIGSEGV while it was loaded"
    assert odd("SIGABRT").error == "llama.cpp died of SIGABRT while it computed, saying: GGML_ASSERT(false) failed"


def test_other_ends(odd: Callable[[str], Probe]) -> None:
    """A kill from outside accuses nobody; an exit, a word and silence are told as they are."""
    killed = odd("SIGKILL")
    assert (killed.ok, killed.signal, killed.remedy) == (False, signal.SIGKILL, None)
    exited = odd("exits")
    assert exited.error == "llama.cpp exited with 1 while it computed, saying: no more of this"
    assert exited.remedy is not None
    told = odd("says why")
    assert told.error == "llama-cpp-python cannot be imported (none)"
    assert told.remedy is not None
    silent = odd("says nothing")
    assert silent.error == "the trial of llama.cpp ended without a word"


def test_a_trial_without_end(odd: Callable[[str], Probe]) -> None:
    """A trial that takes too long is ended, and that is no verdict on the build."""
    before = Held.now()
    found = odd("waits")
    assert (found.ok, found.signal, found.remedy) == (False, None, None)
    assert found.error == "llama.cpp had not computed its first tokens after 0.5 s"
    assert before.more() == ""


def test_no_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no process can be started, that is what the probe says."""
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    assert "cannot be tried" in str(probe().error)
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    assert "interpreter" in str(probe().error)


# The model and the trial --------------------------------------------------------------------------------------


def test_tiny_model(tmp_path: Path) -> None:
    """The model is sound for our own reader, and has a matrix of each type that is multiplied with AMX."""
    file = tmp_path / "tiny.gguf"
    file.write_bytes(tiny_model())
    found = model_file(file)
    found.check(tokens=False)
    assert found.n_layers == 1
    kinds = {tensor.kind for tensor in found.tensors.values()}
    # qtype_has_amx_kernels of ggml/src/ggml-cpu/amx/common.h
    assert kinds == {"F32", "Q4_0", "Q4_1", "Q8_0", "Q4_K", "Q5_K", "Q6_K", "IQ4_XS"}
    for kind, (elements, block) in tiny_models._BLOCKS.items():
        assert (elements, len(block(bytes))) == (TENSOR_TYPES[kind].block, TENSOR_TYPES[kind].size)


class Failing:
    """llama.cpp, one of whose functions fails."""

    def __init__(self, lib: Any, name: str, result: object) -> None:
        self._lib, self._name, self._result = lib, name, result

    def __getattr__(self, name: str) -> Any:
        return (lambda *_: self._result) if name == self._name else getattr(self._lib, name)


def test_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The trial, here: what it writes, and what it says of a model that cannot be loaded or computed."""
    monkeypatch.setattr(trial, "_no_core_file", lambda: None)
    native.library()  # keeps llama.cpp's words from the terminal
    file, report = tmp_path / "tiny.gguf", tmp_path / "report"
    file.write_bytes(tiny_model())
    trial.main([str(file), str(report)])
    lines = [json.loads(line) for line in report.read_text("utf-8").splitlines()]
    assert [sorted(line) for line in lines] == [["system_info", "version"], ["computed"]]
    lib = native.library().functions
    assert trial._compute(lib, str(tmp_path / "nowhere")) == "llama.cpp cannot load a tiny model"
    assert trial._compute(Failing(lib, "llama_decode", 1), str(file)) == (
        "llama.cpp cannot compute (llama_decode returned 1)"
    )
    assert "make room" in str(trial._compute(Failing(lib, "llama_init_from_model", None), str(file)))
    monkeypatch.setattr(math, "isfinite", lambda _: False)
    assert trial._compute(lib, str(file)) == "llama.cpp computes what is no number"
    assert N_VOCAB == 64


# Builds -------------------------------------------------------------------------------------------------------


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A virtual machine whose CPU reports AMX, with an empty cache folder, and libraries in a folder of their own."""
    (tmp_path / "cpuinfo").write_text(VIRTUAL, "utf-8")
    monkeypatch.setattr(builds, "_CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda *_, **__: str(tmp_path / "cache"))
    builds._file.cache_clear()
    monkeypatch.setattr(builds, "_failures", {})
    folder = tmp_path / "lib"
    folder.mkdir()
    for name in ("libllama.so", "libggml-cpu.so"):
        (folder / name).write_bytes(b"machine code")
    yield folder
    builds._file.cache_clear()


def build(folder: Path, info: str = AMX) -> Any:
    return SimpleNamespace(_lib=SimpleNamespace(_name=str(folder / "libllama.so")), llama_print_system_info=info.encode)


def tries(*outcomes: Probe) -> tuple[list[Probe], Callable[[], Probe]]:
    """A trial with these outcomes, one after the other, and those that are left."""
    left = list(outcomes)
    return left, lambda: left.pop(0)


GOOD = Probe(ok=True)
DEAD = Probe(ok=False, signal=11, error="llama.cpp died of SIGSEGV while it computed", remedy="install it anew")


def test_cpu() -> None:
    """What is doubtful: a build with AMX on a virtual machine, or on a CPU without."""
    rows = [
        ({"amx_int8", "hypervisor"}, AMX, True),
        ({"amx_int8"}, AMX, False),
        ({"avx2"}, AMX, True),
        ({"amx_int8", "hypervisor"}, "AVX2 = 1 | AMX_INT8 = 0", False),
        ({"amx_int8", "hypervisor"}, "AVX2 = 1", False),
    ]
    for flags, info, doubtful in rows:
        assert Cpu("x", frozenset(flags)).doubtful(info) is doubtful


def test_sound_builds(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A build without AMX is not tried, nor any where the system does not tell its CPU."""
    _, never = tries()
    check_build(build(machine, "AVX2 = 1"), try_it=never)
    monkeypatch.setattr(builds, "_CPUINFO", machine / "nowhere")
    check_build(build(machine), try_it=never)


def test_a_build_that_works(machine: Path) -> None:
    """It is tried once, until one of its libraries is built anew or the CPU is another."""
    left, try_it = tries(GOOD, GOOD, GOOD, GOOD)
    check_build(build(machine), try_it=try_it)
    check_build(build(machine), try_it=try_it)
    assert len(left) == 3
    os.utime(machine / "libggml-cpu.so", (1, 1))
    check_build(build(machine), try_it=try_it)
    check_build(build(machine), try_it=try_it)
    assert len(left) == 2
    (machine / "libllama.so").write_bytes(b"other machine code")
    check_build(build(machine), try_it=try_it)
    assert len(left) == 1
    builds._CPUINFO.write_text(VIRTUAL.replace("fpu", "fpu avx512f"), "utf-8")
    check_build(build(machine), try_it=try_it)
    check_build(build(machine), try_it=try_it)
    assert left == []


def test_a_build_that_dies(machine: Path) -> None:
    """It is an error with the remedy, known for as long as this process lives, and not beyond."""
    left, try_it = tries(DEAD, GOOD)
    for _ in range(2):
        with pytest.raises(BackendUnavailable, match="died of SIGSEGV while it computed; install it anew"):
            check_build(build(machine), try_it=try_it)
    assert left == [GOOD]
    builds._failures.clear()
    check_build(build(machine), try_it=try_it)
    assert left == []


def test_a_trial_that_tells_nothing(machine: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What says nothing about the build is logged, and not kept."""
    _, try_it = tries(Probe(ok=False, error="it took too long"), GOOD)
    check_build(build(machine), try_it=try_it)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "it took too long" in caplog.text
    check_build(build(machine), try_it=try_it)


@pytest.mark.parametrize("content", ["", "{}", "[7]", "[", "\ud83d"])
def test_a_damaged_memory(machine: Path, content: str) -> None:
    """What is kept may be damaged or not writable: the build is tried again."""
    file = builds._file()
    file.parent.mkdir()
    file.write_bytes(content.encode("utf-8", "surrogatepass"))
    left, try_it = tries(GOOD)
    check_build(build(machine), try_it=try_it)
    assert left == []
    assert len(json.loads(file.read_text("utf-8"))) == 1


def test_no_room_for_memory(machine: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Where nothing can be kept the build is used all the same."""
    builds._file().parent.write_bytes(b"no folder")
    left, try_it = tries(GOOD, GOOD)
    with caplog.at_level(logging.INFO):
        check_build(build(machine), try_it=try_it)
        check_build(build(machine), try_it=try_it)
    assert left == []
    assert "cannot be kept" in caplog.text


def test_memory_is_bounded(machine: Path) -> None:
    """Old entries go."""
    for number in range(100):
        builds._remember(str(number))
    assert builds._remembered() == [str(number) for number in range(36, 100)]


def test_the_host_lives(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first model on a machine where this build dies is an error; the process that asked for it lives."""
    monkeypatch.setenv("DYING_TRIAL", "SIGSEGV")
    monkeypatch.setattr(builds, "_failures", {})
    monkeypatch.setattr(Cpu, "doubtful", lambda self, info: True)
    monkeypatch.setattr(Cpu, "here", lambda: Cpu("x", frozenset()))
    monkeypatch.setattr(run, "TRIAL", "dying_trial")
    native._library.cache_clear()
    with pytest.raises(BackendUnavailable, match=r"died of SIGSEGV.*GGML_NATIVE=OFF"):
        LlamaCppBinding(models_path=tiny_folder, model_name="chatty")
    monkeypatch.undo()
    assert native.Model(tiny_folder / "chatty.gguf", LoadOptions()).n_vocab == 260
    vision._functions.cache_clear()  # libmtmd is to speak to the new one
