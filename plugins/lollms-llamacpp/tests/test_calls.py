"""Tools, schemas and thinking on models that compute: whatever the weights, the form is kept."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from lollms_core import Capability, CapabilityNotSupported, Stream, ToolCall
from lollms_llamacpp import LlamaCppBinding
from lollms_llamacpp.engine import Engine

GREEDY: dict[str, Any] = {"temperature": 0}


def weather(city: str, days: int = 1) -> str:
    """The weather in a city.

    Args:
        city: its name.
        days: how many.
    """
    return f"It is sunny in {city} for {days} days."


def clock() -> str:
    """The time of day."""
    return "noon"


CITY = {
    "type": "object",
    "properties": {"city": {"enum": ["Rome", "Paris"]}},
    "required": ["city"],
    "additionalProperties": False,
}
PLACE = {"name": "place", "description": "Choose a place.", "parameters": CITY}


@pytest.fixture(scope="module", params=["hermes", "llama3", "mistral", "named"])
def able(request: pytest.FixtureRequest, templates: dict[str, str]) -> Iterator[LlamaCppBinding]:
    """The real model with a template that has tools."""
    with LlamaCppBinding(model_name="smollm2", ctx_size=2048, chat_template=templates[request.param]) as binding:
        yield binding


@pytest.fixture(scope="module")
def hermes(templates: dict[str, str]) -> Iterator[LlamaCppBinding]:
    with LlamaCppBinding(model_name="smollm2", ctx_size=2048, chat_template=templates["hermes"]) as binding:
        yield binding


def test_capabilities(able: LlamaCppBinding, smollm2: LlamaCppBinding) -> None:
    """Tools are declared for a model whose template has them, and refused before anything is computed otherwise."""
    assert Capability.TOOLS in able.capabilities_of(None)
    assert "tools" in able.get_model_info()["supports"]
    assert Capability.TOOLS not in smollm2.capabilities_of(None)
    for call in (smollm2.chat, smollm2.stream):
        with pytest.raises(CapabilityNotSupported, match="tools"):
            call("What is the weather?", tools=[weather])
    assert able.chat("Hi", tools=[weather], tool_choice="none", n_predict=2, **GREEDY).tool_calls == []


@pytest.mark.parametrize("choice", ["required", "place"])
def test_a_call_that_must_be(able: LlamaCppBinding, choice: str) -> None:
    """In the template's own form, of a tool that is there, with arguments that satisfy its schema."""
    tools = [PLACE] if choice == "required" else [clock, PLACE]
    done = able.chat("Where is the Colosseum?", tools=tools, tool_choice=choice, n_predict=400, **GREEDY)
    assert done.text == ""
    assert done.finish_reason == "tool_calls"
    assert {call.name for call in done.tool_calls} == {"place"}
    assert all(json.loads(call.arguments)["city"] in ("Rome", "Paris") for call in done.tool_calls)
    if choice == "place":
        assert len(done.tool_calls) == 1
    assert done.usage.completion_tokens


def test_streams_and_asyncio(hermes: LlamaCppBinding) -> None:
    """A call comes as one event, also to asyncio, and the message goes back as it is."""
    fields: dict[str, Any] = {"tools": [PLACE], "tool_choice": "place", "n_predict": 60, **GREEDY}
    stream = hermes.stream("Where is the Louvre?", **fields)
    calls = [event for event in stream if isinstance(event, ToolCall)]
    assert [call.name for call in calls] == ["place"]
    assert stream.completion.tool_calls == calls
    done = asyncio.run(hermes.achat("Where is the Louvre?", **fields))
    assert [call.arguments for call in done.tool_calls] == [call.arguments for call in calls]
    talk = [{"role": "user", "content": "Where is the Louvre?"}, done.message]
    talk.append({"role": "tool", "tool_call_id": done.tool_calls[0].id, "content": "It is there."})
    assert hermes.chat(talk, tools=[PLACE], n_predict=8, **GREEDY).text


def test_running_tools(hermes: LlamaCppBinding) -> None:
    """The loop of run_tools: the forced call is run, its result is in the conversation, the answer follows."""
    ran: list[tuple[str, int]] = []

    def forecast(city: str, days: int = 1) -> str:
        """The weather in a city."""
        ran.append((city, days))
        return f"sunny in {city}"

    done = hermes.chat(
        "What is the weather in Rome?",
        tools=[forecast],
        tool_choice="forecast",
        run_tools=True,
        max_rounds=2,
        n_predict=120,
        **GREEDY,
    )
    assert len(ran) >= 1
    assert isinstance(ran[0][0], str)
    roles = [message["role"] for message in done.messages]
    assert roles[:2] == ["assistant", "tool"]
    assert done.messages[1]["content"] == f"sunny in {ran[0][0]}"


