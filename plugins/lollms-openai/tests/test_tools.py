"""Tools: what is sent, how calls are put together from what servers send, and how they go back."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from openai_wire import CHAT, Loopback, chunk, chunked, completion, http, sse

from lollms_core import BadRequest, Capability, CapabilityNotSupported, GenerationRequest, ProtocolError, ToolCall
from lollms_openai import OpenAIBinding
from lollms_openai.preset import OPENAI
from lollms_openai.presets import deepseek, groq, llamaserver, lmstudio, mistral, openrouter, vllm
from lollms_openai.server import Server
from lollms_openai.tool_calls import ToolCalls
from lollms_openai.wire_messages import wire_messages

Bind = Callable[..., OpenAIBinding]
Ask = Callable[..., Any]

PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
DEFINITION = {"type": "function", "function": {"name": "weather", "description": "Now.", "parameters": PARAMETERS}}
OTHER = {"type": "function", "function": {"name": "time", "parameters": {"type": "object", "properties": {}}}}
NAMED = {"type": "function", "function": {"name": "weather"}}
CALL = {"id": "a", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Rome"}'}}
CALLED = completion(
    choices=[{"index": 0, "message": {"content": None, "tool_calls": [CALL]}, "finish_reason": "tool_calls"}]
)


@pytest.mark.parametrize(
    ("cls", "choice", "sent"),
    [
        (OpenAIBinding, None, {"tools": [DEFINITION, OTHER]}),
        (OpenAIBinding, "auto", {"tools": [DEFINITION, OTHER], "tool_choice": "auto"}),
        (OpenAIBinding, "none", {"tools": [DEFINITION, OTHER], "tool_choice": "none"}),
        (OpenAIBinding, "required", {"tools": [DEFINITION, OTHER], "tool_choice": "required"}),
        (OpenAIBinding, "weather", {"tools": [DEFINITION, OTHER], "tool_choice": NAMED}),
        (mistral, "required", {"tools": [DEFINITION, OTHER], "tool_choice": "any"}),
        (mistral, "weather", {"tools": [DEFINITION, OTHER], "tool_choice": NAMED}),
        (vllm, "weather", {"tools": [DEFINITION, OTHER], "tool_choice": NAMED}),
        (llamaserver, "weather", {"tools": [DEFINITION], "tool_choice": "required"}),
        (lmstudio, "weather", {"tools": [DEFINITION], "tool_choice": "required"}),
    ],
)
def test_definitions_and_choice(
    server: Loopback, bind: Bind, cls: type[OpenAIBinding], choice: Any, sent: dict[str, Any]
) -> None:
    server.on(CHAT, http(CALLED))
    bind(cls).chat("Weather?", tools=[DEFINITION, OTHER], tool_choice=choice)
    body = server.bodies()[-1]
    assert {name: body[name] for name in ("tools", "tool_choice") if name in body} == sent


def test_no_tools_send_nothing(server: Loopback, bind: Bind) -> None:
    server.on(CHAT, http(completion()))
    bind().chat("x", tools=[], tool_choice="auto")
    assert server.bodies()[0].keys() == {"model", "messages"}


def test_a_server_that_takes_no_object_as_choice_is_asked_again(server: Loopback, bind: Bind, ask: Ask) -> None:
    """LM Studio's words, https://lmstudio.ai/docs/developer/openai-compat/tools."""
    refusal = {"error": "Invalid tool_choice type: 'object'. Supported string values: none, auto, required"}
    server.on(CHAT, http(refusal, "400 Bad Request"), http(CALLED))
    ask(bind(), "chat", "x", tools=[DEFINITION, OTHER], tool_choice="weather")
    assert server.bodies()[1]["tools"] == [DEFINITION]
    assert server.bodies()[1]["tool_choice"] == "required"


