"""lollms_client's binding ``litellm``, which speaks OpenAI's protocol and needs no further package."""

from __future__ import annotations

import importlib

from bench.contestants.http.measuring import PROMPT, Client, Take, serve_client
from bench.contestants.serving import Task, versions


class LollmsClient(Client):
    """That binding, made once."""

    def __init__(self, setting: Task) -> None:
        super().__init__(setting)
        self.versions = versions("lollms-client")
        module = importlib.import_module("lollms_client.llm_bindings.litellm")
        self._binding = module.LiteLLMBinding(
            host_address=self.address, model_name=self.model, service_key="a-key", verify_ssl_certificate=True
        )

    def stream(self, take: Take) -> None:
        def callback(piece: str, _: object) -> bool:
            take(piece)
            return True

        self._binding.generate_text(PROMPT, stream=True, streaming_callback=callback)

    def ask(self) -> str:
        return str(self._binding.generate_text(PROMPT, stream=False))


if __name__ == "__main__":
    serve_client(LollmsClient)
