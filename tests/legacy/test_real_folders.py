"""The binding folders of lollms_client 0.17.0 as they are, without lollms_client."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from legacy_dialects import DIALECTS, serve

from lollms_core import (
    MSG_TYPE,
    BindingLoadError,
    Finish,
    LollmsLLMBinding,
    LollmsLLMBindingManager,
    ProtocolError,
    TextDelta,
)
from lollms_core.testing import FaultServer
from lollms_core.testing.dialect import PIECES, TEXT

ENGINES = {
    "llamacpp": ("llama-cpp-binaries", "pip install https://"),
    "pythonllamacpp": ("llama-cpp-python", "pip install llama-cpp-python"),
    "tensor_rt": ("tensorrt_llm, torch, transformers, huggingface_hub", "pip install tensorrt_llm torch"),
    "vllm": ("vllm, torch, transformers, huggingface_hub", "pip install vllm torch 'transformers>=4.37.0'"),
}
"""Folders whose engine is not installed here: what they lack, and how the command begins."""

LOST = {"openllm": "openllm", "transformers": "torch, transformers, accelerate"}
"""Those that do not load where their engine is missing; the first does not with today's openllm either."""

KEY = "a-key-of-mine"


@pytest.fixture(autouse=True)
def nothing_of_theirs_is_here() -> Iterator[None]:
    """Neither before nor after."""
    names = ("lollms_client", "ascii_colors", "pipmaster")
    assert not [name for name in names if importlib.util.find_spec(name) is not None]
    yield
    assert not {module.partition(".")[0] for module in sys.modules} & set(names)


@pytest.fixture(params=list(DIALECTS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def server(name: str) -> Iterator[FaultServer]:
    with FaultServer() as server:
        serve(server, DIALECTS[name])
        yield server


@pytest.fixture
def binding(name: str, server: FaultServer, manager: LollmsLLMBindingManager) -> Iterator[LollmsLLMBinding]:
    address = f"{server.url}{DIALECTS[name].address}"
    model = DIALECTS[name].model
    with manager.open_binding(name, host_address=address, model_name=model, service_key=KEY) as binding:
        yield binding
    close_client(binding)


def close_client(binding: Any) -> None:
    """Close the HTTP client that a folder leaves open."""
    client = getattr(binding, "client", None) or getattr(getattr(binding, "ollama_client", None), "_client", None)
    if client is not None:
        client.close()


def test_all_are_found_and_all_but_two_load(manager: LollmsLLMBindingManager) -> None:
    found = manager.get_available_bindings()
    assert set(found) == {*DIALECTS, *ENGINES, *LOST}
    for each in found:
        assert (manager._load_binding(each) is None) == (each in LOST), manager.errors.get(each)
    assert set(manager.available_bindings) == {*DIALECTS, *ENGINES}
    states = {record.name: record.state for record in manager.records()}
    assert states == {each: "failed" if each in LOST else "loaded" for each in found}


@pytest.mark.parametrize("lost", LOST)
def test_what_does_not_load_says_what_it_lacks(manager: LollmsLLMBindingManager, lost: str) -> None:
    names = LOST[lost]
    with pytest.raises(BindingLoadError, match=rf"missing requirements: {names}.*; install them with: pip install "):
        manager.open_binding(lost, model_name="m")
    (record,) = [record for record in manager.records() if record.name == lost]
    assert record.error is not None
    assert record.error.startswith(f"missing requirements: {names}")


@pytest.mark.parametrize("engine", ENGINES)
def test_what_has_no_engine_says_what_it_lacks(manager: LollmsLLMBindingManager, engine: str, tmp_path: Path) -> None:
    """In one line, whose command may be run as it stands; its ``__del__`` stays quiet."""
    names, command = ENGINES[engine]
    assert manager.create_binding(engine, model_name="m.gguf", models_path=str(tmp_path)) is None
    line = manager.errors[engine]
    assert f"missing requirements: {names}; install them with: {command}" in line
    assert "\n" not in line


def test_it_generates(binding: LollmsLLMBinding) -> None:
    assert binding.generate_text("Why?", n_predict=20) == TEXT
    assert binding.chat("Why?", temperature=0.5).text == TEXT


def test_it_streams_to_a_callback_that_returns_nothing(binding: LollmsLLMBinding) -> None:
    pieces: list[str] = []

    def callback(piece: str, kind: MSG_TYPE) -> None:
        assert kind is MSG_TYPE.MSG_TYPE_CHUNK
        pieces.append(piece)

    assert binding.generate_text("Why?", streaming_callback=callback) == TEXT
    assert pieces == list(PIECES)


def test_it_streams_events(binding: LollmsLLMBinding) -> None:
    events = list(binding.stream("Why?"))
    assert [event.text for event in events if isinstance(event, TextDelta)] == list(PIECES)
    assert isinstance(events[-1], Finish)


async def test_it_is_awaited(binding: LollmsLLMBinding) -> None:
    assert await binding.agenerate_text("Why?") == TEXT


def test_it_goes_on_with_a_conversation(binding: LollmsLLMBinding, server: FaultServer, name: str) -> None:
    roles = ("system", "user", "assistant", "user")
    messages = [{"role": role, "content": f"{role} {number}"} for number, role in enumerate(roles)]
    assert binding.chat(messages).text == TEXT
    (asked,) = server.asked_at(DIALECTS[name].chat_path)
    assert "user 3" in asked.body.decode()


def test_it_lists_its_models_under_both_names(binding: LollmsLLMBinding) -> None:
    listed = binding.listModels()
    assert listed[0]["model_name"].endswith(("m1", "m1:latest"))
    assert binding.list_models() == listed


def test_it_embeds_where_it_can(binding: LollmsLLMBinding, name: str) -> None:
    if name == "openai":
        with pytest.raises(ProtocolError, match="vectors of different or no size"):  # its method is empty
            binding.embed("a text")
    else:
        assert binding.embed("a text") == [0.5, 0.25]


def test_a_server_that_is_gone_is_an_error(
    name: str, manager: LollmsLLMBindingManager, caplog: pytest.LogCaptureFixture
) -> None:
    with FaultServer(listening=False) as gone:
        address = f"http://127.0.0.1:{gone.port}{DIALECTS[name].address}"
        model = DIALECTS[name].model
        binding: Any = manager.open_binding(name, host_address=address, model_name=model, service_key=KEY)
        if name == "openai":
            binding.client = binding.client.with_options(max_retries=0)  # it would wait before each of two
        answer = binding.generate_text("Why?")
        close_client(binding)
    assert isinstance(answer, dict)
    assert answer["status"] is False
    assert answer["error_type"] == "BackendError"
    assert KEY not in str(answer) + caplog.text
