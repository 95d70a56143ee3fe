"""Chat templates: what they render, what they may do, and what becomes of those that can't."""

from __future__ import annotations

import time
from typing import Any

import pytest

from lollms_core import BadRequest
from lollms_llamacpp import sandbox
from lollms_llamacpp.chat_template import ChatTemplate

CHATML = (
    "{% for message in messages %}{{ '<' + message['role'] + '>' + message['content'] + '</>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<assistant>' }}{% endif %}"
)
USER = [{"role": "user", "content": "hi"}]
TALK = [{"role": "system", "content": "S"}, *USER]


def render(source: str, messages: list[dict[str, Any]] = USER) -> str:
    return ChatTemplate(source, origin="model x", bos="<s>", eos="</s>").render(messages)


def test_conversation() -> None:
    """A template sees the messages, and is asked for the place where the answer begins."""
    assert render(CHATML, TALK) == "<system>S</><user>hi</><assistant>"


def test_what_templates_expect() -> None:
    """Blocks trimmed, loop controls, the tokens' texts, JSON as it is, dates, generation marks, no tools."""
    assert render("  {% if true %}\nx\n  {% endif %}\ny") == "x\ny"
    assert render("{% for i in range(9) %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% endfor %}") == "01"
    assert render("{{ bos_token }}{{ eos_token }}") == "<s></s>"
    assert render("{{ {'a': '<é>'} | tojson }}{{ [1] | tojson(indent=1) }}") == '{"a": "<é>"}[\n 1\n]'
    assert render("{{ strftime_now('%Y') }}").isdigit()
    assert render("{% generation %}{{ messages[0].content }}{% endgeneration %}!") == "hi!"
    assert render("{{ tools is none }} {{ documents is none }} {{ custom is defined }}") == "True True False"
    assert (
        render("{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}")
        == "1"
    )
    assert render("{{ 'a%sb' % 1 ~ 2 ~ 'x' * 3 }}{{ messages[0].content.replace('h', 'H') }}") == "a1b2xxxHi"
    assert render("{{ ['a', 'b'] | join('-') }}{{ '-'.join(['c', 'd']) }}{{ 'ab' | replace('b', 'c') }}") == "a-bc-dac"
    assert render("{{ '%s!' | format('a') }}{{ '{}'.format(1) }}{{ 'a\nb' | indent(1) }}") == "a!1a\n b"


def test_parts() -> None:
    """Of a content in parts the text parts count; no content is an empty one."""
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert render(CHATML, [{"role": "user", "content": parts}]) == "<user>ab</><assistant>"
    assert render(CHATML, [{"role": "user", "content": None}]) == "<user></><assistant>"


def test_opaque_data_stays_out() -> None:
    """What a backend wants back is not shown to a template."""
    assert (
        render("{{ messages[0] | tojson }}", [{**USER[0], "provider": {"x": 1}}]) == '{"role": "user", "content": "hi"}'
    )


NO_SYSTEM = (
    "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system!') }}{% endif %}"
    "[{{ m.content }}]{% endfor %}"
)
SILENT = "{% for m in messages %}{% if m.role == 'user' %}[{{ m.content }}]{% endif %}{% endfor %}"


@pytest.mark.parametrize("source", [NO_SYSTEM, SILENT])
def test_no_place_for_system(source: str) -> None:
    """Where a template refuses or drops system messages, they go into the user's."""
    assert render(source, TALK) == "[S\n\nhi]"
    assert render(source, TALK[:1]) == "[S]"
    assert render(source, [{"role": "system", "content": ""}, *USER]) == "[hi]"
    assert render(source, [TALK[0], {"role": "user", "content": ""}]) == "[S]"


def test_developer() -> None:
    """The role developer is the system's where the template does not know it."""
    assert render(CHATML, [{"role": "developer", "content": "D"}, *USER]) == "<system>D</><user>hi</><assistant>"
    assert render("{# developer #}{{ messages[0].role }}", [{"role": "developer", "content": "D"}]) == "developer"


