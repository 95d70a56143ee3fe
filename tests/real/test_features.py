"""What a generation can carry, on every real server that has it; what one lacks is said before anything is sent."""

from __future__ import annotations

import asyncio
import http.client
import json
import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from lollms_core import (
    Capability,
    CapabilityNotSupported,
    InvalidOutput,
    LollmsError,
    LollmsLLMBinding,
    ModelNotFound,
    TextDelta,
    TokenLogprob,
)

if TYPE_CHECKING:
    from .conftest import Backend, Opener

MODEL = "smollm2"
LIMIT = 30.0  # seconds
GREEDY: dict[str, Any] = {"temperature": 0.0, "seed": 1}
SCHEMA = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "maxLength": 20},
        "größe": {"enum": ["klein", "groß"]},
        "colours": {"type": "array", "items": {"enum": ["red", "green", "blue"]}, "maxItems": 3},
    },
    "required": ["city", "größe"],
    "additionalProperties": False,
}
# SmolLM2's own template has no place for tools; this one has, in the form of Hermes and Qwen.
TEMPLATE = """
{%- if tools %}<|im_start|>system
You may call these functions:
{% for tool in tools %}{{ tool | tojson }}
{% endfor %}Answer with <tool_call>{"name": ..., "arguments": {...}}</tool_call> to call one.<|im_end|>
{% endif %}
{%- for message in messages %}
{%- if message.role == 'tool' %}<|im_start|>user
<tool_response>
{{ message.content }}
</tool_response><|im_end|>
{% else %}<|im_start|>{{ message.role }}
{{ message.content or '' }}
{%- for call in message.tool_calls or [] %}
<tool_call>
{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}
</tool_call>
{%- endfor %}<|im_end|>
{% endif %}
{%- endfor %}
{%- if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""


def weather(city: str) -> str:
    """The weather in a city."""
    return f"It is fine in {city}."


def lacks(binding: LollmsLLMBinding, capability: Capability) -> bool:
    return capability not in binding.capabilities_of(MODEL)


async def test_structured_output(binding: LollmsLLMBinding) -> None:
    """The answer is what the schema says, whole, streamed and async; a part of it is an error."""
    fields: dict[str, Any] = {"response_format": SCHEMA, "n_predict": 200, **GREEDY}
    parsed = binding.chat("A city, please.", **fields).parsed
    assert {"city", "größe"} <= set(parsed)
    stream = binding.stream("A city, please.", **fields)
    assert sum(isinstance(event, TextDelta) for event in stream) > 1
    assert {"city", "größe"} <= set(stream.completion.parsed)
    assert {"city", "größe"} <= set((await binding.achat("A city, please.", **fields)).parsed)
    with pytest.raises(InvalidOutput, match="limit of its length") as caught:
        binding.chat("A city, please.", **{**fields, "n_predict": 3})
    assert caught.value.text
    returned = binding.generate_from_messages([{"role": "user", "content": "A city"}], **{**fields, "n_predict": 3})
    assert isinstance(returned, dict)
    assert returned["error_type"] == "InvalidOutput"


async def test_logprobs(binding: LollmsLLMBinding) -> None:
    """Each token's, in the order of the text, the likeliest first; a server that has none says so."""
    fields: dict[str, Any] = {"logprobs": 2, "n_predict": 8, **GREEDY}
    # In an event loop's thread a binding must not wait for its server to tell.
    if await asyncio.to_thread(lacks, binding, Capability.LOGPROBS):
        with pytest.raises(CapabilityNotSupported, match="logprobs"):
            binding.chat("Why is the sky blue?", **fields)
        return
    completion = binding.chat("Why is the sky blue?", **fields)
    assert "".join(one.token for one in completion.logprobs) == completion.text
    for one in completion.logprobs:
        assert one.logprob <= 0
        assert len(one.top) == 2
        assert one.top[0][1] >= one.top[1][1]
        assert one.top[0] == (one.token, one.logprob)  # greedy takes the likeliest
    events = [event async for event in binding.astream("Why is the sky blue?", **fields)]
    streamed = [event for event in events if isinstance(event, TokenLogprob)]
    assert [one.token for one in streamed] == [one.token for one in completion.logprobs]
    assert streamed[0].logprob == pytest.approx(completion.logprobs[0].logprob, abs=0.05)
    assert binding.chat("Why?", n_predict=2, **GREEDY).logprobs == []


def test_tools(backend: Backend, binding: LollmsLLMBinding, opener: Opener) -> None:
    """A tool that must be called is called, run, and its result goes back; a server that cannot says so."""
    question = "How is the weather in Oslo?"
    fields: dict[str, Any] = {"tools": [weather], "tool_choice": "weather", "n_predict": 100, **GREEDY}
    if backend.name == "llamacpp":
        with pytest.raises(CapabilityNotSupported, match="tools"):
            binding.chat(question, **fields)
        binding = opener("llamacpp", model_name=MODEL, ctx_size=2048, n_threads=1, chat_template=TEMPLATE)
    elif lacks(binding, Capability.TOOLS):
        with pytest.raises(CapabilityNotSupported, match="tools"):
            binding.chat(question, tools=[weather])
        return
    elif not backend.calls:
        # It would pass over tools in silence; what it tells of its template is looked at before.
        with pytest.raises(CapabilityNotSupported, match="tools"):
            binding.chat(question, **fields)
        return
    called = binding.chat(question, **fields)
    assert called.finish_reason == "tool_calls"
    assert [call.name for call in called.tool_calls] == ["weather"]
    assert json.loads(called.tool_calls[0].arguments).keys() == {"city"}
    whole = binding.chat(question, run_tools=True, max_rounds=2, **fields)
    assert [message["role"] for message in whole.earlier] == ["assistant", "tool"]
    assert whole.earlier[1]["content"].startswith("It is fine in")
    stream = binding.stream(question, **fields)
    list(stream)
    assert [call.arguments for call in stream.completion.tool_calls] == [call.arguments for call in called.tool_calls]