def fragment(index: Any = None, call_id: Any = None, name: Any = None, arguments: Any = None, **more: Any) -> Any:
    function = {key: value for key, value in (("name", name), ("arguments", arguments)) if value is not None}
    given = {"index": index, "id": call_id}
    return {key: value for key, value in given.items() if value is not None} | {"function": function} | more


CALLS: dict[str, tuple[Sequence[Sequence[Any]], list[tuple[str | None, str, str]]]] = {
    # https://platform.openai.com/docs/guides/function-calling, streaming
    "fragments": (
        [
            [fragment(0, "a", "f", "")],
            [fragment(0, arguments='{"x":')],
            [fragment(0, arguments=" 1}")],
            [fragment(1, "b", "f", "")],
            [fragment(1, arguments="{}")],
        ],
        [("a", "f", '{"x": 1}'), ("b", "f", "{}")],
    ),
    "interleaved": (
        [
            [fragment(0, "a", "f"), fragment(1, "b", "g")],
            [fragment(1, arguments='{"y"'), fragment(0, arguments='{"x"')],
            [fragment(0, arguments=":1}"), fragment(1, arguments=":2}")],
        ],
        [("a", "f", '{"x":1}'), ("b", "g", '{"y":2}')],
    ),
    # https://docs.mistral.ai/capabilities/function_calling
    "whole calls in one delta": (
        [[fragment(0, "aaaaaaaaa", "f", '{"x":1}'), fragment(1, "bbbbbbbbb", "f", '{"x":2}')]],
        [("aaaaaaaaa", "f", '{"x":1}'), ("bbbbbbbbb", "f", '{"x":2}')],
    ),
    "whole calls, all with index 0": (
        [[fragment(0, "a", "f", '{"x":1}')], [fragment(0, "b", "f", '{"x":2}')]],
        [("a", "f", '{"x":1}'), ("b", "f", '{"x":2}')],
    ),
    "whole calls with index 0 and no id": (
        [[fragment(0, None, "f", '{"x":1}')], [fragment(0, None, "f", '{"x":2}')]],
        [(None, "f", '{"x":1}'), (None, "f", '{"x":2}')],
    ),
    "no index, an id in each": (
        [[fragment(None, "a", "f", "")], [fragment(None, "a", None, "{}")], [fragment(None, "b", "g", "{}")]],
        [("a", "f", "{}"), ("b", "g", "{}")],
    ),
    "no index, an id in the first": (
        [
            [fragment(None, "a", "f")],
            [fragment(arguments='{"x"')],
            [fragment(arguments=":1}")],
            [fragment(None, "b", "f", "{}")],
        ],
        [("a", "f", '{"x":1}'), ("b", "f", "{}")],
    ),
    "neither index nor id": (
        [[fragment(name="f", arguments="{}")], [fragment(name="f", arguments='{"x":1}')]],
        [(None, "f", "{}"), (None, "f", '{"x":1}')],
    ),
    # https://llama-cpp-python.readthedocs.io/en/latest/server/#function-calling
    "the name in each fragment": (
        [[fragment(0, "a", "f", '{"x"')], [fragment(0, "a", "f", ":1")], [fragment(0, "a", "f", "}")]],
        [("a", "f", '{"x":1}')],
    ),
    "another id in each fragment": (
        [[fragment(0, "a", "f", "")], [fragment(0, "b", None, '{"x":')], [fragment(0, "c", None, "1}")]],
        [("a", "f", '{"x":1}')],
    ),
    "empty arguments": ([[fragment(0, "a", "f", "")]], [("a", "f", "{}")]),
    "no arguments": ([[fragment(0, "a", "f")]], [("a", "f", "{}")]),
    "null arguments": ([[{"index": 0, "id": "a", "function": {"name": "f", "arguments": None}}]], [("a", "f", "{}")]),
    "arguments as an object": ([[fragment(0, "a", "f", {"x": "\u00fc"})]], [("a", "f", '{"x": "\u00fc"}')]),
    "one id for two": ([[fragment(0, "a", "f"), fragment(1, "a", "g")]], [("a", "f", "{}"), (None, "g", "{}")]),
    "an empty id": ([[fragment(0, "", "f")]], [(None, "f", "{}")]),
    "a number as id": ([[fragment(0, 7, "f")]], [("7", "f", "{}")]),
    "what is none": ([[None, 3, {}, {"index": 0, "function": 7}, {"index": "x"}]], []),
}


