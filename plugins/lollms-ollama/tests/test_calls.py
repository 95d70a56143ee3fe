"""Requests have the shapes of docs/api.md, and nothing that the caller set is lost."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from lollms_core import BadRequest, GenerationRequest, Image
from lollms_core.request import EmbedRequest
from lollms_ollama.calls import deleting, embedding, generation, loading, pulling, show
from lollms_ollama.chat_messages import check_parts, contents

PNG = Image(b"\x89PNG\r\n\x1a\n" + bytes(8), "image/png")
B64 = base64.b64encode(PNG.data).decode()


def request(**fields: Any) -> GenerationRequest:
    if "prompt" not in fields and "messages" not in fields:
        fields["prompt"] = "Why?"
    return GenerationRequest(**fields)


def test_all_parameters() -> None:
    call = generation(
        request(
            system_prompt="Be brief.",
            n_predict=5,
            temperature=0.5,
            top_k=3,
            top_p=0.9,
            min_p=0.1,
            repeat_penalty=1.1,
            repeat_last_n=-1,
            presence_penalty=0.2,
            frequency_penalty=0.3,
            seed=42,
            stop="END",
            n_threads=2,
            ctx_size=1024,
            think="high",
            options={"num_gpu": 0, "keep_alive": "5m", "mirostat": 1, "retries": 9, "shift": False},
        ),
        "m",
    )
    assert (call.method, call.path, call.model) == ("POST", "/api/chat", "m")
    assert call.body == {
        "model": "m",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}],
        "stream": True,
        "options": {
            "num_predict": 5,
            "temperature": 0.5,
            "top_k": 3,
            "top_p": 0.9,
            "min_p": 0.1,
            "repeat_penalty": 1.1,
            "repeat_last_n": -1,
            "presence_penalty": 0.2,
            "frequency_penalty": 0.3,
            "num_thread": 2,
            "num_ctx": 1024,
            "seed": 42,
            "stop": ["END"],
            "num_gpu": 0,
            "mirostat": 1,
        },
        "keep_alive": "5m",
        "truncate": False,
        "shift": False,
        "think": "high",
    }


def test_a_random_seed_is_the_servers() -> None:
    body = generation(request(seed=-1), "m").body or {}
    assert "options" not in body


def test_text_goes_raw_to_generate() -> None:
    call = generation(request(system_prompt="S", images=(PNG,), options={"completion_format": "text"}), "m")
    assert call.path == "/api/generate"
    body = call.body or {}
    assert (body["prompt"], body["raw"], body["images"]) == ("S\n\nWhy?", True, [B64])
    filled = generation(request(options={"completion_format": "text", "suffix": "}"}), "m").body or {}
    assert filled["suffix"] == "}"
    assert "raw" not in filled


def test_messages_stay_messages_also_with_completion_format_text() -> None:
    messages = ({"role": "user", "content": "x"},)
    assert generation(request(messages=messages, options={"completion_format": "text"}), "m").path == "/api/chat"


def test_images_belong_to_the_last_user_message_or_to_their_own() -> None:
    messages = (
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image", "image": PNG}]},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c"},
    )
    body = generation(request(messages=messages, images=(PNG,)), "m").body or {}
    assert body["messages"] == [
        {"role": "user", "content": "a", "images": [B64]},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c", "images": [B64]},
    ]
    alone = generation(request(messages=({"role": "system", "content": "s"},), images=(PNG,)), "m").body or {}
    assert alone["messages"][-1] == {"role": "user", "content": "", "images": [B64]}


def test_parts_of_other_kinds_are_refused() -> None:
    check_parts([{"role": "user", "content": [{"type": "text", "text": "t"}, {"type": "image", "image": PNG}]}])
    with pytest.raises(TypeError, match=r"messages\[1\] .* 'audio'"):
        check_parts([{"role": "user", "content": "x"}, {"role": "user", "content": [{"type": "audio"}]}])


def test_a_conversation_with_tools_goes_back_as_it_came() -> None:
    messages = (
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}],
            "provider": {"ollama": {"thinking": "hm"}},
        },
        {"role": "tool", "content": "2", "tool_call_id": "c1", "name": "f"},
        {"role": "developer", "content": "d"},
    )
    body = generation(request(messages=messages), "m").body or {}
    assert body["messages"] == [
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"id": "c1", "function": {"name": "f", "arguments": {"a": 1}}}],
            "thinking": "hm",
        },
        {"role": "tool", "content": "2", "tool_name": "f", "tool_call_id": "c1"},
        {"role": "system", "content": "d"},
    ]
    broken = ({"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f", "arguments": "{"}}]},)
    with pytest.raises(BadRequest, match="JSON"):
        generation(request(messages=broken), "m")


def test_a_result_says_which_tool_it_is_of() -> None:
    """OpenAI's form has only the id of the call; Ollama goes by the tool's name."""

    def asked(number: str, name: str) -> dict[str, Any]:
        return {"id": number, "type": "function", "function": {"name": name, "arguments": ""}}

    messages = (
        {"role": "assistant", "content": None, "tool_calls": [asked("a", "f"), asked("b", "g")]},
        {"role": "tool", "content": "2", "tool_call_id": "b"},
        {"role": "tool", "content": "1", "tool_call_id": "a"},
        {"role": "tool", "content": "?", "tool_call_id": "unknown"},
    )
    sent = (generation(request(messages=messages), "m").body or {})["messages"]
    assert sent[0]["content"] == ""
    assert sent[0]["tool_calls"][0] == {"id": "a", "function": {"name": "f", "arguments": {}}}
    assert [message.get("tool_name") for message in sent[1:]] == ["g", "f", None]


@pytest.mark.parametrize("arguments", ["[1]", "1", '"x"'])
def test_arguments_that_are_no_object(arguments: str) -> None:
    call = {"id": "a", "function": {"name": "f", "arguments": arguments}}
    messages = ({"role": "assistant", "content": "", "tool_calls": [call]},)
    with pytest.raises(BadRequest, match="'f' are no JSON object"):
        generation(request(messages=messages), "m")


def test_other_backends_data_is_not_ours() -> None:
    for provider in ({"thinking": "x"}, {"openai": {"thinking": "x"}}, {"ollama": "x"}, {"ollama": {"thinking": 1}}):
        messages = ({"role": "assistant", "content": "a", "provider": provider},)
        sent = (generation(request(messages=messages), "m").body or {})["messages"]
        assert sent == [{"role": "assistant", "content": "a"}]


TOOL = {"name": "f", "description": "Does it.", "parameters": {"type": "object", "properties": {}}}


def test_tools() -> None:
    definition = {"type": "function", "function": TOOL}
    for choice in (None, "auto"):
        body = generation(request(tools=[TOOL], tool_choice=choice), "m").body or {}
        assert body["tools"] == [definition]
        assert "tool_choice" not in body
    assert "tools" not in (generation(request(tools=[TOOL], tool_choice="none"), "m").body or {})


def test_a_prompt_with_tools_is_a_chat() -> None:
    plain = {"completion_format": "text"}
    assert generation(request(tools=[TOOL], options=plain), "m").path == "/api/chat"
    assert generation(request(tools=[TOOL], tool_choice="none", options=plain), "m").path == "/api/generate"


@pytest.mark.parametrize("options", [{}, {"completion_format": "text"}])
def test_a_schema_is_the_format(options: dict[str, Any]) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    assert (generation(request(response_format=schema, options=options), "m").body or {})["format"] == schema
    anything = generation(request(response_format={"type": "json_object"}, options=options), "m").body or {}
    assert anything["format"] == {"type": "object"}


@pytest.mark.parametrize(
    ("logprobs", "sent"),
    [(None, {}), (False, {}), (0, {}), (True, {"logprobs": True}), (3, {"logprobs": True, "top_logprobs": 3})],
)
def test_logprobs(logprobs: Any, sent: dict[str, Any]) -> None:
    body = generation(request(logprobs=logprobs), "m").body or {}
    assert {name: value for name, value in body.items() if "logprobs" in name} == sent


def test_think_of_a_model_that_nothing_is_known_of() -> None:
    for think, sent in ((None, None), (False, None), (True, True), ("low", "low")):
        assert (generation(request(think=think), "m").body or {}).get("think") == sent


def test_care_of_models() -> None:
    assert (pulling("m").method, pulling("m").path) == ("POST", "/api/pull")
    assert pulling("m").body == {"model": "m", "name": "m", "stream": True}
    assert (pulling("m", insecure=True).body or {})["insecure"] is True
    assert (deleting("m").method, deleting("m").path) == ("DELETE", "/api/delete")


def test_backend_options_are_sent_unchecked() -> None:
    body = generation(request(temperature=1, backend_options={"options": {"x": 1}, "y": 2}), "m").body or {}
    assert body["options"] == {"temperature": 1, "x": 1}
    assert body["y"] == 2


def test_bodies_are_utf8_json() -> None:
    assert show("ä").content() == '{"model":"ä","name":"ä"}'.encode()
    assert show("\ud800").content() == b'{"model":"?","name":"?"}'
    with pytest.raises(BadRequest):
        generation(request(backend_options={"x": object()}), "m").content()


def test_embedding_and_loading() -> None:
    call = embedding(EmbedRequest(texts=("a", "b"), model="m", dimensions=3, options={"keep_alive": 0}), ["a", "b"])
    assert (call.path, call.body) == (
        "/api/embed",
        {"model": "m", "input": ["a", "b"], "keep_alive": 0, "truncate": False, "dimensions": 3},
    )
    assert loading("m", {"keep_alive": -1}).body == {"model": "m", "stream": False, "keep_alive": -1}
    assert loading("m", {}, embeds=True).path == "/api/embed"


def test_contents_are_what_the_caller_wrote() -> None:
    assert contents(request(system_prompt="S")) == ["S", "Why?"]
    assert contents(request(messages=({"role": "user", "content": [{"type": "text", "text": "t"}]},))) == ["t"]
