"""How a template writes calls, found out by probing it."""

from __future__ import annotations

import pytest

from lollms_llamacpp.chat_template import ChatTemplate
from lollms_llamacpp.tool_format import ID, ToolFormat, Writing, find_writing, renders_tools, short_id, understood

FORMS = {
    "hermes": Writing(
        True,
        ToolFormat(
            before='<tool_call>\n{"name": "',
            between='", "arguments": ',
            again='}\n</tool_call>\n<tool_call>\n{"name": "',
            after="}\n</tool_call>",
            opening="<tool_call>",
            closing="</tool_call>",
            keys=("name", "arguments"),
        ),
    ),
    "llama3": Writing(True, ToolFormat('{"name": "', '", "parameters": ', None, "}", "", "", ("name", "parameters"))),
    "mistral": Writing(
        False,
        ToolFormat(
            before='[TOOL_CALLS][{"name": "',
            between='", "arguments": ',
            again=f', "id": "{ID}"}}, {{"name": "',
            after=f', "id": "{ID}"}}]',
            opening="[TOOL_CALLS]",
            closing="",
            keys=("name", "arguments"),
        ),
    ),
    "named": Writing(True, ToolFormat("[TOOL_CALLS]", "[ARGS]", "[TOOL_CALLS]", "", "[TOOL_CALLS]", "", None)),
}
ENDS = ["<|im_end|>", "<|eot|>", "<|eom|>", "</s>"]


@pytest.mark.parametrize("family", FORMS)
def test_families(templates: dict[str, str], family: str) -> None:
    """Marks, keys, several calls, the ids' places, and what the arguments are to the template."""
    template = ChatTemplate(templates[family], origin="x")
    assert renders_tools(template)
    assert find_writing(template, ENDS) == FORMS[family]
    assert understood(templates[family])


def test_wrapped_calls() -> None:
    """A template that writes the calls as it gets them: a list of objects around the name and its arguments."""
    source = (
        "{{ tools }}{% for m in messages %}[{{ m.role }}]{{ m.content }}"
        "{% if m.tool_calls %}<calls>{{ m.tool_calls | tojson }}</calls>{% endif %};{% endfor %}"
    )
    writing = find_writing(ChatTemplate(source, origin="x"))
    assert writing is not None
    assert writing.objects
    assert writing.format is not None
    assert writing.format.before == f'<calls>[{{"id": "{ID}", "type": "function", "function": {{"name": "'
    assert (writing.format.opening, writing.format.closing) == ("<calls>", "</calls>")
    assert writing.format.keys == ("name", "arguments")


CALLS = "{% for c in m.tool_calls or [] %}"


@pytest.mark.parametrize(
    "calls",
    [
        CALLS + "<f={{ c.function.name }}>{% for k, v in c.function.arguments | items %}<p={{ k }}>{{ v }}{% endfor %}",
        CALLS + "{{ c.function.arguments | tojson }}{{ c.function.name }}",
        CALLS + "{{ c.function.name }}{{ c.function.name }}{{ c.function.arguments | tojson }}",
        CALLS + "{{ c.function.name }}",
        CALLS + "{{ c.function.name }}{{ c.function.arguments | tojson }}",
        CALLS + "{{ raise_exception('no') }}",
    ],
)
def test_forms_that_cannot_be_read(calls: str) -> None:
    """Calls that are no JSON, or have nothing to tell them by, are not taken for readable."""
    source = "{{ tools }}{% for m in messages %}[{{ m.role }}]{{ m.content }}" + calls + "{% endfor %}{% endfor %}"
    template = ChatTemplate(source, origin="x")
    writing = find_writing(template)
    assert writing is None or writing.format is None
    assert not understood(source)


def test_no_tools() -> None:
    """The word alone is no tools section, and a template that only hides calls writes none."""
    assert not understood("{# tools #}{{ messages[0].content }}")
    assert not understood("{% if tools %}tools{% endif %}{{ messages[0].content }}")
    assert not understood("{% if %}{{ tools }}")
    assert find_writing(ChatTemplate("{{ messages[-1].content }}", origin="x")) is None


def test_short_ids() -> None:
    """Ids of any backend become nine letters and digits, the same ones again; such as are so stay."""
    assert short_id("abcDEF123") == "abcDEF123"
    assert len(short_id("call_1")) == 9
    assert short_id("call_1").isalnum()
    assert short_id("call_1") == short_id("call_1") != short_id("call_2")
