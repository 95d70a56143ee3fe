"""Plugins, imported and asked in processes of their own, one for each distribution: they may hang or die of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lollms_core.findings import Finding

__all__ = ["Answer", "Inquiry", "ask"]

_AT_ONCE = 8
_GRACE = 2.0  # seconds that a child gets beyond those that it was told, to end by itself
_MAX_REPORT = 4_000_000  # bytes
_MAX_SAID = 300  # characters of what a dying process has written

# The child finds the same packages as this process, whatever folder it is started in, and nothing that a plugin
# prints gets in the way of the report.
_BEGIN = (
    "import sys, json; task = sys.argv.pop(); sys.path[:] = json.loads(task)['path']; "
    "from lollms_core.cli.doctor.child import main; main(task)"
)


@dataclass(frozen=True, slots=True)
class Inquiry:
    """What is asked in one process.

    Attributes:
        bindings: names of bindings.
        others: entry points of other groups, as (name, module, attribute); imported, no more.
    """

    bindings: tuple[str, ...] = ()
    others: tuple[tuple[str, str, str | None], ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """All that is asked for."""
        return (*self.bindings, *(name for name, _, _ in self.others))


@dataclass(slots=True)
class Answer:
    """What came of one name.

    Attributes:
        error: why it cannot be imported, or what became of its process; None if nothing is wrong.
        findings: what it says of itself.
    """

    error: str | None = None
    findings: list[Finding] = field(default_factory=list)


@dataclass(slots=True)
class _Child:
    inquiry: Inquiry
    process: subprocess.Popen[bytes]
    folder: Path
    end: float


def ask(
    inquiries: Sequence[Inquiry], *, directory: os.PathLike[str], group: str, seconds: float
) -> Iterator[dict[str, Answer]]:
    """Put the inquiries, some at a time; yields what came of each, in their order, by name.

    Args:
        inquiries: one for each process.
        directory: of the manager, with folders of bindings.
        group: of the manager, in which bindings are declared.
        seconds: that a process may take.

    Raises:
        OSError: no process can be started, or there is no room for temporary files.
    """
    with tempfile.TemporaryDirectory(prefix="lollms-doctor-", ignore_cleanup_errors=True) as name:
        for first in range(0, len(inquiries), _AT_ONCE):
            children: list[_Child] = []
            try:
                for number, inquiry in enumerate(inquiries[first : first + _AT_ONCE], first):
                    folder = Path(name, str(number))
                    folder.mkdir()
                    task = {"directory": str(directory), "group": group, "seconds": seconds}
                    children.append(_started(inquiry, folder, task, seconds))
                for child in children:
                    yield _answers(child, _ended(child), seconds)
            finally:
                for child in children:
                    _kill(child.process)


def _started(inquiry: Inquiry, folder: Path, task: Mapping[str, Any], seconds: float) -> _Child:
    entries: list[object] = [*sys.path]  # some programs put other things there, which importing passes over
    told = {
        **task,
        "path": [entry for entry in entries if isinstance(entry, str)],
        "report": str(folder / "report"),
        "bindings": inquiry.bindings,
        "others": inquiry.others,
    }
    flags = ["-I"] if sys.flags.isolated else []
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable or "", *flags, "-c", _BEGIN, json.dumps(told)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            # A group of its own: what it starts in turn is ended with it, and Ctrl-C here is ours to pass on.
            start_new_session=True,
        )
    return _Child(inquiry, process, folder, time.monotonic() + seconds + _GRACE)


def _ended(child: _Child) -> int | None:
    """The return code, None if it took too long."""
    try:
        return child.process.wait(max(0.0, child.end - time.monotonic()))
    except subprocess.TimeoutExpired:
        _kill(child.process)
        return None


def _kill(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        return
    if sys.platform == "win32":
        process.kill()
    else:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _answers(child: _Child, code: int | None, seconds: float) -> dict[str, Answer]:
    steps: dict[str, str] = {}
    answers = {name: Answer() for name in child.inquiry.names}
    for said in _report(child.folder / "report"):
        name = str(said.get("name"))
        answer = answers.get(name)
        if answer is None:
            continue
        if "step" in said:
            steps[name] = str(said["step"])
        if "failed" in said:
            answer.error, steps[name] = str(said["failed"]), "done"
        if isinstance(said.get("finding"), dict):
            answer.findings.append(Finding(**said["finding"]))
    ending = _ending(child, code, seconds)
    busy = [name for name, step in steps.items() if step == "import"]
    for name, answer in answers.items():
        if steps.get(name) == "import":
            answer.error = f"importing it {ending}"
        elif steps.get(name) == "imported":
            answer.error = f"asking it {ending}"
        elif name not in steps:
            why = f"importing {busy[0]}" if busy else "its process"
            answer.error = f"it was not tried, because {why} {ending}"
    return answers


def _ending(child: _Child, code: int | None, seconds: float) -> str:
    """How a process ended that had not come to its end, as the end of a sentence."""
    if code is None or code == 0:
        return f"took more than {seconds:g} s"
    if code > 0:
        how = f"ended the process with status {code}"
    else:
        try:
            how = f"ended the process by {signal.Signals(-code).name}"
        except ValueError:
            how = f"ended the process by signal {-code}"
    try:
        words = (child.folder / "output").read_bytes()[-_MAX_SAID * 4 :].decode("utf-8", "replace").split()
    except OSError:
        words = []
    return f"{how}, saying: {' '.join(words)[-_MAX_SAID:]}" if words else how


def _report(file: Path) -> Iterator[dict[str, Any]]:
    """What the child has written, up to its death."""
    try:
        with file.open("rb") as opened:
            lines = opened.read(_MAX_REPORT).splitlines()
    except OSError:
        return
    for line in lines:
        try:
            said = json.loads(line)
        except ValueError:
            return
        if isinstance(said, dict):
            yield said