def test_schema_or_call(hermes: LlamaCppBinding) -> None:
    """With a schema and tools the answer is either one; without tools it is the schema's object."""
    fields: dict[str, Any] = {"response_format": CITY, "n_predict": 400, **GREEDY}
    done = hermes.chat("Where is the Louvre?", **fields)
    assert done.parsed["city"] in ("Rome", "Paris")
    both = hermes.chat("Where is the Louvre?", tools=[clock], **fields)
    assert (both.parsed is None) == bool(both.tool_calls)
    assert both.parsed is None or both.parsed["city"] in ("Rome", "Paris")
    plain = hermes.generate_text("The Louvre is in", completion_format="text", **fields)
    assert json.loads(str(plain))["city"] in ("Rome", "Paris")


def test_schemas_that_cannot_be(hermes: LlamaCppBinding) -> None:
    """What nothing satisfies is misuse, told before anything is computed."""
    nothing = {"type": "object", "properties": {"x": {"enum": []}}, "required": ["x"]}
    with pytest.raises(ValueError, match="x"):
        hermes.chat("x", tools=[{"name": "f", "parameters": nothing}], tool_choice="f")
    assert hermes.chat("x", n_predict=1).usage.completion_tokens == 1


# The examples show even a small model how thinking is closed.
THINKS = (
    "{% for i in [1, 2, 3] %}<|im_start|>user\nWhere is it?<|im_end|>\n<|im_start|>assistant\n"
    "<think>\nEasy.\n</think>\n\nThere.<|im_end|>\n{% endfor %}"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}<|im_start|>assistant\n"
    "{% if enable_thinking | default(true) %}<think>\n{% endif %}"
)


def test_thinking_before_a_schema() -> None:
    """Where the prompt opens the thinking, the grammar begins after it, and the object is the answer alone."""
    with LlamaCppBinding(model_name="smollm2", ctx_size=512, chat_template=THINKS) as binding:
        assert Capability.REASONING in binding.capabilities_of(None)
        fields: dict[str, Any] = {"response_format": CITY, "n_predict": 100, **GREEDY}
        done = binding.chat("Where is the Louvre?", **fields)
        assert done.parsed["city"] in ("Rome", "Paris")
        assert done.reasoning == "Easy."
        off = binding.chat("Where is the Louvre?", think=False, **fields)
        assert off.reasoning == ""
        assert off.parsed["city"] in ("Rome", "Paris")


def test_a_call_by_the_model_itself(templates: dict[str, str]) -> None:
    """With "auto" nothing holds the model to a form; what it writes by example is found, and the text before it."""
    example = (
        '<|im_start|>user\nTime?<|im_end|>\n<|im_start|>assistant\nI look.\n<tool_call>\n{"name": "clock", '
        '"arguments": {}}\n</tool_call><|im_end|>\n'
    )
    with LlamaCppBinding(
        model_name="smollm2", ctx_size=512, chat_template=example * 3 + templates["hermes"]
    ) as binding:
        stream = binding.stream("Time?", tools=[clock], n_predict=60, **GREEDY)
        pieces = list(stream.text_stream)
        done = stream.completion
    assert done.text == "".join(pieces) == "I look."
    (call,) = done.tool_calls
    assert call.name.isidentifier()
    assert isinstance(json.loads(call.arguments), dict)
    assert done.finish_reason == "tool_calls"


def test_marks_that_are_control_tokens(templates: dict[str, str]) -> None:
    """A control token that opens calls is seen when the model writes it, and only with tools."""
    source = templates["named"].replace("[TOOL_CALLS]", "<jupyter_start>")
    with LlamaCppBinding(model_name="smollm2", ctx_size=512, chat_template=source) as binding:
        (token,) = binding.tokenize("<jupyter_start>", parse_special=True)
        fields: dict[str, Any] = {"logit_bias": {token: 1000.0}, "n_predict": 2, **GREEDY}
        assert binding.chat("x", tools=[clock], **fields).text == "<jupyter_start>" * 2
        assert binding.chat("x", **fields).text == ""


def test_cancel(hermes: LlamaCppBinding) -> None:
    """Within a second, also while a grammar holds the answer or tools are looked for."""
    listing = {"type": "array", "items": {"type": "string"}, "minItems": 500}
    for fields in ({"response_format": listing}, {"tools": [weather]}):
        stream = hermes.stream("Tell me all.", logit_bias={2: -100.0}, **fields)
        ended: list[float] = []

        def read(stream: Stream = stream, ended: list[float] = ended) -> None:
            for _ in stream:
                pass
            ended.append(time.monotonic())

        reader = threading.Thread(target=read)
        reader.start()
        assert isinstance(hermes._models.engine, Engine)
        while not hermes._models.engine.n_requests:
            threading.Event().wait(0.001)
        at = time.monotonic()
        hermes.cancel()
        reader.join(5)
        assert ended
        assert ended[0] - at < 1
        assert stream.completion.finish_reason == "cancelled"
