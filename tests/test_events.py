"""Events, completions and the numbers of MSG_TYPE."""

from __future__ import annotations

import dataclasses

import pytest

from lollms_core.events import MSG_TYPE, Completion, TextDelta, ToolCall, Usage

NAMES = """
    CHUNK CONTENT CONTENT_INVISIBLE_TO_AI CONTENT_INVISIBLE_TO_USER THOUGHT_CHUNK THOUGHT_CONTENT EXCEPTION WARNING INFO
    STEP STEP_START STEP_PROGRESS STEP_END JSON_INFOS REF CODE UI NEW_MESSAGE FINISHED_MESSAGE TOOL_CALL TOOL_OUTPUT
    REASONING SCRATCHPAD OBSERVATION ERROR
""".split()  # noqa: SIM905 - a list of 25 lines would hide the order


def test_msg_type_numbers() -> None:
    assert [(kind.name, kind.value) for kind in MSG_TYPE] == [(f"MSG_TYPE_{n}", i) for i, n in enumerate(NAMES)]
    assert MSG_TYPE["MSG_TYPE_FULL"] is MSG_TYPE.MSG_TYPE_CONTENT
    assert MSG_TYPE["MSG_TYPE_FULL_INVISIBLE_TO_AI"] is MSG_TYPE.MSG_TYPE_CONTENT_INVISIBLE_TO_AI
    assert MSG_TYPE["MSG_TYPE_FULL_INVISIBLE_TO_USER"] is MSG_TYPE.MSG_TYPE_CONTENT_INVISIBLE_TO_USER


def test_events_are_small_and_frozen() -> None:
    delta = TextDelta("a")
    assert str(delta) == "a"
    assert not hasattr(delta, "__dict__")
    with pytest.raises(dataclasses.FrozenInstanceError):
        delta.text = "b"  # type: ignore[misc]


def test_a_later_usage_replaces_what_it_knows() -> None:
    counted = Usage(10, 5, counted=frozenset({"prompt_tokens", "completion_tokens"}))
    assert counted.updated(Usage(None, 6, 2)) == Usage(10, 6, 2, frozenset({"prompt_tokens"}))
    assert isinstance(Usage().updated(Usage(1)).counted, frozenset)


def test_the_message_can_be_appended() -> None:
    completion = Completion(
        text="t", tool_calls=[ToolCall("1", "f", "{}")], provider={"signature": "s"}, finish_reason="tool_calls"
    )
    assert completion.message == {
        "role": "assistant",
        "content": "t",
        "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
        "provider": {"signature": "s"},
    }
    assert str(completion) == "t"
