"""The floor: httpx and json, in a few lines, without a check of anything."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx

from bench.contestants.http.measuring import PROMPT, Client, Take, serve_client
from bench.contestants.serving import Task, versions


def _openai_text(line: str) -> str:
    if not line.startswith("data: {"):
        return ""
    choices = json.loads(line[6:])["choices"]
    return (choices[0]["delta"].get("content") or "") if choices else ""


def _ollama_text(line: str) -> str:
    text: str = json.loads(line)["message"]["content"]
    return text


class Raw(Client):
    """A few lines of httpx."""

    def __init__(self, setting: Task) -> None:
        super().__init__(setting)
        self.versions = versions("httpx")
        self._ollama = setting["dialect"] == "ollama"
        self._streamed = bool(setting.get("streamed"))
        self._url = self.address + ("/api/chat" if self._ollama else "/v1/chat/completions")
        self._text: Callable[[str], str] = _ollama_text if self._ollama else _openai_text
        self._client = httpx.Client(timeout=600)
        self._async: httpx.AsyncClient | None = None

    def stream(self, take: Take) -> None:
        text = self._text
        with self._client.stream("POST", self._url, json=_body(self.model, stream=True)) as response:
            for line in response.iter_lines():
                piece = text(line)
                if piece:
                    take(piece)

    async def astream(self, take: Take) -> None:
        text = self._text
        if self._async is None:
            limits = httpx.Limits(max_connections=None, max_keepalive_connections=100)
            self._async = httpx.AsyncClient(timeout=600, limits=limits)
        async with self._async.stream("POST", self._url, json=_body(self.model, stream=True)) as response:
            async for line in response.aiter_lines():
                piece = text(line)
                if piece:
                    take(piece)

    def ask(self) -> str:
        if self._streamed:
            pieces: list[str] = []
            self.stream(pieces.append)
            return "".join(pieces)
        answer: dict[str, Any] = self._client.post(self._url, json=_body(self.model, stream=False)).json()
        message = answer["message"] if self._ollama else answer["choices"][0]["message"]
        text: str = message["content"]
        return text


def _body(model: str, *, stream: bool) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": PROMPT}], "stream": stream}


if __name__ == "__main__":
    serve_client(Raw)
