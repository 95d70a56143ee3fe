"""Calls in the text of an answer, wherever it is cut."""

from __future__ import annotations

import json

import pytest

from lollms_core import Event, TextDelta, ToolCall
from lollms_llamacpp.chat_template import ChatTemplate
from lollms_llamacpp.tool_calls import CallScanner
from lollms_llamacpp.tool_format import ToolFormat, find_writing

NAMES = ("weather", "time")
Found = tuple[str, list[tuple[str, str]]]


@pytest.fixture(scope="module")
def forms(templates: dict[str, str]) -> dict[str, ToolFormat]:
    found = {}
    for name, source in templates.items():
        writing = find_writing(ChatTemplate(source, origin="x"), ["<|eom|>", "</s>"])
        assert writing is not None
        assert writing.format is not None
        found[name] = writing.format
    return found


def read(form: ToolFormat, *pieces: str) -> tuple[Found, list[Event]]:
    scanner = CallScanner(form, NAMES)
    events = [event for piece in pieces for event in scanner.feed(piece)] + scanner.flush()
    calls = [event for event in events if isinstance(event, ToolCall)]
    ids = [call.id for call in calls]
    assert len(set(ids)) == len(ids)
    assert all(len(one) == 9 and one.isalnum() for one in ids)
    text = "".join(event.text for event in events if isinstance(event, TextDelta))
    return (text, [(call.name, call.arguments) for call in calls]), events


HERMES = "hermes"
ANSWERS = [
    # family, the answer, its text, its calls
    (HERMES, "No tools. <tool", "No tools. <tool", []),
    (HERMES, '<tool_call>\n{"name": "time", "arguments": {}}\n</tool_call>', "", [("time", "{}")]),
    (
        HERMES,
        (
            'I look.\n\n<tool_call>{"arguments": {"a": "}\\"</tool_call>"}, "name":"weather"}</tool_call>\n'
            '<tool_call>\n{"name": "time", "arguments": {"n": 1.0}}\n</tool_call>\n '
        ),
        "I look.",
        [("weather", '{"a": "}\\"</tool_call>"}'), ("time", '{"n": 1.0}')],
    ),
    (HERMES, '<tool_call>{"name": "new", "arguments": {}}</tool_call> Done.', "Done.", [("new", "{}")]),
    (HERMES, '<tool_call>{"name": "time", "arguments": {}} and so on', "and so on", [("time", "{}")]),
    (HERMES, '<tool_call>{"name": "time", "parameters": "{\\"a\\": 1}"}</tool_call>', "", [("time", '{"a": 1}')]),
    (HERMES, '<tool_call>{"name": "time"}</tool_call>', "", [("time", "{}")]),
    (HERMES, '<tool_call>{"name": "time", "arguments": {"a": "x\ny"}}</tool_call>', "", [("time", '{"a": "x\\ny"}')]),
    # Broken: the arguments as they are where the name can be read, else the text.
    (HERMES, '<tool_call>{"name": "time", "arguments": {"a": 1,}}</tool_call>', "", [("time", '{"a": 1,}')]),
    (HERMES, '<tool_call>{"name": "time", "arguments": {"a": 1</tool_call>!', "!", [("time", '{"a": 1')]),
    (HERMES, '<tool_call>{"name": "time", "arguments": {"a": "x', "", [("time", '{"a": "x')]),
    (HERMES, "<tool_call>{nothing}</tool_call>", "<tool_call>{nothing}</tool_call>", []),
    (HERMES, "a <tool_call> is a tag", "a <tool_call> is a tag", []),
    (HERMES, '<tool_call>\n{"name": ', '<tool_call>\n{"name": ', []),
    (HERMES, "<tool_call>[1, 2]</tool_call>", "<tool_call>[1, 2]</tool_call>", []),
    (HERMES, "<tool_call>\n", "<tool_call>\n", []),
    (
        HERMES,
        '<tool_call>{"name": 7, "arguments": {}}</tool_call>x',
        '<tool_call>{"name": 7, "arguments": {}}</tool_call>x',
        [],
    ),
    ("llama3", ' {"name": "time", "parameters": {"a": {"b": []}}}', "", [("time", '{"a": {"b": []}}')]),
    (
        "llama3",
        '{"name": "time", "parameters": {}}; {"type": "function", "function": {"name": "weather", "arguments": {}}}',
        "",
        [("time", "{}"), ("weather", "{}")],
    ),
    ("llama3", 'It is {"name": "time", "parameters": {}}', 'It is {"name": "time", "parameters": {}}', []),
    ("llama3", '{"name": "unknown", "parameters": {}}', '{"name": "unknown", "parameters": {}}', []),
    ("llama3", '{"a": 1}\nis JSON {', '{"a": 1}\nis JSON {', []),
    ("llama3", '[1, {"name": "x"}] is a list', '[1, {"name": "x"}] is a list', []),
    ("llama3", "[see] this", "[see] this", []),
    ("llama3", '{"name": "time", "parameters": {}} So it is.', "So it is.", [("time", "{}")]),
    (
        "mistral",
        (
            '[TOOL_CALLS] [{"name": "time", "arguments": {"a": "[TOOL_CALLS]"}}, '
            '{"name": "weather", "arguments": {}, "id": "1"}]'
        ),
        "",
        [("time", '{"a": "[TOOL_CALLS]"}'), ("weather", "{}")],
    ),
    ("mistral", '[TOOL_CALLS]{"name": "time", "arguments": {}}', "", [("time", "{}")]),
    ("mistral", "[TOOL_CALLS][]", "[TOOL_CALLS][]", []),
    (
        "named",
        'Well: [TOOL_CALLS]time[ARGS]{"a": 1}[TOOL_CALLS]weather[ARGS]{}',
        "Well:",
        [("time", '{"a": 1}'), ("weather", "{}")],
    ),
    ("named", '[TOOL_CALLS]time[ARGS]{"a": ', "", [("time", '{"a":')]),
    ("named", "[TOOL_CALLS]two words[ARGS]{}", "[TOOL_CALLS]two words[ARGS]{}", []),
    ("named", "[TOOL_CALLS]" + "x" * 500, "[TOOL_CALLS]" + "x" * 500, []),
    ("named", "[TOOL_CALLS]time[ARGS]", "[TOOL_CALLS]time[ARGS]", []),
]


