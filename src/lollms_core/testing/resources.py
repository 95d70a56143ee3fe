"""What a process holds, before and after: threads, tasks, sockets, open files."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

__all__ = ["Held"]

_FOLDER = Path("/proc/self/fd")


@dataclass(frozen=True, slots=True)
class Held:
    """What is held at one moment.

    Attributes:
        threads: the threads that run.
        tasks: the running loop's tasks, where there is one.
        files: open files, pipes and sockets, by what they are; empty where the system does not tell (it takes
            /proc/self/fd).
    """

    threads: frozenset[threading.Thread]
    tasks: frozenset[asyncio.Task[object]]
    files: frozenset[str]

    @classmethod
    def now(cls) -> Self:
        """What is held now."""
        try:
            tasks = frozenset(asyncio.all_tasks())
        except RuntimeError:  # no loop runs here
            tasks = frozenset()
        return cls(frozenset(threading.enumerate()), tasks, _files())

    def more(self, *, within: float = 5.0) -> str:
        """What is held now beyond this, in words, "" if nothing is.

        Args:
            within: seconds that a thread may take to end, or the garbage collector to find what nobody holds.
        """
        ends = time.monotonic() + within
        while True:
            now = self.now()
            left = [
                *(f"thread {thread.name}" for thread in now.threads - self.threads),
                *(f"task {task.get_name()}" for task in now.tasks - self.tasks if not task.done()),
                *sorted(now.files - self.files),
            ]
            if not left or time.monotonic() > ends:
                return ", ".join(left)
            gc.collect()
            time.sleep(0.005)


def _files() -> frozenset[str]:
    found = set()
    if _FOLDER.is_dir():
        for link in _FOLDER.iterdir():
            with contextlib.suppress(OSError):  # the one through which the folder is read
                found.add(f"{link.name}: {link.readlink()}")
    return frozenset(name for name in found if "/proc/" not in name)
