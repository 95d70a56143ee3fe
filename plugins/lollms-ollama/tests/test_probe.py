"""Whether an Ollama is chosen where nothing is configured."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from ollama_wire import Server, whole

from lollms_ollama import OllamaBinding


@pytest.mark.parametrize(
    ("answer", "place"),
    [
        (whole({"models": [{"name": "llama3.2"}]}), "local"),
        (whole({"models": []}), None),
        (whole([1]), None),
        (whole("not here", "404 Not Found"), None),
    ],
)
def test_one_with_a_model_is_chosen(
    server: Server, monkeypatch: pytest.MonkeyPatch, answer: Any, place: str | None
) -> None:
    """One without a model could answer nothing, and another program on the port even less."""
    server.on("/api/tags", answer)
    monkeypatch.setenv("OLLAMA_HOST", server.url)
    assert OllamaBinding.unconfigured() == place


def test_one_that_is_not_there_is_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    monkeypatch.setenv("OLLAMA_HOST", f"127.0.0.1:{port}")
    assert OllamaBinding.unconfigured() is None
    monkeypatch.setenv("OLLAMA_HOST", "http://[nonsense")
    assert OllamaBinding.unconfigured() is None


# What a doctor is told ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "state", "said"),
    [
        (whole({"version": "0.12.3"}), "ok", "Ollama 0.12.3 answers at "),
        (whole([1]), "problem", "is no Ollama"),
        (whole("not here", "404 Not Found"), "problem", "is no Ollama"),
    ],
)
def test_a_server_tells_its_version(
    server: Server, monkeypatch: pytest.MonkeyPatch, answer: Any, state: str, said: str
) -> None:
    server.on("/api/version", answer)
    monkeypatch.setenv("OLLAMA_HOST", server.url)
    (found,) = OllamaBinding.diagnose(10)
    assert (found.state, found.about, found.facts["address"]) == (state, "server", server.url)
    assert said in found.text
    assert (found.remedy is None) == (state == "ok")


def test_a_server_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    monkeypatch.setenv("OLLAMA_HOST", f"127.0.0.1:{port}")
    (gone,) = OllamaBinding.diagnose(10)
    assert (gone.state, "ollama serve" in str(gone.remedy)) == ("warning", True)
    monkeypatch.setenv("OLLAMA_HOST", "http://[nonsense")
    (wrong,) = OllamaBinding.diagnose(10)
    assert (wrong.state, "OLLAMA_HOST" in str(wrong.remedy)) == ("problem", True)
