"""llm, with a model of its file for servers that speak OpenAI's protocol."""

from __future__ import annotations

import importlib
import os
import shutil
import tempfile
from pathlib import Path

from bench.contestants.http.measuring import PROMPT, Client, Take, serve_client
from bench.contestants.serving import Task, versions


class Llm(Client):
    """That model, which a folder of our own names."""

    def __init__(self, setting: Task) -> None:
        super().__init__(setting)
        self._folder = Path(tempfile.mkdtemp(prefix="bench-llm-"))
        os.environ["LLM_USER_PATH"] = str(self._folder)
        entry = f"- model_id: {self.model}\n  model_name: {self.model}\n  api_base: {self.address}/v1\n"
        (self._folder / "extra-openai-models.yaml").write_text(entry, "utf-8")
        module = importlib.import_module("llm")
        self._model, self._async = module.get_model(self.model), module.get_async_model(self.model)
        self.versions = versions("llm", "openai")

    def stream(self, take: Take) -> None:
        for piece in self._model.prompt(PROMPT, key="a-key"):
            take(piece)

    async def astream(self, take: Take) -> None:
        async for piece in self._async.prompt(PROMPT, key="a-key"):
            take(piece)

    def ask(self) -> str:
        return str(self._model.prompt(PROMPT, stream=False, key="a-key").text())

    def close(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)


if __name__ == "__main__":
    serve_client(Llm)
