"""The processes of the contestants: started, asked, stopped."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import threading
from pathlib import Path
from typing import Any, Final, Self

from bench.cases import Contestant, Kit, Task

__all__ = ["ROOT", "Process"]

ROOT: Final = Path(__file__).parents[1]

_ANSWER: Final = 600.0
_END: Final = 20.0
"""Seconds that an answer may take, and that a process may take to end."""


class Process:
    """One that serves a contestant's tasks (`bench.contestants.serving`).

    Args:
        contestant: whose; its setting goes first.
        kit: for the Python and the folder of logs.

    Raises:
        RuntimeError: it does not start, or does not answer; the text has the end of its log.
    """

    def __init__(self, contestant: Contestant, kit: Kit) -> None:
        self.name = contestant.name
        logs = kit.folder / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        self._log = logs / f"{contestant.module}-{contestant.python}.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [kit.pythons[contestant.python], "-m", f"bench.contestants.{contestant.module}"],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,  # Ctrl-C does not reach it: it is stopped from here
            )
        try:
            self.ask(contestant.setting)
        except BaseException:
            self.close()
            raise

    def ask(self, task: Task) -> dict[str, Any]:
        """Have a task done; what was measured."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        late = threading.Timer(_ANSWER, self._signal, (signal.SIGKILL,))
        late.start()
        try:
            with contextlib.suppress(BrokenPipeError):
                print(json.dumps(dict(task)), file=self._process.stdin, flush=True)
            line = self._process.stdout.readline()
        finally:
            late.cancel()
        if not line:
            raise RuntimeError(f"{self.name} gave no answer within {_ANSWER:g} s; its log ends with:\n{self._said()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End it: it is asked first, and killed if it takes too long."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                self._process.wait(_END)
                break
            except subprocess.TimeoutExpired:
                self._signal(number)
        self._process.wait()
        self._process.stdout.close()

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def _said(self) -> str:
        return "\n".join(self._log.read_text("utf-8", "replace").splitlines()[-20:])