@pytest.mark.parametrize(("family", "answer", "text", "calls"), ANSWERS)
def test_answers(
    forms: dict[str, ToolFormat], family: str, answer: str, text: str, calls: list[tuple[str, str]]
) -> None:
    """Whole, character by character, and cut in two anywhere: the same text and calls."""
    form = forms[family]
    expected = (text, calls)
    assert read(form, answer)[0] == expected
    assert read(form, *answer)[0] == expected
    for cut in range(1, len(answer)):
        assert read(form, answer[:cut], answer[cut:])[0] == expected


def test_text_is_not_held_back(forms: dict[str, ToolFormat]) -> None:
    """What cannot begin a call comes at once, blanks excepted; so does a call when it is complete."""
    scanner = CallScanner(forms[HERMES], NAMES)
    assert scanner.feed("a < b ") == [TextDelta("a < b")]
    assert scanner.feed("c<too") == [TextDelta(" c")]
    assert scanner.feed("th") == [TextDelta("<tooth")]
    events = scanner.feed('<tool_call>{"name": "time", "arguments": {}}')
    assert [type(event) for event in events] == [ToolCall]
    assert scanner.flush() == []


def test_many_calls_take_linear_time(forms: dict[str, ToolFormat]) -> None:
    """A long argument in small pieces is looked at once."""
    arguments = json.dumps({"text": "x{[" * 20_000})
    whole = '<tool_call>{"name": "time", "arguments": ' + arguments + "}</tool_call>"
    found, _ = read(forms[HERMES], *(whole[at : at + 7] for at in range(0, len(whole), 7)))
    assert found == ("", [("time", arguments)])
