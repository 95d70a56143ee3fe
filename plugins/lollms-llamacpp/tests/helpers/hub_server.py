"""The few answers of the Hugging Face Hub that fetching a model takes, on the loopback interface.

Sources: the hub's API, https://huggingface.co/docs/hub/api, and what huggingface_hub reads of it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from lollms_core.testing import CLOSE, Asked, FaultServer
from lollms_core.testing.fault_server import Step

COMMIT = "a" * 40
REPO = "owner/repo-GGUF"
FILE = "tiny-Q4_K_M.gguf"
NAME = f"hf:{REPO}/{FILE}"

Body = Callable[[bytes], Iterable[Step]]
"""What is sent of the bytes that an answer announces."""


def answer(status: int, body: bytes = b"", **headers: str) -> bytes:
    """A whole HTTP answer; underscores in the names of `headers` are hyphens."""
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def refusal(status: int, code: str = "", message: str = "") -> bytes:
    """An error as the hub sends it."""
    headers = {"X_Error_Code": code} if code else {}
    if message:
        headers["X_Error_Message"] = message.replace("\n", " ")
    return answer(status, json.dumps({"error": message or "refused"}).encode(), **headers)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class HubServer:
    """A hub with repositories.

    Args:
        server: where it is.
    """

    def __init__(self, server: FaultServer) -> None:
        self.server = server

    def has(
        self,
        repo: str,
        files: Mapping[str, bytes],
        *,
        revision: str | None = None,
        commit: str = COMMIT,
        lfs: bool = True,
        **changes: Any,
    ) -> None:
        """A repository with these files at a revision; `changes` are to what is told of it."""
        told = [self._told(name, content, lfs) for name, content in files.items()]
        info = {"id": repo, "sha": commit, "siblings": told, **changes}
        place = f"/api/models/{repo}" + (f"/revision/{revision}" if revision is not None else "")
        self.server.on(f"{place}?blobs=true", [answer(200, json.dumps(info).encode(), Content_Type="application/json")])
        for name, content in files.items():
            self.file(repo, name, content, commit=commit)

    def file(self, repo: str, name: str, content: bytes, *bodies: Body, commit: str = COMMIT) -> None:
        """How a file is sent, at the first and each later request; the last way stays."""
        answers = [self._sent(content, body) for body in bodies or (lambda data: [data],)]
        self.server.on(self.path_of(repo, name, commit), *answers)

    def asked_for(self, repo: str, name: str) -> list[str | None]:
        """The ranges that were asked for."""
        return [asked.headers.get("range") for asked in self.server.asked_at(self.path_of(repo, name))]

    @staticmethod
    def path_of(repo: str, name: str, commit: str = COMMIT) -> str:
        return f"/{repo}/resolve/{commit}/{name}"

    @staticmethod
    def _told(name: str, content: bytes, lfs: bool) -> dict[str, Any]:
        git = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
        told: dict[str, Any] = {"rfilename": name, "size": len(content), "blobId": git}
        if lfs:
            told["lfs"] = {"size": len(content), "sha256": sha256(content), "pointerSize": 134}
        return told

    @staticmethod
    def _sent(content: bytes, body: Body) -> Callable[[Asked], Iterable[Step]]:
        def send(asked: Asked) -> Iterable[Step]:
            found = re.fullmatch(r"bytes=(\d+)-", asked.headers.get("range", ""))
            start = int(found[1]) if found else 0
            status, more = (
                (206, f"Content-Range: bytes {start}-{len(content) - 1}/{len(content)}\r\n") if found else (200, "")
            )
            yield f"HTTP/1.1 {status} OK\r\n{more}Content-Length: {len(content) - start}\r\n\r\n".encode()
            yield from body(content[start:])

        return send


def cut_after(count: int) -> Body:
    """The connection ends in the middle."""
    return lambda data: [data[:count], CLOSE]
