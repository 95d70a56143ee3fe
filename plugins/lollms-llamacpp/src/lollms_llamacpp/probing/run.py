"""The question whether llama.cpp works here, for this process the answer alone: llama.cpp is not loaded in it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

__all__ = ["Probe", "probe", "run_trial"]

TRIAL: Final = "lollms_llamacpp.probing.trial"

_SECONDS: Final = 60.0
_MAX_SAID: Final = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What came of one decode in a process of its own.

    Attributes:
        ok: whether llama.cpp was loaded, has read a model and computed with it.
        signal: the number of the signal that ended the process, None if none did.
        error: what went wrong, in one sentence; None if nothing did.
        version: of llama-cpp-python and of the llama.cpp in it; None if it could not be loaded.
        system_info: what that build uses of the CPU, in llama.cpp's words; None likewise.
        seconds: that it took.
        remedy: what to do about the error; None if nothing is known.
    """

    ok: bool
    signal: int | None = None
    error: str | None = None
    version: str | None = None
    system_info: str | None = None
    seconds: float = 0.0
    remedy: str | None = None


def probe(*, timeout: float = _SECONDS) -> Probe:
    """Load llama.cpp in a child process and have it compute one prompt and one token on a tiny model.

    The model is made for it (0.4 MB in a temporary folder), with a matrix in each of the types that ggml has kernels
    for Intel's AMX for, so that a build which dies of them dies here.

    Args:
        timeout: seconds that it may take; most of the time goes into loading llama-cpp-python.

    Returns:
        What came of it. A failure of any kind is told there, too, not raised.

    Raises:
        TypeError, ValueError: `timeout` is no number above 0.
    """
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)):
        raise TypeError(f"timeout must be a number, not {timeout!r}")
    if not 0 < timeout < float("inf"):
        raise ValueError(f"timeout must be greater than 0 and finite, not {timeout}")
    return run_trial(TRIAL, timeout)


def run_trial(module: str, timeout: float) -> Probe:
    """What comes of ``main([model, report])`` of `module` in a child process."""
    import tempfile

    from lollms_core import LollmsError
    from lollms_llamacpp.probing.tiny_model import tiny_model

    begun = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="lollms-probe-", ignore_cleanup_errors=True) as name:
            folder = Path(name)
            (folder / "tiny.gguf").write_bytes(tiny_model())
            code = _run(module, folder, timeout)
            return _judged(code, folder, timeout, time.monotonic() - begun)
    except (OSError, LollmsError) as error:
        return Probe(ok=False, error=f"llama.cpp cannot be tried: {error}", seconds=time.monotonic() - begun)


def _run(module: str, folder: Path, timeout: float) -> int | None:
    """The child's return code, None if it took too long."""
    import subprocess

    from lollms_llamacpp.isolated.launch import environment, python_command

    command = python_command(module, [str(folder / "tiny.gguf"), str(folder / "report")])
    with (folder / "output").open("wb") as output:
        child = subprocess.Popen(
            command, env=environment(), stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        return child.wait(timeout)
    except subprocess.TimeoutExpired:
        return None
    finally:
        if child.poll() is None:
            child.kill()
            child.wait()


def _judged(code: int | None, folder: Path, timeout: float, seconds: float) -> Probe:
    import signal as signals

    from lollms_llamacpp.isolated.deaths import FAULTS, ending
    from lollms_llamacpp.native import REMEDY

    report = _report(folder / "report")
    found: dict[str, Any] = {
        "version": report.get("version"),
        "system_info": report.get("system_info"),
        "seconds": seconds,
    }
    if code == 0 and report.get("computed"):
        return Probe(ok=True, **found)
    where = "while it computed" if found["version"] else "while it was loaded"
    if code is None:
        error = f"llama.cpp had not computed its first tokens after {timeout:g} s"
        return Probe(ok=False, error=error, **found)
    if code == 0:
        error = str(report.get("error") or "the trial of llama.cpp ended without a word")
        return Probe(ok=False, error=error, remedy=f"install it with: {REMEDY}", **found)
    signal = -code if code < 0 else None
    error = f"llama.cpp {ending(code)} {where}"
    if signal in {None, int(signals.SIGABRT)}:  # the others come without a word
        error += f", saying: {' '.join((folder / 'output').read_text('utf-8', 'replace').split())[-_MAX_SAID:]}"
    # Who was killed from outside has done nothing wrong.
    remedy = f"install it with: {REMEDY}" if signal is None or signal in FAULTS else None
    return Probe(ok=False, signal=signal, error=error, remedy=remedy, **found)


def _report(file: Path) -> dict[str, Any]:
    """What the child has written, up to its death."""
    import json

    report: dict[str, Any] = {}
    try:
        lines = file.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return report
    for line in lines:
        try:
            said = json.loads(line)
        except ValueError:
            break
        if isinstance(said, dict):
            report |= said
    return report
