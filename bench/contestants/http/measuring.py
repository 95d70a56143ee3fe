"""What is measured of a client: how fast it reads a stream, how long a plain call takes, what many streams cost."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, TypeAlias

from bench.contestants.http.answers import words
from bench.contestants.serving import Task, peak_memory, serve

__all__ = ["PROMPT", "Client", "Take", "serve_client"]

PROMPT: Final = "Say some words, please."

Take: TypeAlias = Callable[[str], object]
"""Gets the pieces of an answer's text."""


class Client:
    """A client, with those of the ways to ask that it has.

    Args:
        setting: has the ``address`` of the server, without a path, and the ``model`` to ask.
    """

    versions: dict[str, str]

    def __init__(self, setting: Task) -> None:
        self.address: str = setting["address"]
        self.model: str = setting["model"]

    def stream(self, take: Take) -> None:
        """Ask for a stream, and read it to its end."""
        raise NotImplementedError

    async def astream(self, take: Take) -> None:
        """The same on asyncio."""
        raise NotImplementedError

    def ask(self) -> str:
        """Ask for an answer that is not streamed; its text."""
        raise NotImplementedError

    def close(self) -> None:
        """Close what is open; as far as it is not left to the end of the process."""


class _Measured:
    def __init__(self, client: Client, loop: asyncio.Runner) -> None:
        self.versions = client.versions
        self._client = client
        self._loop = loop
        self._tasks = {"stream": self._stream, "astream": self._astream, "ask": self._ask, "many": self._many}

    def do(self, task: Task) -> dict[str, Any]:
        """Do a task; what was measured."""
        return self._tasks[task["do"]](task)

    def _stream(self, task: Task) -> dict[str, Any]:
        return self._streams(task, self._client.stream)

    def _astream(self, task: Task) -> dict[str, Any]:
        return self._streams(task, lambda take: self._loop.run(self._client.astream(take)))

    def _streams(self, task: Task, read: Callable[[Take], None]) -> dict[str, Any]:
        """One stream for the time to its first piece, then as many as the round has time for."""
        expected = words(task["words"])
        begun, first = time.perf_counter(), _First()
        read(first)
        _check(expected, first.pieces)

        def once() -> None:
            pieces: list[str] = []
            read(pieces.append)
            _check(expected, pieces)

        answer = self._repeated(once, task["seconds"])
        each = answer["seconds"] / answer["times"] / len(expected)
        return {**answer, "speed": 1 / each, "each": each, "first": first.time - begun}

    def _ask(self, task: Task) -> dict[str, Any]:
        expected = "".join(words(task["words"]))

        def once() -> None:
            text = self._client.ask()
            if text != expected:
                raise RuntimeError(f"the answer was {text[:200]!r}")

        answer = self._repeated(once, task["seconds"])
        return {
            **answer,
            "call": answer["seconds"] / answer["times"],
            "cpu": answer["client"] * answer["seconds"] / answer["times"],
        }

    def _repeated(self, once: Callable[[], None], least: float) -> dict[str, Any]:
        """Do something again and again for at least so many seconds."""
        times, served = 0, self._served()
        used, begun = time.process_time(), time.perf_counter()
        while (seconds := time.perf_counter() - begun) < least:
            once()
            times += 1
        used = time.process_time() - used
        return {
            "seconds": seconds,
            "times": times,
            "client": used / seconds,
            "server": (self._served() - served) / seconds,
        }

    def _many(self, task: Task) -> dict[str, Any]:
        """Two equal waves of streams, all of a wave at once; what memory it takes, and what is left of it."""
        self._client.ask()  # what is only loaded when it is first needed is no matter of the streams
        before = _resident()
        first, used = self._wave(task)
        peak, after, blocks = peak_memory(), _resident(), sys.getallocatedblocks()
        second, _ = self._wave(task)
        return {
            "seconds": first,
            "second": second,
            "client": used / first,
            "peak": peak - before,
            "left": (sys.getallocatedblocks() - blocks) / task["streams"],
            "grown": _resident() - after,
        }

    def _wave(self, task: Task) -> tuple[float, float]:
        """Seconds that a wave takes, and seconds of CPU."""
        expected = "".join(words(task["words"]))

        async def read() -> None:
            pieces: list[str] = []
            await self._client.astream(pieces.append)
            if "".join(pieces) != expected:
                raise RuntimeError(f"a stream gave {''.join(pieces)[:200]!r}")

        async def read_all() -> None:
            await asyncio.gather(*(read() for _ in range(task["streams"])))

        used, begun = time.process_time(), time.perf_counter()
        self._loop.run(read_all())
        seconds, used = time.perf_counter() - begun, time.process_time() - used
        gc.collect()
        return seconds, used

    def _served(self) -> float:
        """Seconds of CPU that the server has used."""
        with urllib.request.urlopen(f"{self._client.address}/used") as answer:  # noqa: S310 - the loopback server
            return float(json.load(answer))


class _First:
    """Takes pieces, and notes when the first one came."""

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self.time = 0.0

    def __call__(self, piece: str) -> None:
        self.time = self.time or time.perf_counter()
        self.pieces.append(piece)


def _check(expected: list[str], pieces: list[str]) -> None:
    """Whether all of the text came, and came in its pieces."""
    if [piece for piece in pieces if piece] != expected:
        raise RuntimeError(f"{len(pieces)} pieces came instead of {len(expected)}; the first are {pieces[:5]}")


def _resident() -> int:
    """Bytes of this process that are in memory (Linux)."""
    pages = Path("/proc/self/statm").read_text("ascii").split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def serve_client(make: Callable[[Task], Client]) -> None:
    """Measure the client that `make` gives for a setting."""

    @contextlib.contextmanager
    def made(setting: Task) -> Iterator[_Measured]:
        with asyncio.Runner() as loop:
            client = make(setting)
            try:
                yield _Measured(client, loop)
            finally:
                client.close()

    serve(made)
