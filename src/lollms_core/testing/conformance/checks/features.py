"""Declared capabilities work."""

from __future__ import annotations

import base64
import json
import tempfile
from pathlib import Path
from typing import Any

from lollms_core.capabilities import Capability
from lollms_core.errors import CapabilityNotSupported, InvalidOutput
from lollms_core.events import Progress
from lollms_core.testing.conformance import expecting
from lollms_core.testing.conformance.check import check
from lollms_core.testing.conformance.subject import NotApplicable, Subject

_SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 20}, "warm": {"type": "boolean"}},
    "required": ["name", "warm"],
    "additionalProperties": False,
}
_TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather in a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "maxLength": 20}},
            "required": ["city"],
        },
    },
}


@check(Capability.VISION)
def vision(subject: Subject) -> None:
    """An image is taken as bytes, path and data URL, and as part of a message."""
    binding = subject.new()
    image = subject.settings.image
    url = f"data:image/png;base64,{base64.b64encode(image).decode()}"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "image.png"
        path.write_bytes(image)
        for given in (image, path, str(path), url):
            text = binding.chat("What is this?", images=[given], **subject.fields(binding)).text
            expecting.text(text, f"chat with an image as {type(given).__name__}")
    parts = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": url}}]
    found = binding.chat([{"role": "user", "content": parts}], **subject.fields(binding))
    expecting.text(found.text, "chat with an image in a message")


@check(Capability.TOOLS)
def tools(subject: Subject) -> None:
    """The model calls a tool whose arguments fit, and goes on with its result."""
    binding = subject.new()
    question = "What is the weather in Oslo? Use the tool."
    fields = subject.fields(binding, tools=[_TOOL])
    fields["n_predict"] = max(200, subject.settings.n_predict)
    for name, way in subject.ways(binding).items():
        try:
            found = way(binding, question, tool_choice="required", **fields)
        except CapabilityNotSupported:
            found = way(binding, question, **fields)
            if not found.tool_calls:
                raise NotApplicable("the model chose not to call the tool, and cannot be made to") from None
        assert [call.name for call in found.tool_calls][:1] == ["weather"], f"{name}: the calls are {found.tool_calls}"
        assert found.finish_reason == "tool_calls", f"{name}: finish_reason {found.finish_reason!r}"
        call = found.tool_calls[0]
        assert call.id, f"{name}: the call has no id"
        assert isinstance(json.loads(call.arguments), dict), f"{name}: the arguments are {call.arguments!r}"
        turns: list[dict[str, Any]] = [{"role": "user", "content": question}, found.message]
        turns += [{"role": "tool", "tool_call_id": one.id, "content": "Rain."} for one in found.tool_calls]
        after = way(binding, turns, **fields)
        assert after.text or after.tool_calls, f"{name}: the tool's result was answered with nothing"


@check(Capability.JSON_SCHEMA)
def json_schema(subject: Subject) -> None:
    """An answer bound to a schema is parsed, or is an InvalidOutput."""
    binding = subject.new()
    fields = {**subject.fields(binding), "n_predict": 64}
    for name, way in subject.ways(binding).items():
        try:
            found = way(binding, "Name a colour.", response_format=_SCHEMA, **fields)
        except InvalidOutput as error:
            assert error.text, f"{name}: InvalidOutput without the text"
            continue
        assert isinstance(found.parsed, dict), f"{name}: parsed is {found.parsed!r}"
        assert set(found.parsed) == {"name", "warm"}, f"{name}: parsed is {found.parsed!r}"
        assert json.loads(found.text) == found.parsed, f"{name}: the text is not what was parsed"


@check(Capability.REASONING)
def reasoning(subject: Subject) -> None:
    """Thinking comes apart from the answer."""
    binding = subject.new()
    fields = {**subject.fields(binding), "n_predict": 400}
    for name, way in subject.ways(binding).items():
        found = way(binding, subject.settings.prompt, think=True, **fields)
        assert found.reasoning or found.text, f"{name}: neither thinking nor an answer"
        assert "<think>" not in found.text, f"{name}: the answer holds <think>"


@check(Capability.LOGPROBS)
def logprobs(subject: Subject) -> None:
    """Each token of the answer has its log probability, with as many alternatives as were asked for."""
    binding = subject.new()
    for name, way in subject.ways(binding).items():
        found = way(binding, subject.settings.prompt, logprobs=2, **subject.fields(binding))
        assert found.logprobs, f"{name}: there are none"
        for token in found.logprobs:
            assert token.logprob <= 0, f"{name}: the log probability {token.logprob}"
            assert len(token.top) <= 2, f"{name}: {len(token.top)} alternatives, where 2 were asked for"
        assert found.text in "".join(token.token for token in found.logprobs) or any(
            token.bytes for token in found.logprobs
        ), f"{name}: the tokens do not make up the text"


@check(Capability.PULL)
def pull(subject: Subject) -> None:
    """Fetching a model tells its progress."""
    if subject.settings.pull is None:
        raise NotApplicable("no model was named that may be fetched")
    binding = subject.new()
    steps = list(binding.pull(subject.settings.pull))
    assert steps, "pull tells no progress"
    assert all(isinstance(step, Progress) for step in steps), f"pull gives {steps!r}"
