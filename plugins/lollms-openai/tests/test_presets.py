"""The presets: data, classes, entry points."""

from __future__ import annotations

import dataclasses
import socket
import subprocess
import sys
import tomllib
from importlib import import_module
from importlib.metadata import distribution
from pathlib import Path

import pytest
from openai_wire import Loopback, http

from lollms_core import Capability, EventBinding
from lollms_core.request import PARAMETERS
from lollms_openai import OpenAIBinding, presets
from lollms_openai.presets import PRESETS

PYPROJECT = Path(__file__).parent.parent / "pyproject.toml"


def declared() -> dict[str, str]:
    if PYPROJECT.exists():
        project = tomllib.loads(PYPROJECT.read_text("utf-8"))["project"]
        return dict(project["entry-points"]["lollms.llm_bindings"])
    points = distribution("lollms-openai").entry_points
    return {point.name: point.value for point in points if point.group == "lollms.llm_bindings"}


def test_each_preset_is_an_entry_point() -> None:
    points = declared()
    assert points.keys() == {"openai", *PRESETS}
    for name, value in points.items():
        module, _, attribute = value.partition(":")
        cls = getattr(import_module(module), attribute)
        assert issubclass(cls, OpenAIBinding)
        assert cls.preset.name == name
        with cls() as binding:
            assert binding.binding_name == name
            assert repr(binding).startswith(f"<{'OpenAIBinding' if name == 'openai' else name} '{name}'")


@pytest.mark.parametrize("name", PRESETS)
def test_the_table_is_sound(name: str) -> None:
    preset = PRESETS[name]
    assert preset.base_url.startswith("http://127.0.0.1:" if preset.local else "https://")
    assert preset.fields.keys() <= PARAMETERS
    assert preset.capabilities <= OpenAIBinding.capabilities
    assert preset.key_variable
    assert (Capability.TOKENIZE in preset.capabilities) == (preset.tokens != "none")
    cls = getattr(presets, name)
    assert (cls.__name__, cls.__module__) == (name, "lollms_openai.presets")
    assert issubclass(cls, EventBinding)
    assert cls.uses == {"model", "n_predict", "timeout", *preset.fields}


def test_importing_is_light() -> None:
    code = (
        "import sys, lollms_openai, lollms_openai.presets\n"
        "lollms_openai.OpenAIBinding(service_key='k').close()\n"
        "print([name for name in ('openai', 'httpx2', 'httpcore2', 'pydantic', 'tiktoken') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("body", "place"),
    [(b'{"data": []}', "local"), (b'{"models": []}', None), (b"<html>hello</html>", None)],
)
def test_a_local_server_is_chosen_if_it_lists_models(
    server: Loopback, monkeypatch: pytest.MonkeyPatch, body: bytes, place: str | None
) -> None:
    """Other programs like the same ports."""
    server.on("/v1/models", http(body))
    at_hand = dataclasses.replace(presets.llamaserver.preset, base_url=server.url)
    monkeypatch.setattr(presets.llamaserver, "preset", at_hand)
    assert presets.llamaserver.unconfigured() == place


def test_a_local_server_that_is_not_there_is_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    gone = dataclasses.replace(presets.vllm.preset, base_url=f"http://127.0.0.1:{port}/v1")
    monkeypatch.setattr(presets.vllm, "preset", gone)
    assert presets.vllm.unconfigured() is None


def test_a_service_is_chosen_if_its_key_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "GROQ_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    assert OpenAIBinding.unconfigured() is presets.groq.unconfigured() is None
    monkeypatch.setenv("GROQ_API_KEY", "k")
    assert OpenAIBinding.unconfigured() is None
    assert presets.groq.unconfigured() == "remote"
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    assert OpenAIBinding.unconfigured() == "remote"
    monkeypatch.setenv("OPENAI_API_KEY", "no key\n at all")
    assert OpenAIBinding.unconfigured() is None


# What a doctor is told ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "path", "answer"),
    [("llamaserver", "/props", b'{"build_info": "b6000-abc"}'), ("vllm", "/version", b'{"version": "b6000-abc"}')],
)
def test_a_local_server_tells_its_version(
    server: Loopback, monkeypatch: pytest.MonkeyPatch, name: str, path: str, answer: bytes
) -> None:
    cls = getattr(presets, name)
    server.on("/v1/models", http(b'{"data": []}'))
    server.on(path, http(answer))
    monkeypatch.setattr(cls, "preset", dataclasses.replace(cls.preset, base_url=server.url))
    (found,) = cls.diagnose(10)
    assert (found.state, found.about, found.facts["version"]) == ("ok", "server", "b6000-abc")


def test_a_local_server_without_a_version_is_told_all_the_same(
    server: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.on("/v1/models", http(b'{"data": []}'))
    server.on("/props", http(b"[]"))
    monkeypatch.setattr(
        presets.llamaserver, "preset", dataclasses.replace(presets.llamaserver.preset, base_url=server.url)
    )
    (found,) = presets.llamaserver.diagnose(10)
    assert (found.state, "version" in found.facts) == ("ok", False)


def test_a_server_that_is_not_there_is_missed_only_where_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    gone = dataclasses.replace(presets.vllm.preset, base_url=f"http://127.0.0.1:{port}/v1")
    monkeypatch.setattr(presets.vllm, "preset", gone)
    monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{port}/v1")
    assert [found.state for found in presets.vllm.diagnose(10)] == ["absent"]
    (named,) = OpenAIBinding.diagnose(10)
    assert (named.state, named.about) == ("warning", "server")


def test_a_key_is_told_and_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    (missing,) = OpenAIBinding.diagnose(10)
    assert (missing.state, missing.about, "OPENAI_API_KEY" in str(missing.remedy)) == ("absent", "key", True)
    monkeypatch.setenv("OPENAI_API_KEY", "very-secret")
    (there,) = OpenAIBinding.diagnose(10)
    assert (there.state, "secret" in repr(there)) == ("ok", False)
    monkeypatch.setenv("OPENAI_API_KEY", "very-secret\n key")
    (wrong,) = OpenAIBinding.diagnose(10)
    assert (wrong.state, "secret" in repr(wrong)) == ("problem", False)
    assert "OPENAI_API_KEY" in str(wrong.remedy)