@pytest.mark.parametrize("name", CALLS)
def test_calls_from_a_stream(server: Loopback, bind: Bind, ask: Ask, name: str) -> None:
    deltas, expected = CALLS[name]
    records = [{**chunk(), "choices": [{"index": 0, "delta": {"tool_calls": delta}}]} for delta in deltas]
    server.on(CHAT, chunked(sse(*records, chunk(finish="stop"))))
    calls = [event for event in ask(bind(), "stream", "x", tools=[DEFINITION]) if isinstance(event, ToolCall)]
    assert [(call.name, call.arguments) for call in calls] == [(name, arguments) for _, name, arguments in expected]
    for call, (known, _, _) in zip(calls, expected, strict=True):
        assert call.id == known if known is not None else call.id.startswith("call_")
    assert len({call.id for call in calls}) == len(calls)


def test_ids_differ_from_one_answer_to_the_next() -> None:
    made = []
    for _ in range(2):
        calls = ToolCalls()
        calls.add({"tool_calls": [fragment(0, None, "f")]})
        made += [call.id for call in calls.events("h")]
    assert made[0] != made[1]


@pytest.mark.parametrize(
    "message",
    [
        {"content": None, "tool_calls": [fragment(None, "a", "weather", '{"city": "Rome"}', type="function")]},
        {"tool_calls": [fragment(0, "a", "weather", {"city": "Rome"})], "content": ""},
        # llama-cpp-python's server says it twice
        {
            "content": None,
            "tool_calls": [fragment(None, "a", "weather", '{"city": "Rome"}')],
            "function_call": {"name": "weather", "arguments": '{"city": "Rome"}'},
        },
    ],
)
@pytest.mark.parametrize("reason", ["tool_calls", "stop", "function_call"])
def test_calls_of_a_whole_answer(server: Loopback, bind: Bind, ask: Ask, message: dict[str, Any], reason: str) -> None:
    server.on(CHAT, http(completion(choices=[{"index": 0, "message": message, "finish_reason": reason}])))
    done = ask(bind(), "chat", "x", tools=[DEFINITION])
    assert (done.text, done.finish_reason) == ("", "tool_calls")
    assert done.tool_calls == [ToolCall("a", "weather", '{"city": "Rome"}')]


@pytest.mark.parametrize("stream", [False, True])
def test_a_function_call_of_old(server: Loopback, bind: Bind, ask: Ask, stream: bool) -> None:
    """https://platform.openai.com/docs/api-reference/chat/object, function_call."""
    whole = {"content": None, "function_call": {"name": "weather", "arguments": '{"city": "Rome"}'}}
    pieces: list[dict[str, Any]] = [
        {"function_call": {"name": "weather", "arguments": '{"city"'}},
        {"function_call": {"arguments": ': "Rome"}'}},
    ]
    records = [{**chunk(), "choices": [{"index": 0, "delta": piece}]} for piece in pieces]
    choice = {"index": 0, "message": whole, "finish_reason": "function_call"}
    answer = chunked(sse(*records, chunk(finish="function_call"))) if stream else http(completion(choices=[choice]))
    server.on(CHAT, answer)
    done = ask(bind(), "chat", "x", tools=[DEFINITION], stream=stream)
    assert [(call.name, call.arguments) for call in done.tool_calls] == [("weather", '{"city": "Rome"}')]


