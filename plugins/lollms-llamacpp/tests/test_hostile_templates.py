"""Templates from strangers: whatever they try, there is one clear error or a bounded text, and the next one works."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hostile_templates import HARMLESS, REFUSED

from lollms_core import BadRequest
from lollms_llamacpp import chat_template, sandbox
from lollms_llamacpp.chat_template import ChatTemplate
from lollms_llamacpp.template_sizes import MAX_CHARS

STEP = 1 if os.environ.get("LOLLMS_FAULTS") else 8
TRIALS = Path(__file__).parent / "helpers" / "template_trials.py"


@pytest.mark.faults
@pytest.mark.skipif(sys.platform != "linux", reason="the bounds of the process are Linux's")
def test_hostile_templates(record_property: Callable[[str, object], None]) -> None:
    """In a process that may take 1 GiB, none runs out of memory, none goes on for ever, none ends it."""
    done = subprocess.run([sys.executable, str(TRIALS), str(STEP)], capture_output=True, text=True, check=False)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    sources = (*REFUSED, *HARMLESS)[::STEP]
    # The one that ended the process would be the first without an outcome.
    assert done.returncode == 0, (sources[len(found)][:200] if len(found) < len(sources) else "", done.stderr)
    for source, (kind, said) in zip(sources, found, strict=True):
        if source in REFUSED:
            assert kind == "error", (source[:200], said)
            assert "model x" in said
            assert "MemoryError" not in said or len(source) > 50_000, source[:200]
            assert len(said) < 1200
        else:
            assert (kind, 0 <= said <= MAX_CHARS) == ("text", True), (source[:200], said)
    record_property("reliability: chat templates of strangers, each an error or a bounded text", len(sources))


def test_long_conversations() -> None:
    """What templates do with every message is no offence, also with thousands of them."""
    source = (
        "{% set ns = namespace(last=-1) %}"
        "{% for m in messages %}{% if m.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}{% endfor %}"
        "{% for m in messages %}{% set text = m['content'] | trim %}"
        "{% if 'tool_calls' in m and m.tool_calls %}{{ m.tool_calls | tojson }}{% endif %}"
        "{% if loop.index0 > ns.last and '</think>' in text %}{% set text = text.split('</think>')[-1] %}{% endif %}"
        "{{ '<' ~ m.role ~ '>' + text.replace('\\r', '') + '</>' }}"
        "{% set rest = messages[loop.index0 + 1:] %}{% if rest and rest[0].role == m.role %}!{% endif %}{% endfor %}"
    )
    messages = [{"role": ("user", "assistant")[number % 2], "content": "word " * 50} for number in range(3000)]
    text = ChatTemplate(source, origin="model x").render(messages)
    assert len(text) == sum(len(f"<{m['role']}></>") + 249 for m in messages)


def test_a_template_shares_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """What one rendering has built is not held against the next one."""
    monkeypatch.setattr(sandbox, "MAX_TOTAL", 1000)
    template = ChatTemplate("{{ 'x' * messages[0].content | int }}", origin="model x")
    for _ in range(5):
        assert template.render([{"role": "user", "content": "400"}]) == "x" * 400
        with pytest.raises(BadRequest, match="altogether"):
            template.render([{"role": "user", "content": "900"}])


def test_long_words_of_a_template() -> None:
    """What a template says is quoted, but not at any length."""
    with pytest.raises(BadRequest) as caught:
        ChatTemplate("{{ raise_exception('x' * 100000) }}", origin="model x").render([])
    assert len(str(caught.value)) < chat_template._MAX_TOLD + 100