def test_many_texts_to_embed(backend: Backend, binding: LollmsLLMBinding) -> None:
    """More texts than one batch holds: each gets its own vector, in their order."""
    if not backend.embeds:
        with pytest.raises(CapabilityNotSupported):  # it gives a vector for every token of a text
            binding.embed(["a", "b"])
        return
    # The vectors of one of the servers tell little more than the last token.
    texts = [f"the character {chr(33 + number)}" for number in range(70)]
    vectors = binding.embed(texts)
    assert len(vectors) == len(texts)
    for place in (0, 63, 64, 69):
        alone = binding.embed(texts[place])
        nearest = max(range(len(texts)), key=lambda other: cosine(alone, vectors[other]))
        assert nearest == place


def cosine(one: list[float], other: list[float]) -> float:
    def product(a: list[float], b: list[float]) -> float:
        return sum(x * y for x, y in zip(a, b, strict=True))

    return product(one, other) / math.sqrt(product(one, one) * product(other, other))


def test_thinking_that_a_model_does_not_have(binding: LollmsLLMBinding) -> None:
    """What is known not to think is not asked to."""
    with pytest.raises(CapabilityNotSupported, match="reasoning"):
        binding.chat("x", think=True)
    assert binding.chat("Say hello.", think=False, n_predict=3).text


@pytest.mark.parametrize("name", ["llamacpp", "ollama"])
def test_memory(name: str, opener: Opener, request: pytest.FixtureRequest) -> None:
    """A model is in memory until it is unloaded, and comes back by itself."""
    where = {"host_address": request.getfixturevalue("ollama")} if name == "ollama" else {"n_threads": 1}
    binding = opener(name, model_name=MODEL, ctx_size=2048, **where)
    first = binding.chat("Say hello.", n_predict=3, **GREEDY).text
    (entry,) = binding.ps()
    assert entry["model_name"].removesuffix(":latest") == MODEL
    assert entry["size"] > 50_000_000
    assert "expires_at" in entry
    binding.unload()
    until = time.monotonic() + LIMIT
    while binding.ps():  # a server answers before it has done it
        assert time.monotonic() < until
        time.sleep(0.05)
    assert binding.get_model_info()["loaded"] is False
    assert binding.chat("Say hello.", n_predict=3, **GREEDY).text == first
    assert len(binding.ps()) == 1
    with pytest.raises(ModelNotFound):
        binding.unload("no-such-model")


def test_ollama_keeps_models(opener: Opener, ollama: str) -> None:
    """A copy is deleted, and is gone; a model that nobody has cannot be pulled."""
    parts = urlsplit(ollama)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)
    connection.request("POST", "/api/copy", json.dumps({"source": MODEL, "destination": "copied"}))
    assert connection.getresponse().status == 200
    connection.close()
    binding = opener("ollama", host_address=ollama)
    names = [model["model_name"] for model in binding.listModels()]
    assert "copied:latest" in names
    binding.delete("copied")
    assert "copied:latest" not in [model["model_name"] for model in binding.listModels()]
    with pytest.raises(ModelNotFound, match="copied"):
        binding.delete("copied")
    with pytest.raises(LollmsError, match=r"127\.0\.0\.1:9"):
        binding.pull("127.0.0.1:9/none/none", progress=print)


@pytest.mark.usefixtures("ollama")
def test_models_of_ollama_in_this_process(opener: Opener, ollama_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What Ollama has made of a model's file is found in its store, and used from there."""
    monkeypatch.setenv("OLLAMA_MODELS", str(ollama_home / "models"))
    by_name = opener("llamacpp", model_name=f"ollama:{MODEL}", n_threads=1)
    embedded = opener("llamacpp", model_name=MODEL, n_threads=1)
    listed = {model["model_name"]: model for model in by_name.listModels()}
    theirs, ours = listed[f"ollama:{MODEL}:latest"], listed[MODEL]
    assert theirs["loaded"]
    assert Path(theirs["path"]).parent == ollama_home / "models" / "blobs"
    for fact in ("size", "architecture", "parameters", "quantization", "ctx_size"):
        assert theirs[fact] == ours[fact]
    assert (
        by_name.chat("Say hello.", n_predict=8, **GREEDY).text
        == embedded.chat("Say hello.", n_predict=8, **GREEDY).text
    )


def test_openai_servers_say_what_they_lack(opener: Opener, llama_server: str) -> None:
    """No such server fetches or unloads models by this API."""
    binding = opener("openai", host_address=llama_server, model_name=MODEL)
    for use in (lambda: binding.pull("x"), lambda: binding.delete("x"), binding.ps, binding.unload):
        with pytest.raises(CapabilityNotSupported):
            use()
