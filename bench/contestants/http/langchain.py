"""LangChain's ChatOpenAI."""

from __future__ import annotations

import importlib

from bench.contestants.http.measuring import PROMPT, Client, Take, serve_client
from bench.contestants.serving import Task, versions


class LangChain(Client):
    """The chat model, made once."""

    def __init__(self, setting: Task) -> None:
        super().__init__(setting)
        self.versions = versions("langchain-openai", "langchain-core", "openai")
        chat = importlib.import_module("langchain_openai").ChatOpenAI
        self._chat = chat(base_url=f"{self.address}/v1", api_key="a-key", model=self.model)

    def stream(self, take: Take) -> None:
        for chunk in self._chat.stream(PROMPT):
            if piece := chunk.content:
                take(piece)

    async def astream(self, take: Take) -> None:
        async for chunk in self._chat.astream(PROMPT):
            if piece := chunk.content:
                take(piece)

    def ask(self) -> str:
        return str(self._chat.invoke(PROMPT).content)


if __name__ == "__main__":
    serve_client(LangChain)