def test_a_call_of_nothing_is_an_error(server: Loopback, bind: Bind, ask: Ask) -> None:
    records = [{**chunk(), "choices": [{"index": 0, "delta": {"tool_calls": [fragment(0, "a", None, '{"x": 1}')]}}]}]
    server.on(CHAT, chunked(sse(*records, chunk(finish="tool_calls"))))
    with pytest.raises(ProtocolError, match=r"127\.0\.0\.1.*without a name"):
        ask(bind(), "stream", "x", tools=[DEFINITION])


def weather(city: str) -> str:
    """The weather of a city."""
    return f"{city}: rain"


def test_a_loop_of_tools(server: Loopback, bind: Bind, ask: Ask) -> None:
    server.on(CHAT, http(CALLED), http(completion("Rain.")))
    done = ask(bind(), "chat", "Weather in Rome?", tools=[weather], run_tools=True)
    assert done.text == "Rain."
    assert server.bodies()[1]["messages"] == [
        {"role": "user", "content": "Weather in Rome?"},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [CALL],
        },
        # The name that core adds is not part of OpenAI's form.
        {"role": "tool", "tool_call_id": "a", "content": "Rome: rain"},
    ]


def conversation(call_id: str, content: str | None = None) -> list[dict[str, Any]]:
    return [
        {"role": "user", "content": "x"},
        {
            "role": "assistant",
            "content": content,
            "tool_calls": [{"id": call_id, "type": "function", "function": {"name": "f", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": call_id, "name": "f", "content": "done"},
    ]


@pytest.mark.parametrize(("cls", "named"), [(openrouter, True), (llamaserver, True), (deepseek, False)])
def test_the_name_of_a_result_goes_where_it_has_a_place(
    server: Loopback, bind: Bind, cls: type[OpenAIBinding], named: bool
) -> None:
    server.on(CHAT, http(completion()))
    bind(cls).chat(conversation("a"))
    sent = server.bodies()[0]["messages"]
    assert sent[1]["content"] is None
    assert ("name" in sent[2]) == named


@pytest.mark.parametrize(("call_id", "kept"), [("call_0123456789", False), ("abcDEF123", True)])
def test_mistral_takes_ids_of_nine(server: Loopback, bind: Bind, call_id: str, kept: bool) -> None:
    """https://docs.mistral.ai/api: an id of another backend's would be refused."""
    server.on(CHAT, http(completion()))
    bind(mistral).chat(conversation(call_id))
    _, assistant, result = server.bodies()[0]["messages"]
    sent = assistant["tool_calls"][0]["id"]
    assert sent == result["tool_call_id"]
    assert len(sent) == 9
    assert sent.isalnum()
    assert (sent == call_id) == kept


# What goes back ------------------------------------------------------------------------------------------

# https://openrouter.ai/docs/use-cases/reasoning-tokens, preserving reasoning blocks
DETAILS: list[dict[str, Any]] = [
    {"reasoning": "Let ", "reasoning_details": [{"type": "reasoning.text", "text": "Let ", "index": 0, "format": "a"}]},
    {"reasoning": "me.", "reasoning_details": [{"type": "reasoning.text", "text": "me.", "index": 0}]},
    {"reasoning_details": [{"type": "reasoning.text", "text": "", "index": 0, "signature": "sig", "format": None}]},
    {"reasoning_details": [{"type": "reasoning.encrypted", "data": "x==", "index": 1, "id": "r1"}]},
    {
        "reasoning_details": [
            {"type": "reasoning.summary", "summary": "s"},
            {"type": "reasoning.summary", "summary": "t"},
        ]
    },
    {"tool_calls": [fragment(0, "a", "weather", '{"city": "Rome"}', type="function")]},
]
JOINED = [
    {"type": "reasoning.text", "text": "Let me.", "index": 0, "format": "a", "signature": "sig"},
    {"type": "reasoning.encrypted", "data": "x==", "index": 1, "id": "r1"},
    {"type": "reasoning.summary", "summary": "s"},
    {"type": "reasoning.summary", "summary": "t"},
]


def stream_of(deltas: Sequence[dict[str, Any]]) -> bytes:
    records = [{**chunk(), "choices": [{"index": 0, "delta": delta}]} for delta in deltas]
    return chunked(sse(*records, chunk(finish="tool_calls")))


def test_reasoning_details_go_back_to_openrouter_alone(server: Loopback, bind: Bind, ask: Ask) -> None:
    server.on(CHAT, stream_of(DETAILS), http(completion()))
    done = ask(bind(openrouter), "chat", "x", tools=[DEFINITION], stream=True)
    assert done.reasoning == "Let me."
    assert done.message["provider"] == {"openrouter": {"message": {"reasoning_details": JOINED}}}
    history = json.loads(json.dumps([{"role": "user", "content": "x"}, done.message]))  # it survives being stored
    bind(openrouter).chat([*history, {"role": "user", "content": "y"}])
    assert server.bodies()[-1]["messages"][1] == {
        "role": "assistant",
        "content": "",
        "reasoning_details": JOINED,
        "tool_calls": done.message["tool_calls"],
    }
    for cls in (groq, OpenAIBinding, deepseek):
        bind(cls).chat(history)
        assert server.bodies()[-1]["messages"][1].keys() == {"role", "content", "tool_calls"}


def test_one_unknown_servers_data_does_not_go_to_another(server: Loopback, bind: Bind, ask: Ask) -> None:
    server.on(CHAT, stream_of(DETAILS), http(completion()))
    done = ask(bind(), "chat", "x", tools=[DEFINITION], stream=True)
    bind(host_address=server.url).chat([done.message])
    assert server.bodies()[-1]["messages"][0]["reasoning_details"] == JOINED
    bind(host_address=server.url.replace("127.0.0.1", "localhost")).chat([done.message])
    assert "reasoning_details" not in server.bodies()[-1]["messages"][0]


@pytest.mark.parametrize(
    ("cls", "name", "with_call", "with_tools", "back"),
    [
        # https://api-docs.deepseek.com/guides/thinking_mode
        (deepseek, "reasoning_content", True, False, True),
        (deepseek, "reasoning_content", False, True, True),
        (deepseek, "reasoning_content", False, False, False),
        # https://docs.vllm.ai/en/latest/features/interleaved_thinking/
        (vllm, "reasoning", True, True, True),
        (llamaserver, "reasoning_content", True, True, True),
        (OpenAIBinding, "reasoning_content", True, True, False),
    ],
)
def test_thinking_goes_back_where_tools_are_used(
    server: Loopback,
    bind: Bind,
    ask: Ask,
    cls: type[OpenAIBinding],
    name: str,
    with_call: bool,
    with_tools: bool,
    back: bool,
) -> None:
    deltas: list[dict[str, Any]] = [{name: "So "}, {name: "it is."}]
    deltas.append({"tool_calls": [fragment(0, "a", "weather", "{}")]} if with_call else {"content": "Rain."})
    server.on(CHAT, stream_of(deltas), http(completion()))
    done = ask(bind(cls), "chat", "x", tools=[DEFINITION], stream=True)
    assert done.reasoning == "So it is."
    bind(cls).chat([done.message, {"role": "user", "content": "y"}], tools=[DEFINITION] if with_tools else None)
    assert server.bodies()[-1]["messages"][0].get(name) == ("So it is." if back else None)


def test_extra_content_stays_with_its_call(server: Loopback, bind: Bind, ask: Ask) -> None:
    """https://ai.google.dev/gemini-api/docs/thought-signatures, OpenAI compatibility."""
    signature = {"google": {"thought_signature": "c2ln"}}
    calls = [fragment(0, "a", "weather", "{}", extra_content=signature), fragment(1, "b", "weather", "{}")]
    server.on(CHAT, stream_of([{"tool_calls": calls}]), http(completion()))
    binding = bind()
    done = ask(binding, "chat", "x", tools=[DEFINITION], stream=True)
    binding.chat([done.message])
    first, second = server.bodies()[-1]["messages"][0]["tool_calls"]
    assert first["extra_content"] == signature
    assert second.keys() == {"id", "type", "function"}


@pytest.mark.parametrize(
    "provider", [None, 3, {"openai": 3}, {"openai": {"message": 3, "tool_calls": [], "thinking": 1}}]
)
def test_what_stands_under_provider_does_no_harm(provider: Any) -> None:
    message = {"role": "assistant", "content": "x", "provider": provider}
    request = GenerationRequest(messages=(message,))
    sent = wire_messages(request, Server(OPENAI, "https://api.openai.com/v1", "openai"))
    assert sent == [{"role": "assistant", "content": "x"}]


# What a model lacks --------------------------------------------------------------------------------------

NO_TOOLS = {"supports_tools": False, "supports_tool_calls": False}


@pytest.mark.parametrize("cls", [llamaserver, OpenAIBinding])
def test_a_template_without_tools(server: Loopback, bind: Bind, ask: Ask, cls: type[OpenAIBinding]) -> None:
    server.on("/props", http({"chat_template_caps": NO_TOOLS}))
    binding = bind(cls)
    for method in ("chat", "generate_text"):
        with pytest.raises(CapabilityNotSupported, match=r"127\.0\.0\.1.*m1.*tools"):
            ask(binding, method, "x", tools=[DEFINITION])
    assert [seen.path for seen in server.seen] == ["/props"]


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ("500 Oops", "tools param requires --jinja flag"),
        ("400 Bad Request", '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set'),
        ("404 Not Found", "No endpoints found that support tool use. To learn more about provider routing, visit"),
        ("400 Bad Request", "`tool calling` is not supported with this model"),
    ],
)
def test_a_refusal_of_tools(server: Loopback, bind: Bind, ask: Ask, status: str, words: str) -> None:
    server.on(CHAT, http({"error": {"message": words}}, status))
    with pytest.raises(CapabilityNotSupported, match="'m1' cannot call tools"):
        ask(bind(retries=2), "chat", "x", tools=[DEFINITION])
    assert len(server.bodies()) == 1


def test_the_same_words_without_tools_are_another_refusal(server: Loopback, bind: Bind, ask: Ask) -> None:
    server.on(CHAT, http({"error": {"message": "tool use is not supported"}}, "400 Bad Request"))
    with pytest.raises(BadRequest):
        ask(bind(), "chat", "x")


def test_a_plain_completion_has_no_place_for_tools(server: Loopback, bind: Bind, ask: Ask) -> None:
    with pytest.raises(CapabilityNotSupported, match="no place for tools"):
        ask(bind(completion_format="text"), "generate_text", "x", tools=[DEFINITION])
    assert server.seen == []


def test_what_a_list_of_models_says(server: Loopback, bind: Bind, caplog: pytest.LogCaptureFixture) -> None:
    """https://openrouter.ai/docs/guides/overview/models and https://docs.mistral.ai/api/endpoint/models."""
    data = [
        {"id": "all", "supported_parameters": ["tools", "structured_outputs", "reasoning", "logprobs"]},
        {"id": "some", "supported_parameters": ["tools"], "architecture": {"input_modalities": ["text"]}},
        {"id": "m", "capabilities": {"completion_chat": True, "function_calling": False, "vision": False}},
    ]
    server.on("/v1/models", http({"data": data}))
    binding = bind(openrouter)
    with caplog.at_level(logging.WARNING):
        assert [model["model_name"] for model in binding.listModels()] == ["all", "m", "some"]
    assert not caplog.records
    every = {Capability.TOOLS, Capability.JSON_SCHEMA, Capability.REASONING, Capability.LOGPROBS, Capability.VISION}
    assert binding.capabilities_of("all") >= every
    assert binding.capabilities_of("unknown") >= every
    assert binding.capabilities_of("some") & every == {Capability.TOOLS}
    assert binding.capabilities_of("m") & every == every - {Capability.TOOLS, Capability.VISION}
