"""llama-server, through xllamacpp: the server in a process of its own, and here the clients that ask it.

The clients must not take the server's time. All are one thread: it waits on plain sockets, keeps what comes and looks
into it when all is over. `client` is the share of the time that it has used a CPU.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from real_servers import HOST, server

from bench.contestants.conversations import answered, chatml, of_one_system, opening
from bench.contestants.prompts import listings
from bench.contestants.serving import Task, peak_memory, serve

_GREEDY: Mapping[str, Any] = {
    "temperature": 0,
    "top_k": 1,
    "samplers": ["top_k"],
}  # of several ways to say it, the quickest


def _sampling(task: Task) -> Mapping[str, Any]:
    """With the temperature of a task if it has one, greedy if not."""
    return {"temperature": task["temperature"]} if "temperature" in task else _GREEDY


@dataclass(slots=True)
class Answer:
    """What came from the server for one request: the pieces, and when the first of its text came."""

    pieces: list[bytes] = field(default_factory=list)
    first: float = 0.0

    def last_record(self) -> dict[str, Any]:
        """The record with the counts: the last of a stream, or the whole answer.

        Raises:
            RuntimeError: the server refused.
        """
        head, _, body = b"".join(self.pieces).partition(b"\r\n\r\n")
        if b" 200 " not in head.partition(b"\r\n")[0]:
            raise RuntimeError(f"llama-server answered {head[:200]!r} {body[:500]!r}")
        if b"text/event-stream" in head:
            body = body[body.rindex(b"data: {") :]
        # Around it may stand the marks of the chunks that it came in.
        record: dict[str, Any] = json.loads(body[body.index(b"{") : body.rindex(b"}") + 1])
        return record


class LlamaServer:
    """The contestant."""

    def __init__(self, process: int, port: int, versions: dict[str, str]) -> None:
        self._process, self._port = process, port
        self.versions = versions
        self._tasks = {
            "answer": self._answer,
            "turn": self._turn,
            "shared": self._shared,
        }

    def do(self, task: Task) -> dict[str, Any]:
        """Do a task; what was measured."""
        return self._tasks[task["do"]](task)

    def _answer(self, task: Task) -> dict[str, Any]:
        prompts = listings(task["round"], task["requests"])
        stream, sampling = task.get("stream", True), _sampling(task)
        bodies = [self._body(prompt, task["n_predict"], stream=stream, sampling=sampling) for prompt in prompts]
        used, begun = time.process_time(), time.perf_counter()
        answers = self._ask(bodies)
        seconds = time.perf_counter() - begun
        used = time.process_time() - used
        records = [answer.last_record() for answer in answers]
        tokens = sum(record["tokens_predicted"] for record in records)
        return {
            "speed": tokens / seconds,
            "tokens": tokens,
            "prompt_tokens": sum(record["tokens_evaluated"] for record in records),
            "first": max(answer.first for answer in answers) - begun if all(one.first for one in answers) else None,
            "client": used / seconds,
            "memory": peak_memory(self._process),
        }

    def _turn(self, task: Task) -> dict[str, Any]:
        """The time to the first token of a conversation's second turn."""
        cached = bool(task["cached"])
        messages = opening(task["round"])
        (first,) = self._ask([self._body(chatml(messages), 16, stream=False, cached=cached)])
        messages = answered(messages, str(first.last_record()["content"]))
        begun = time.perf_counter()
        (second,) = self._ask([self._body(chatml(messages), 8, cached=cached)])
        record = second.last_record()
        read = record["timings"]["prompt_n"]
        return {
            "first": second.first - begun,
            "prompt_tokens": record["tokens_evaluated"],
            "cached": record["tokens_evaluated"] - read,
            "read": read,
        }

    def _shared(self, task: Task) -> dict[str, Any]:
        """The time until several requests with one system prompt have all begun to answer."""
        several = of_one_system(task["round"] * task["of"] + task["number"], task["requests"])
        bodies = [self._body(chatml(messages), 8, cached=bool(task["cached"])) for messages in several]
        begun = time.perf_counter()
        answers = self._ask(bodies)
        records = [answer.last_record() for answer in answers]
        prompt, read = (
            sum(record["tokens_evaluated"] for record in records),
            sum(record["timings"]["prompt_n"] for record in records),
        )
        first = max(answer.first for answer in answers) - begun
        return {"first": first, "prompt_tokens": prompt, "cached": prompt - read, "read": read}

    def _body(
        self,
        prompt: str,
        n_predict: int,
        *,
        stream: bool = True,
        cached: bool = False,
        sampling: Mapping[str, Any] = _GREEDY,
    ) -> bytes:
        wanted = {"prompt": prompt, "n_predict": n_predict, "stream": stream, "cache_prompt": cached, **sampling}
        return json.dumps(wanted).encode()

    def _ask(self, bodies: list[bytes]) -> list[Answer]:
        """Send all at once, and wait for all answers."""
        answers = [Answer() for _ in bodies]
        with selectors.DefaultSelector() as waiting, contextlib.ExitStack() as opened:
            for body, answer in zip(bodies, answers, strict=True):
                connection = opened.enter_context(socket.create_connection((HOST, self._port), timeout=300))
                head = f"POST /completion HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n"
                head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
                connection.sendall(head.encode() + body)
                waiting.register(connection, selectors.EVENT_READ, (connection, answer))
            while waiting.get_map():
                for key, _ in waiting.select():
                    connection, answer = key.data
                    piece = connection.recv(1 << 16)
                    if not piece:
                        waiting.unregister(connection)
                        continue
                    answer.pieces.append(piece)
                    if not answer.first and b"data: {" in piece:
                        answer.first = time.perf_counter()
        return answers


@contextlib.contextmanager
def started(setting: Task) -> Iterator[LlamaServer]:
    """A server that runs until the block ends."""
    python, folder = os.environ["LOLLMS_BENCH_PEERS"], Path(os.environ["LOLLMS_BENCH_FOLDER"]) / "logs"
    process = folder / "serve_llama.pid"
    command = [python, "-m", "bench.contestants.serve_llama", json.dumps({**setting, "port": "{port}"}), str(process)]
    # It is run in the folder of its log.
    path = {"PYTHONPATH": str(Path(__file__).parents[2])}
    with server(command, "/health", folder / "serve_llama.log", path) as port:
        yield LlamaServer(int(process.read_text("utf-8")), port, _version(python))


def _version(python: str) -> dict[str, str]:
    code = "from importlib.metadata import version; print(version('xllamacpp'), end='')"
    done = subprocess.run([python, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
    return {"xllamacpp": done.stdout}


if __name__ == "__main__":
    serve(started)
