"""A neighbour that computes in Python all the time."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from collections.abc import Iterator

__all__ = ["busy_process", "busy_thread"]

_LOOP = "number = 0\nwhile True:\n    number = (number * 31 + 7) % 1000003"


@contextlib.contextmanager
def busy_thread() -> Iterator[None]:
    """One in this process: it wants the interpreter's lock whenever it can have it."""
    end = threading.Event()

    def compute() -> None:
        number = 0
        while not end.is_set():
            for _ in range(1000):
                number = (number * 31 + 7) % 1000003

    thread = threading.Thread(target=compute)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()


@contextlib.contextmanager
def busy_process() -> Iterator[None]:
    """One in another process: it wants a CPU, and no lock of ours."""
    with subprocess.Popen([sys.executable, "-c", _LOOP]) as process:
        try:
            yield
        finally:
            process.kill()
