"""The ollama package."""

from __future__ import annotations

import importlib

from bench.contestants.http.measuring import PROMPT, Client, Take, serve_client
from bench.contestants.serving import Task, versions

_MESSAGES = [{"role": "user", "content": PROMPT}]


class Ollama(Client):
    """Its clients, made once."""

    def __init__(self, setting: Task) -> None:
        super().__init__(setting)
        ollama = importlib.import_module("ollama")
        self.versions = versions("ollama")
        self._client = ollama.Client(self.address)
        self._async = ollama.AsyncClient(self.address)
        self._streamed = bool(setting.get("streamed"))

    def stream(self, take: Take) -> None:
        for part in self._client.chat(self.model, _MESSAGES, stream=True):
            if piece := part.message.content:
                take(piece)

    async def astream(self, take: Take) -> None:
        async for part in await self._async.chat(self.model, _MESSAGES, stream=True):
            if piece := part.message.content:
                take(piece)

    def ask(self) -> str:
        if self._streamed:
            pieces: list[str] = []
            self.stream(pieces.append)
            return "".join(pieces)
        return str(self._client.chat(self.model, _MESSAGES).message.content)


if __name__ == "__main__":
    serve_client(Ollama)
