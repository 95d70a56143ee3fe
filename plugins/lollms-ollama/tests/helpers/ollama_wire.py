"""A loopback server that sends exactly the bytes it is told to, and Ollama's records for it to send."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lollms_core import Completion

WAIT = 10.0  # seconds; only a broken test waits that long


Chat = Callable[..., Completion]
"""``chat(binding, messages, **fields)``, sync or async."""


@dataclass
class Heard:
    """One request as the server got it."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    connection: int

    @property
    def json(self) -> Any:
        return json.loads(self.body)


Part = bytes | Callable[[], object]
Answer = Iterable[Part]


class Hangup(Exception):
    """Raised by a part of an answer: the connection is closed."""


def hang_up() -> None:
    raise Hangup


def until_left() -> None:
    """A part of an answer: nothing more comes, until the client closes the connection."""
    raise AssertionError("the server does this itself: it knows the connection")


@dataclass
class Place:
    """What the server answers at one path: the answers of `script` in turn, the last of them for ever."""

    script: list[Callable[[Heard], Answer]]
    count: int = 0

    def next(self) -> Callable[[Heard], Answer]:
        self.count += 1
        return self.script[min(self.count, len(self.script)) - 1]


@dataclass
class Server:
    """Answers each path as scripted; one thread a connection."""

    places: dict[str, Place] = field(default_factory=dict)
    heard: list[Heard] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.released = threading.Event()  # lets go what waits in an answer
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._threads = [threading.Thread(target=self._accept, name="test-server")]
        self.connections = 0
        self.left = threading.Semaphore(0)  # one for each connection that the client has closed
        self._threads[0].start()

    def on(self, path: str, *answers: Answer | Callable[[Heard], Answer]) -> None:
        """Answer `path` with each of `answers` in turn; the last one stays."""
        self.places[path] = Place([one if callable(one) else _always(one) for one in answers])

    def paths(self) -> list[str]:
        return [heard.path for heard in self.heard]

    def hold(self) -> None:
        """A part of an answer: wait until the test is over."""
        self.released.wait(WAIT)

    def stop(self) -> None:
        self.released.set()
        with self._lock:
            self._listener.close()
            for connection in self._open:
                shut(connection)
        # Wakes accept() where closing the listener does not.
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        for thread in self._threads:
            thread.join(WAIT)
            assert not thread.is_alive()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                if self.released.is_set():
                    connection.close()
                    return
                self._open.add(connection)
                self.connections += 1
                thread = threading.Thread(
                    target=self._serve, args=(connection, self.connections), name="test-connection"
                )
                self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket, number: int) -> None:
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with connection.makefile("rb") as file:
                while (heard := read_request(file, number)) is not None:
                    with self._lock:
                        self.heard.append(heard)
                        place = self.places.get(heard.path)
                        answer = place.next() if place is not None else lambda _: not_found()
                    for part in answer(heard):
                        if part is until_left:
                            connection.recv(1)  # "" once it is closed
                            raise Hangup
                        if callable(part):
                            part()
                        else:
                            connection.sendall(part)
        except (OSError, Hangup):
            pass
        finally:
            with self._lock:
                self._open.discard(connection)
            connection.close()
            self.left.release()


def _always(answer: Answer) -> Callable[[Heard], Answer]:
    return lambda _: answer


def shut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def read_request(file: Any, number: int) -> Heard | None:
    line = file.readline()
    if not line:
        return None
    method, path, _ = line.decode().split(" ", 2)
    headers: dict[str, str] = {}
    while (line := file.readline().decode().rstrip("\r\n")) != "":
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    return Heard(method, path, headers, file.read(int(headers.get("content-length", 0))), number)


# Answers ----------------------------------------------------------------------------------------------