def test_refusal() -> None:
    """A template that refuses a conversation is quoted, with the model's name."""
    with pytest.raises(BadRequest, match=r"model x refuses this conversation: roles must alternate"):
        render("{{ raise_exception('roles must alternate') }}")


@pytest.mark.parametrize(
    "source",
    [
        "{% if %}",
        "{{ messages[0].content.nothing.more }}",
        "{{ 1 / 0 }}",
        "{{ messages[9]['content'] + 'x' }}",
        "{% include 'other' %}",
        "{{ messages | unknown_filter }}",
        "{{ [1, 'a'] | sort }}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "(" * 300 + "{{ " + "(" * 300 + "1" + ")" * 300 + " }}",
        "x" * 300_000,
        "{{ '\\ud800' | int('x') | int(base=99) }}{{ [][0].x }}",
    ],
)
def test_broken_templates(source: str) -> None:
    """Whatever is wrong with a template is one clear error that names the model."""
    with pytest.raises(BadRequest, match="model x"):
        render(source)


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages.append(1) }}",
        "{{ raise_exception.__globals__.sys }}",
        "{{ self.__init__.__globals__ }}",
        "{{ cycler.__init__.__globals__.os }}",
        "{{ '{0.__class__}'.format(1).__class__.__base__ }}",
    ],
)
def test_sandbox(source: str) -> None:
    """A template reaches nothing of Python and changes nothing of ours."""
    messages = [dict(USER[0])]
    with pytest.raises(BadRequest):
        render(source, messages)
    assert messages == USER


@pytest.mark.parametrize(
    "source",
    [
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(40) }}",
        "{% for i in [1, 2] recursive %}{{ loop([1, 2]) if loop.depth < 30 }}{% endfor %}",
        "{% for a in range(9000) %}{{ 'x' * 1000 }}{% endfor %}",
        "{{ 'x' * 99999999999 }}",
        "{{ 99999999999 * 'x' }}",
        "{{ [1] * 99999999999 }}",
        "{{ 10 ** (10 ** 10) }}",
        "{{ '%99999999999d' % 1 }}",
        "{{ '%99999999999d' | format(1) }}",
        "{{ '{:99999999999}'.format(1) }}",
        "{{ '{:{}}'.format(1, 99999999999) }}",
        "{{ '%*d' % (99999999999, 1) }}",
        "{{ 'x'.center(99999999999) }}",
        "{{ 'x'.ljust(99999999999) }}",
        "{{ 'x' | center(99999999999) }}",
        "{{ 'x' | indent(99999999999) }}",
        "{{ range(99999999999) | list }}",
        "{{ lipsum(99999999) }}",
        "{% set ns = namespace(x='xx') %}{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}{{ ns.x }}",
        "{% set ns = namespace(x='xx') %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}{{ ns.x }}",
        "{% set ns = namespace(x='xx') %}{% for i in range(60) %}{% set ns.x = ns.x.replace('x', ns.x) %}{% endfor %}",
        "{% set ns = namespace(x='xx') %}{% for i in range(60) %}{% set ns.x = ns.x|replace('x', ns.x) %}{% endfor %}",
        "{% set ns = namespace(x='xx') %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] | join %}{% endfor %}",
        "{% set ns = namespace(x='xx') %}{% for i in range(60) %}{% set ns.x = ''.join([ns.x, ns.x]) %}{% endfor %}",
    ],
)
def test_bounds(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A template that would compute or grow without end is stopped."""
    monkeypatch.setattr(sandbox, "MAX_TURNS", 20_000)
    with pytest.raises(BadRequest, match="model x"):
        render(source)


def test_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A template that takes too long is stopped, however few its turns."""
    clock = iter(range(10_000))
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    with pytest.raises(BadRequest, match="too long"):
        render("{% for a in range(9000) %}{% endfor %}")


def test_a_template_works_again_after_an_error() -> None:
    """What one conversation ran into does not burden the next."""
    template = ChatTemplate("{{ 1 / (messages | length - 1) }}", origin="model x")
    with pytest.raises(BadRequest):
        template.render(USER)
    assert template.render(USER * 2) == "1.0"
