"""LiteLLM, of the distribution litellm-core, with its provider for servers that speak OpenAI's protocol."""

from __future__ import annotations

import importlib
import os
from typing import Any

from bench.contestants.http.measuring import PROMPT, Client, Take, serve_client
from bench.contestants.serving import Task, versions


class LiteLlm(Client):
    """The functions of the module."""

    def __init__(self, setting: Task) -> None:
        super().__init__(setting)
        os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # otherwise it fetches the prices of models
        self._module = importlib.import_module("litellm")
        self.versions = versions("litellm-core", "openai")

    def _arguments(self) -> dict[str, Any]:
        messages = [{"role": "user", "content": PROMPT}]
        return {
            "model": f"openai/{self.model}",
            "api_base": f"{self.address}/v1",
            "api_key": "a-key",
            "messages": messages,
        }

    def stream(self, take: Take) -> None:
        for chunk in self._module.completion(**self._arguments(), stream=True):
            if piece := chunk.choices[0].delta.content:
                take(piece)

    async def astream(self, take: Take) -> None:
        async for chunk in await self._module.acompletion(**self._arguments(), stream=True):
            if piece := chunk.choices[0].delta.content:
                take(piece)

    def ask(self) -> str:
        return str(self._module.completion(**self._arguments()).choices[0].message.content)


if __name__ == "__main__":
    serve_client(LiteLlm)
