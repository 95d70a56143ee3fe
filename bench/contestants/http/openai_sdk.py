"""The openai package, and what passes its chunks on as they are: any-llm-sdk, aisuite."""

from __future__ import annotations

import importlib
from typing import Any

from bench.contestants.http.measuring import PROMPT, Client, Take, serve_client
from bench.contestants.serving import Task, versions

_MESSAGES = [{"role": "user", "content": PROMPT}]


def _text(chunk: Any) -> str:
    return (chunk.choices[0].delta.content or "") if chunk.choices else ""


class OpenAI(Client):
    """The openai package itself."""

    def __init__(self, setting: Task) -> None:
        super().__init__(setting)
        openai = importlib.import_module("openai")
        self.versions = versions("openai")
        arguments = {"base_url": f"{self.address}/v1", "api_key": "a-key", "max_retries": 0}
        self._client = openai.OpenAI(**arguments)
        self._async = openai.AsyncOpenAI(**arguments)

    def stream(self, take: Take) -> None:
        for chunk in self._client.chat.completions.create(model=self.model, messages=_MESSAGES, stream=True):
            if piece := _text(chunk):
                take(piece)

    async def astream(self, take: Take) -> None:
        async for chunk in await self._async.chat.completions.create(model=self.model, messages=_MESSAGES, stream=True):
            if piece := _text(chunk):
                take(piece)

    def ask(self) -> str:
        answer = self._client.chat.completions.create(model=self.model, messages=_MESSAGES)
        return str(answer.choices[0].message.content)


class AnyLlm(Client):
    """any-llm-sdk, its provider made once."""

    def __init__(self, setting: Task) -> None:
        super().__init__(setting)
        self.versions = versions("any-llm-sdk", "openai")
        provider = importlib.import_module("any_llm").AnyLLM
        self._llm = provider.create("openai", api_key="a-key", api_base=f"{self.address}/v1")

    def stream(self, take: Take) -> None:
        for chunk in self._llm.completion(model=self.model, messages=_MESSAGES, stream=True):
            if piece := _text(chunk):
                take(piece)

    async def astream(self, take: Take) -> None:
        async for chunk in await self._llm.acompletion(model=self.model, messages=_MESSAGES, stream=True):
            if piece := _text(chunk):
                take(piece)

    def ask(self) -> str:
        return str(self._llm.completion(model=self.model, messages=_MESSAGES).choices[0].message.content)


class AiSuite(Client):
    """aisuite, its client made once."""

    def __init__(self, setting: Task) -> None:
        super().__init__(setting)
        self.versions = versions("aisuite", "openai")
        config = {"openai": {"api_key": "a-key", "base_url": f"{self.address}/v1"}}
        self._completions = importlib.import_module("aisuite").Client(config).chat.completions

    def stream(self, take: Take) -> None:
        for chunk in self._completions.create(model=f"openai:{self.model}", messages=_MESSAGES, stream=True):
            if piece := _text(chunk):
                take(piece)

    async def astream(self, take: Take) -> None:
        chunks = await self._completions.acreate(model=f"openai:{self.model}", messages=_MESSAGES, stream=True)
        async for chunk in chunks:
            if piece := _text(chunk):
                take(piece)

    def ask(self) -> str:
        answer = self._completions.create(model=f"openai:{self.model}", messages=_MESSAGES)
        return str(answer.choices[0].message.content)


_CLIENTS = {"openai": OpenAI, "any-llm": AnyLlm, "aisuite": AiSuite}

if __name__ == "__main__":
    serve_client(lambda setting: _CLIENTS[setting["client"]](setting))
