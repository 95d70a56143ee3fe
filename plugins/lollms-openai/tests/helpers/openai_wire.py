"""A server on loopback that sends exactly the bytes it is told, and those bytes."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

MARKER = "sk-marker-5f0b1c77"
CHAT = "/v1/chat/completions"
Then = Literal["keep", "close", "reset", "hold"]


def http(
    body: bytes | str | dict[str, Any] | list[Any],
    status: str = "200 OK",
    kind: str = "application/json",
    **headers: str,
) -> bytes:
    """A whole response with a Content-Length."""
    data = body if isinstance(body, bytes) else body.encode() if isinstance(body, str) else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(data)}", *([f"Content-Type: {kind}"] if kind else [])]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + data


def chunked(body: bytes, kind: str = "text/event-stream", *, end: bool = True) -> bytes:
    """A chunked response with `body` in one chunk."""
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    return head + (f"{len(body):x}\r\n".encode() + body + b"\r\n" if body else b"") + (b"0\r\n\r\n" if end else b"")


def until_close(body: bytes, kind: str = "text/event-stream") -> bytes:
    """A response that ends where the connection does."""
    return f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nConnection: close\r\n\r\n".encode() + body


def sse(*records: dict[str, Any] | str, done: bool = True) -> bytes:
    """Server-sent events, with the end marker."""
    texts = [record if isinstance(record, str) else json.dumps(record) for record in records]
    return "".join(f"data: {text}\n\n" for text in [*texts, *(["[DONE]"] if done else [])]).encode()


def chunk(content: str | None = None, finish: str | None = None, **more: Any) -> dict[str, Any]:
    """A chunk of a chat stream as OpenAI sends it."""
    delta = {} if content is None else {"content": content}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1700000000,
        "model": "m1",
        "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}],
        **more,
    }


def completion(content: str = "The sky is blue.", **more: Any) -> dict[str, Any]:
    """A whole chat completion as OpenAI sends it."""
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1700000000,
        "model": "m1",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8},
        **more,
    }


STREAM = sse(
    chunk("") | {"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}]},
    *(chunk(word) for word in ("The ", "sky ", "is ", "blue.")),
    chunk(finish="stop"),
    {"id": "chatcmpl-1", "model": "m1", "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 5}},
)
TEXT = "The sky is blue."


@dataclass
class Seen:
    """One request as the server got it."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any
    connection: int


@dataclass
class Reply:
    """What a request is answered with: raw bytes, and what happens to the connection then."""

    data: bytes
    then: Then = "keep"
    pieces: int = 0  # bytes a packet; 0 sends all at once


@dataclass
class Loopback:
    """The server. Replies are taken by path, in order; the last one stays."""

    listener: socket.socket
    replies: dict[str, list[Reply]] = field(default_factory=dict)
    seen: list[Seen] = field(default_factory=list)
    answer: Callable[[Seen], Reply | None] | None = None
    arrived: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    gone: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    threads: list[threading.Thread] = field(default_factory=list)
    open: set[socket.socket] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)
    greeting: bytes = b""
    connections: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.listener.getsockname()[1]}/v1"

    def on(self, path: str, *replies: bytes | Reply) -> None:
        """Answer requests for `path` (as it stands in the request line) with these, one after the other."""
        self.replies[path] = [reply if isinstance(reply, Reply) else Reply(reply) for reply in replies]

    def bodies(self, path: str = "/v1/chat/completions") -> list[Any]:
        return [seen.body for seen in self.seen if seen.path == path]

    def serve(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with self.lock:
                self.connections += 1
                self.open.add(connection)
                thread = threading.Thread(target=self.talk, args=(connection, self.connections), daemon=True)
                self.threads.append(thread)
            thread.start()

    def talk(self, connection: socket.socket, number: int) -> None:
        with contextlib.suppress(OSError), connection, connection.makefile("rb") as file:
            if self.greeting:
                connection.sendall(self.greeting)
            while (seen := self.request(file, number)) is not None:
                self.seen.append(seen)
                self.arrived.release()
                reply = self.reply(seen)
                step = reply.pieces or len(reply.data) or 1
                try:
                    for start in range(0, len(reply.data), step):
                        connection.sendall(reply.data[start : start + step])
                    if reply.then == "hold":
                        file.read(1)  # until the client goes
                        return
                finally:
                    if reply.then == "hold":
                        self.gone.release()
                if reply.then == "reset":
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                if reply.then != "keep":
                    connection.shutdown(socket.SHUT_WR) if reply.then == "close" else None
                    return
        with self.lock:
            self.open.discard(connection)

    def reply(self, seen: Seen) -> Reply:
        if self.answer is not None and (reply := self.answer(seen)) is not None:
            return reply
        with self.lock:
            replies = self.replies.get(seen.path)
            if not replies:
                return Reply(http({"error": {"message": "Not Found"}}, "404 Not Found"))
            return replies.pop(0) if len(replies) > 1 else replies[0]

    @staticmethod
    def request(file: Any, number: int) -> Seen | None:
        line = file.readline().decode("latin-1").split()
        if len(line) < 3:
            return None
        headers = {}
        while (header := file.readline().decode("latin-1").strip()) != "":
            name, _, value = header.partition(":")
            headers[name.lower()] = value.strip()
        length = int(headers.get("content-length", 0))
        body = file.read(length)
        if len(body) < length:
            return None  # the client left in the middle of its request
        return Seen(line[0], line[1], headers, json.loads(body) if body else None, number)

    def stop(self) -> None:
        # A plain close does not wake accept.
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        with self.lock:
            for connection in self.open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        for thread in self.threads:
            thread.join(10)
            assert not thread.is_alive()
