"""A folder as an author writes it, once for lollms_core and once for lollms_client, through its whole life."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from installed import Site
from samples import Recorder

from lollms_core import MSG_TYPE, EmbedRequest, Finish, LollmsLLMBindingManager, TextDelta
from lollms_core.hookspecs import Middleware, hookimpl

IMPORTS = {
    "my_custom": "from lollms_core import LollmsLLMBinding, MSG_TYPE",
    "my_legacy": "from lollms_client.lollms_llm_binding import LollmsLLMBinding, MSG_TYPE",
}

SOURCE = """
# The name of the class that implements the binding.
BindingName = "MyCustomLLMBinding"

{imports}
from typing import Callable, List, Optional, Union


class MyCustomLLMBinding(LollmsLLMBinding):
    def __init__(self, model_identifier: str, some_config_param: str):
        super().__init__(binding_name="my_custom_binding")
        self.model_identifier = model_identifier
        self.some_config_param = some_config_param
        self.model_name = model_identifier

    def generate_text(self, prompt: str, images: Optional[List[str]] = None, system_prompt: str = "",
                      n_predict: Optional[int] = None, stream: Optional[bool] = None,
                      temperature: Optional[float] = None, top_k: Optional[int] = None,
                      top_p: Optional[float] = None, repeat_penalty: Optional[float] = None,
                      repeat_last_n: Optional[int] = None, seed: Optional[int] = None,
                      n_threads: Optional[int] = None, ctx_size: Optional[int] = None,
                      streaming_callback: Optional[Callable[[str, MSG_TYPE], None]] = None,
                      split: Optional[bool] = False, user_keyword: Optional[str] = "!@>user:",
                      ai_keyword: Optional[str] = "!@>assistant:") -> Union[str, dict]:
        text = ""
        for word in ("You ", "said: ", prompt):
            text += word
            if streaming_callback is not None:
                if streaming_callback(word, MSG_TYPE.MSG_TYPE_CHUNK) is False:
                    break
        return text

    def tokenize(self, text: str) -> list:
        return list(text.encode("utf-8"))

    def detokenize(self, tokens: list) -> str:
        return bytes(tokens).decode("utf-8")

    def count_tokens(self, text: str) -> int:
        return len(self.tokenize(text))

    def embed(self, text: str, **kwargs) -> list:
        return [float(len(text))] if isinstance(text, str) else [[float(len(one))] for one in text]

    def get_model_info(self) -> dict:
        return {{"name": self.binding_name, "model": self.model_identifier}}

    def listModels(self) -> list:
        return [{{"model_name": self.model_identifier}}]

    def load_model(self, model_name: str) -> bool:
        self.model_identifier = model_name
        return True
"""


@pytest.fixture(params=list(IMPORTS))
def name(request: pytest.FixtureRequest, site: Site, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of one of the two folders; both lie in ``llm_bindings`` under the working directory."""
    for name, imports in IMPORTS.items():
        site.folder(name, SOURCE.format(imports=imports))
    monkeypatch.chdir(site.bindings.parent)
    return str(request.param)


def create(name: str, **keywords: Any) -> Any:
    manager = LollmsLLMBindingManager("llm_bindings", **keywords)
    return manager.create_binding(name, model_identifier="m", some_config_param="x")


def test_it_is_created_and_listed(name: str) -> None:
    assert "lollms_client" not in sys.modules
    manager = LollmsLLMBindingManager("llm_bindings")
    assert {"my_custom", "my_legacy"} <= set(manager.get_available_bindings())
    binding = manager.create_binding(name, model_identifier="m", some_config_param="x")
    assert type(binding).__name__ == "MyCustomLLMBinding"
    assert binding is not None
    assert (binding.binding_name, binding.model_name) == ("my_custom_binding", "m")
    (record,) = [record for record in manager.records() if record.name == name]
    assert (record.state, record.attribute) == ("loaded", "MyCustomLLMBinding")
    assert record.path == str(Path.cwd() / "llm_bindings" / name)
    assert manager.errors == {}
    assert not [module for module in sys.modules if module.partition(".")[0] == "lollms_client"]


def test_it_generates_and_streams_to_a_callback(name: str) -> None:
    binding = create(name)
    assert binding.generate_text("hello") == "You said: hello"
    chunks: list[Any] = []

    def callback(chunk: str, kind: MSG_TYPE) -> bool | None:
        chunks.append((chunk, kind))
        return len(chunks) < 2

    assert binding.generate_text("hello", streaming_callback=callback) == "You said: "
    assert chunks == [("You ", MSG_TYPE.MSG_TYPE_CHUNK), ("said: ", MSG_TYPE.MSG_TYPE_CHUNK)]


def test_it_chats_and_streams_events(name: str) -> None:
    binding = create(name)
    assert binding.chat("hello").text == "You said: hello"
    with binding.stream([{"role": "user", "content": "hi"}]) as stream:
        events = list(stream)
    assert [event.text for event in events if isinstance(event, TextDelta)] == ["You ", "said: ", "hi"]
    assert isinstance(events[-1], Finish)


async def test_it_is_awaited(name: str) -> None:
    binding = create(name)
    assert (await binding.achat("hello")).text == "You said: hello"
    assert await binding.agenerate_text("hello") == "You said: hello"


async def test_its_generations_go_through_a_middleware(name: str) -> None:
    """Of hooks given at once and of those registered after the binding was made; sync, async, embeddings."""

    class Shout(Middleware):
        def on_event(self, event: Any) -> Any:
            return [TextDelta(event.text.upper()) if isinstance(event, TextDelta) else event]

    class Attach:
        def __init__(self, make: Any) -> None:
            self.make = make

        @hookimpl
        def lollms_middleware(self, name: str, request: Any) -> Middleware | None:
            seen.append((name, type(request)))
            return self.make()  # type: ignore[no-any-return]

    seen: list[Any] = []
    log: list[str] = []
    manager = LollmsLLMBindingManager("llm_bindings", hooks=[Attach(Shout)])
    binding: Any = manager.create_binding(name, model_identifier="m", some_config_param="x")
    assert binding.generate_text("hello") == "YOU SAID: HELLO"
    assert binding.chat("hello").text == "YOU SAID: HELLO"
    assert (await binding.achat("hello")).text == "YOU SAID: HELLO"
    manager.register_hook(Attach(lambda: Recorder(log)))
    assert binding.generate_text("hello") == "YOU SAID: HELLO"
    assert log[0] == "request"
    assert log[-1].startswith("finish")
    assert binding.embed("four") == [4.0]
    assert seen[-1] == (name, EmbedRequest)


def test_a_wrong_call_is_one_clear_error(name: str) -> None:
    manager = LollmsLLMBindingManager("llm_bindings")
    assert manager.create_binding(name, model_identifier="m") is None
    assert "some_config_param" in manager.errors[name]
    with pytest.raises(TypeError, match="unexpected keyword argument 'modle'"):
        manager.open_binding(name, model_identifier="m", some_config_param="x", modle="y")
    assert manager.create_binding(name, model_identifier="m", some_config_param="x") is not None
