"""lollms-openai and lollms-ollama: the bindings, opened through the manager as applications do."""

from __future__ import annotations

from bench.contestants.http.measuring import PROMPT, Client, Take, serve_client
from bench.contestants.serving import Task, versions
from lollms_core import MSG_TYPE, LollmsLLMBindingManager, TextDelta

_BELOW = {"openai": "/v1", "ollama": ""}


class Ours(Client):
    """One binding; its events are read, or with ``callback`` its callback is called."""

    def __init__(self, setting: Task) -> None:
        super().__init__(setting)
        name = setting["binding"]
        self.versions = versions("lollms-core", f"lollms-{name}")
        self._callback = bool(setting.get("callback"))
        self._asked = {} if setting.get("streamed") else {"stream": False}
        self._binding = LollmsLLMBindingManager("no_folder_of_bindings").open_binding(
            name, host_address=f"{self.address}{_BELOW[name]}", model_name=self.model, service_key="a-key"
        )

    def stream(self, take: Take) -> None:
        if self._callback:
            self._call_back(take)
            return
        for event in self._binding.stream(PROMPT):
            if isinstance(event, TextDelta):
                take(event.text)

    def _call_back(self, take: Take) -> None:
        def callback(piece: str, _: MSG_TYPE) -> bool:
            take(piece)
            return True

        self._binding.generate_text(PROMPT, stream=True, streaming_callback=callback)

    async def astream(self, take: Take) -> None:
        async for event in self._binding.astream(PROMPT):
            if isinstance(event, TextDelta):
                take(event.text)

    def ask(self) -> str:
        return self._binding.chat(PROMPT, **self._asked).text

    def close(self) -> None:
        self._binding.close()


if __name__ == "__main__":
    serve_client(Ours)