def head(status: str = "200 OK", content_type: str = "application/x-ndjson", *more: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {content_type}", *more]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def whole(body: Any, status: str = "200 OK", content_type: str = "application/json; charset=utf-8") -> list[Part]:
    """A response with a length."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return [head(status, content_type, f"Content-Length: {len(data)}") + data]


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def streamed(*records: Any) -> list[Part]:
    """A chunked response of these records, whole."""
    chunks = [chunk(line(record)) for record in records]
    return [head("200 OK", "application/x-ndjson", "Transfer-Encoding: chunked"), *chunks, b"0\r\n\r\n"]


def begun(*records: Any) -> list[Part]:
    """The same without its end."""
    return streamed(*records)[:-1]


def line(record: Any) -> bytes:
    return record if isinstance(record, bytes) else json.dumps(record).encode() + b"\n"


def not_found(model: str = "nope") -> list[Part]:
    return whole({"error": f'model "{model}" not found, try pulling it first'}, "404 Not Found")


# Records as docs/api.md of Ollama shows them.


def said(text: str, model: str = "llama3.2", **more: Any) -> dict[str, Any]:
    return {
        "model": model,
        "created_at": "2023-08-04T08:52:19.385406455-07:00",
        "message": {"role": "assistant", "content": text, **more},
        "done": False,
    }


def over(reason: str = "stop", model: str = "llama3.2", **more: Any) -> dict[str, Any]:
    return {
        "model": model,
        "created_at": "2023-08-04T19:22:45.499127Z",
        "message": {"role": "assistant", "content": ""},
        "done_reason": reason,
        "done": True,
        "total_duration": 4883583458,
        "load_duration": 1334875,
        "prompt_eval_count": 26,
        "prompt_eval_duration": 342546000,
        "eval_count": 282,
        "eval_duration": 4535599000,
        **more,
    }


HELLO = [said("Hel"), said("lo"), over()]

SHOW: dict[str, Any] = {
    "modelfile": "FROM llama3.2",
    "parameters": 'stop                           "<|eot_id|>"',
    "template": "{{ .Prompt }}",
    "details": {
        "parent_model": "",
        "format": "gguf",
        "family": "llama",
        "families": ["llama"],
        "parameter_size": "8.0B",
        "quantization_level": "Q4_0",
    },
    "model_info": {
        "general.architecture": "llama",
        "general.parameter_count": 8030261248,
        "llama.context_length": 8192,
        "llama.embedding_length": 4096,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "llama-bpe",
        "tokenizer.ggml.tokens": None,
    },
    "capabilities": ["completion"],
}
TAGS: dict[str, Any] = {
    "models": [
        {
            "name": "old:latest",
            "model": "old:latest",
            "modified_at": "2025-05-04T17:37:44.706015396-07:00",
            "size": 3826793677,
            "digest": "aaa",
            "details": {"format": "gguf", "family": "llama", "parameter_size": "7B", "quantization_level": "Q4_0"},
        },
        {
            "name": "llama3.2:latest",
            "model": "llama3.2:latest",
            "modified_at": "2025-05-05T01:37:44.706015396Z",
            "size": 2019393189,
            "digest": "bbb",
            "details": {"format": "gguf", "family": "llama", "parameter_size": "3.2B", "quantization_level": "Q4_K_M"},
        },
    ]
}


def sockets() -> int:
    """Open sockets of this process, -1 where nobody can tell."""
    folder = Path("/proc/self/fd")
    if not folder.is_dir():
        return -1
    count = 0
    for entry in folder.iterdir():
        with contextlib.suppress(OSError):  # the one through which the folder is read
            count += str(entry.readlink()).startswith("socket:")
    return count


def vocabulary(**changes: Any) -> Mapping[str, Any]:
    """A byte-level vocabulary with the merges of "the", as GGUF metadata; `changes` have ``__`` for dots."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    letters = [chr(byte) if byte in plain else chr(next(others)) for byte in range(256)]
    tokens = [*letters, "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<tool>", "th", "the", "\u0120the"]
    metadata: dict[str, Any] = {
        "general.architecture": "llama",
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [1] * 256 + [3, 3, 3, 4, 1, 1, 1],
        "tokenizer.ggml.merges": ["t h", "th e", "\u0120 the"],
        "tokenizer.ggml.bos_token_id": 256,
        "tokenizer.ggml.eos_token_id": 258,
    }
    metadata |= {name.replace("__", "."): value for name, value in changes.items()}
    return {name: value for name, value in metadata.items() if value is not None}
