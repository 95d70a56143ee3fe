"""What an answer must be, as a grammar: calls of tools, JSON of a schema, the request's own; thinking before either."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Literal

from lollms_core import GenerationRequest
from lollms_core.tools import Tool
from lollms_llamacpp.tool_format import ID, ToolFormat

if TYPE_CHECKING:
    from lollms_llamacpp.grammar import GrammarBuilder

__all__ = ["constraint", "offered_tools"]

_CLOSE: Final = "</think>"
_MOST_CALLS: Final = 8  # a bound, since small models repeat themselves to the end of the context

Before = Literal["nothing", "may think", "thinks"]
"""What comes before: nothing, thinking if the model likes, or the rest of thinking that the prompt has begun."""


def offered_tools(request: GenerationRequest) -> tuple[Tool, ...]:
    """The tools that the model is told of; none with ``tool_choice="none"``."""
    return () if request.tool_choice == "none" else request.tools or ()


def constraint(request: GenerationRequest, form: ToolFormat | None, before: Before = "nothing") -> str | None:
    """The grammar that the answer to `request` is held to, in GBNF; None if it is free.

    Args:
        request: its tools, ``tool_choice``, ``response_format`` and its option ``grammar`` count.
        form: how the model writes calls; None where there are no tools.
        before: what comes before the answer.

    Raises:
        ValueError: a schema cannot be satisfied, or is too large for llama.cpp; or ``grammar`` is not the only one.
    """
    tools: Sequence[Tool] = offered_tools(request)
    own: str = request.options.get("grammar") or ""
    if own:
        if tools or request.response_format is not None:
            raise ValueError(
                'grammar and response_format or tools exclude each other: leave one out (grammar="" is none)'
            )
        return _grammar(_Wanted(None, (), False, None, before, own))
    forced = bool(tools) and request.tool_choice not in (None, "auto")
    schema = None if request.response_format is None or forced else request.response_format.schema
    if not forced and schema is None:
        return None
    if request.chosen_tool is not None:
        tools = [tool for tool in tools if tool.name == request.chosen_tool]
    wanted = _Wanted(
        form if tools else None,
        tuple((tool.name, _plain(tool.parameters)) for tool in tools),
        request.chosen_tool is not None,
        None if schema is None else _plain(schema),
        before,
    )
    return _grammar(wanted)


@dataclass(frozen=True, slots=True)
class _Wanted:
    form: ToolFormat | None
    tools: tuple[tuple[str, str], ...]  # names, and schemas as JSON
    once: bool
    schema: str | None
    before: Before
    own: str = ""


def _plain(schema: Mapping[str, Any]) -> str:
    # Mappings of other kinds than dict come from callers' own frozen data.
    return json.dumps(schema, default=dict)


@lru_cache(maxsize=64)
def _grammar(wanted: _Wanted) -> str:
    # Imported here: answers without a grammar need none of it.
    from lollms_llamacpp.grammar import GrammarBuilder

    builder = GrammarBuilder()
    choices = []
    if wanted.form is not None:
        choices.append(_calls(builder, wanted.form, wanted.tools, wanted.once))
    if wanted.own:
        choices.append(builder.grammar(wanted.own, "answer"))
    if wanted.schema is not None:
        choices.append(builder.schema(json.loads(wanted.schema), "answer"))
    root = builder.rule("result", " | ".join(choices))
    if wanted.before != "nothing":
        thinking = f"{_thinking(builder)} [ \\n]{{0,4}}"
        if wanted.before == "may think":
            thinking = f"({builder.literal('<think>')} {thinking})?"
        root = builder.rule("thought", f"{thinking} {root}")
    return builder.text(root)


def _calls(builder: GrammarBuilder, form: ToolFormat, tools: Sequence[tuple[str, str]], once: bool) -> str:
    names = []
    for number, (name, parameters) in enumerate(tools):
        # A function has no use for arguments that its schema doesn't name, and would refuse them.
        schema = {"type": "object", "additionalProperties": False, **json.loads(parameters)}
        arguments = builder.schema(schema, f"arguments-{number}")
        body = f"{builder.literal(name)} {_with_ids(builder, form.between)} {arguments}"
        names.append(builder.rule(f"call-{number}", body))
    call = builder.rule("call", " | ".join(names))
    body = f"{_with_ids(builder, form.before)} {call}"
    if form.again is not None and not once:
        body += f" ({_with_ids(builder, form.again)} {call}){{0,{_MOST_CALLS - 1}}}"
    return builder.rule("calls", f"{body} {_with_ids(builder, form.after)}")


def _with_ids(builder: GrammarBuilder, text: str) -> str:
    """`text`, which the template has written, with any id in the place of its own."""
    return " [A-Za-z0-9]{9} ".join(builder.literal(part) for part in text.split(ID))


def _thinking(builder: GrammarBuilder) -> str:
    """Any text up to and with ``</think>``: a rule for each number of its characters that the text ends with."""
    for number, character in reversed(list(enumerate(_CLOSE))):
        further = "" if number + 1 == len(_CLOSE) else f" think-{number + 1}"
        ways = [f'"{character}"{further}']
        if number:
            ways.append('"<" think-1')
        ways.append(f"[^<{character if number else ''}] think-0")
        builder.rule(f"think-{number}", " | ".join(ways))
    return "think-0"
