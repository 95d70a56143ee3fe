"""What a contestant's program is made of. The peers' Pythons run this too, so it needs nothing but the library."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

__all__ = ["VERSIONS", "Does", "Task", "peak_memory", "serve", "together", "versions"]

Task = Mapping[str, Any]
T = TypeVar("T")

VERSIONS: Final[Task] = {"do": "versions"}
"""The task of telling them; asked after what is measured, since it takes memory that nothing else here does."""


class Does(Protocol):
    """What does a contestant's tasks."""

    @property
    def versions(self) -> dict[str, str]:
        """Those of the distributions that it runs on, by their names."""
        ...

    def do(self, task: Task) -> dict[str, Any]:
        """Do a task; what was measured."""
        ...


def serve(make: Callable[[Task], AbstractContextManager[Does]]) -> None:
    """Answer what the benchmark asks: a line of JSON for each line of JSON, until the input ends.

    The first line is the setting, and its answer, an empty one, says that all is ready; the others are tasks. What
    libraries print goes to stderr.
    """
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was opened is closed

    def answer(content: object) -> None:
        print(json.dumps(content), file=answers, flush=True)

    with make(json.loads(sys.stdin.readline())) as contestant:
        answer({})
        for line in sys.stdin:
            task = json.loads(line)
            answer(contestant.versions if task == VERSIONS else contestant.do(task))


def versions(*names: str) -> dict[str, str]:
    """Those of distributions."""
    from importlib.metadata import version

    return {name: version(name) for name in names}


def peak_memory(process: int | None = None) -> int:
    """Bytes of a process that were in memory at most since it began (Linux); None is this one.

    ``ru_maxrss`` would not do: it starts with what the parent had.
    """
    status = Path(f"/proc/{process or os.getpid()}/status").read_text("utf-8")
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def together(action: Callable[[T], object], items: Sequence[T]) -> None:
    """Do something with each item, all at once, each in a thread.

    Raises:
        RuntimeError: one has failed; the others have ended.
    """
    failed: list[BaseException] = []
    start = threading.Barrier(len(items))

    def run(item: T) -> None:
        try:
            start.wait()
            action(item)
        except BaseException as error:
            failed.append(error)
            raise

    threads = [threading.Thread(target=run, args=(item,)) for item in items]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise RuntimeError(f"{len(failed)} of {len(items)} failed, the first with {failed[0]!r}") from failed[0]
