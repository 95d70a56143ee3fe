"""Whole processes: how long they take from their start to their end, and what they say of themselves.

The Python that runs this is the one that the processes are started with.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.contestants.serving import Task, serve, versions


class Starting:
    """The contestant.

    The setting has ``arguments`` of Python or, with ``script``, of a program that pip has installed, and ``says``,
    which is in what it prints; ``probe``, the arguments of a second process, which prints JSON; ``forgets``, if there
    is to be nothing in the user's cache; and ``distributions``, whose versions are told.
    """

    def __init__(self, setting: Task, home: Path) -> None:
        self.versions = versions(*setting.get("distributions", ()))
        # Python is named, because the line that begins a script names the place where its environment was made.
        script = [str(Path(sys.executable).with_name(setting["script"]))] if "script" in setting else []
        self._command = [sys.executable, *script, *setting["arguments"]] if "arguments" in setting else []
        self._probe = [sys.executable, *setting["probe"]] if "probe" in setting else []
        self._cache = home / ".cache"
        self._forgets = bool(setting.get("forgets"))
        # A user who has configured nothing, with what every process needs.
        self._variables = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(home), "LANG": "C.UTF-8"}
        said = self._run(self._command) if self._command else ""
        if setting.get("says", "") not in said:
            raise RuntimeError(f"{self._command} does not say {setting['says']!r} but {said[-500:]!r}")

    def do(self, task: Task) -> dict[str, Any]:
        """Seconds of a process, and what the probe says."""
        if self._forgets:
            shutil.rmtree(self._cache, ignore_errors=True)
        answer: dict[str, Any] = {"seconds": self._seconds()} if self._command else {}
        return {**answer, **(json.loads(self._run(self._probe)) if self._probe else {})}

    def _seconds(self) -> float:
        nowhere = [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_RDWR, 0) for number in (0, 1, 2)]
        begun = time.perf_counter()
        process = os.posix_spawn(self._command[0], self._command, self._variables, file_actions=nowhere)
        _, status = os.waitpid(process, 0)
        seconds = time.perf_counter() - begun
        if status:
            raise RuntimeError(f"{self._command} ended with {os.waitstatus_to_exitcode(status)}")
        return seconds

    def _run(self, command: list[str]) -> str:
        return subprocess.run(command, env=self._variables, stdout=subprocess.PIPE, text=True, check=True).stdout


@contextlib.contextmanager
def with_empty_home(setting: Task) -> Iterator[Starting]:
    """One whose processes find an empty home directory and are started in it."""
    with tempfile.TemporaryDirectory(prefix="lollms-bench-") as home:
        os.chdir(home)
        yield Starting(setting, Path(home))


if __name__ == "__main__":
    serve(with_empty_home)
