"""The server of the HTTP rows: its answers are ready as bytes, and sent as fast as they are taken.

It speaks as much of OpenAI's and Ollama's chat as the clients need. The model's name says how long an answer is
(`answers.model`).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final

from bench.contestants.http import answers
from bench.contestants.serving import Task, serve

__all__ = ["USED", "Loopback"]

USED: Final = "/used"
"""Where the server tells its CPU time in seconds."""

_JSON: Final = "application/json"


class Loopback:
    """The server, in a thread of its own.

    Args:
        setting: ``gathered``, how many records come in one chunk of HTTP; ``together``, how many streams have to be
            asked for before the first of them begins.
    """

    def __init__(self, setting: Task) -> None:
        self.versions: dict[str, str] = {}
        self._gathered = int(setting.get("gathered", 1))
        self._together = int(setting.get("together", 1))
        self._waiting: list[tuple[asyncio.Transport, tuple[bytes, ...]]] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        listening = self._loop.create_server(lambda: _Connection(self), "127.0.0.1", 0, backlog=4096)
        self._server = asyncio.run_coroutine_threadsafe(listening, self._loop).result()
        self._answer = lru_cache(maxsize=None)(self._made)  # what is asked for twice is made once

    def do(self, _task: Task) -> dict[str, Any]:
        """Where it listens."""
        host, port = self._server.sockets[0].getsockname()
        return {"address": f"http://{host}:{port}"}

    def close(self) -> None:
        """Stop; connections that are open are cut."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._server.close()
        self._loop.close()

    def answer(self, transport: asyncio.Transport, path: str, body: bytes) -> None:
        """Send the answer to a request."""
        if path == USED:
            transport.write(b"".join(_whole(json.dumps(time.process_time()).encode())))
            return
        asked = json.loads(body or b"{}")
        stream = bool(asked.get("stream", path == "/api/chat"))
        usage = bool((asked.get("stream_options") or {}).get("include_usage"))
        try:
            parts = self._answer(path, str(asked.get("model")), stream, usage)
        except ValueError:
            transport.write(b"HTTP/1.1 404 Not Found\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")
            return
        if not stream or self._together == 1:
            transport.write(b"".join(parts))
            return
        self._waiting.append((transport, parts))
        if len(self._waiting) == self._together:
            waiting, self._waiting = self._waiting, []
            self._loop.create_task(_in_turn(waiting)).add_done_callback(_raise)

    def _made(self, path: str, name: str, stream: bool, usage: bool) -> tuple[bytes, ...]:
        words = answers.words(answers.n_words(name))
        if path == "/api/show":
            return _whole(answers.ollama_model(name))
        if not stream:
            return _whole(answers.ollama_whole(words) if path == "/api/chat" else answers.openai_whole(words))
        if path == "/api/chat":
            kind, records = "application/x-ndjson", answers.ollama_stream(words)
        else:
            kind, records = "text/event-stream; charset=utf-8", answers.openai_stream(words, usage=usage)
        return answers.head(kind), *answers.chunked(records, self._gathered)


def _whole(body: bytes) -> tuple[bytes, ...]:
    return answers.head(_JSON, len(body)), body


async def _in_turn(waiting: list[tuple[asyncio.Transport, tuple[bytes, ...]]]) -> None:
    """Send a tenth of every answer, then the next one."""
    for tenth in range(10):
        for transport, parts in waiting:
            transport.write(b"".join(parts[len(parts) * tenth // 10 : len(parts) * (tenth + 1) // 10]))
        await asyncio.sleep(0)


def _raise(task: asyncio.Task[None]) -> None:
    task.result()


class _Connection(asyncio.Protocol):
    """One client's; its requests are answered in turn."""

    def __init__(self, server: Loopback) -> None:
        self._answer = server.answer
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (found := _request(self._received)) is not None:
            path, body, self._received = found
            self._answer(self._transport, path, body)


def _request(data: bytes) -> tuple[str, bytes, bytes] | None:
    """Path and body of the first request in `data`, and what follows it; None if it is not whole."""
    lines, blank, rest = data.partition(b"\r\n\r\n")
    if not blank:
        return None
    first, *fields = lines.decode("latin-1").split("\r\n")
    lengths = [field.partition(":")[2] for field in fields if field.lower().startswith("content-length:")]
    length = int(lengths[0]) if lengths else 0
    if len(rest) < length:
        return None
    return first.split(" ")[1], rest[:length], rest[length:]


@contextlib.contextmanager
def started(setting: Task) -> Iterator[Loopback]:
    """The server, until the block ends."""
    server = Loopback(setting)
    try:
        yield server
    finally:
        server.close()


if __name__ == "__main__":
    serve(started)
