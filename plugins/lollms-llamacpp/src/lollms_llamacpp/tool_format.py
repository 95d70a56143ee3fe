r"""How a model writes the calls of tools: found out from its chat template, by what it makes of a probe.

No two families of models write calls alike, but each template shows how its model does, since earlier calls are
part of a conversation. So a conversation with one call, and one with two, are rendered, with names and arguments
that occur nowhere else; what stands around them is the form::

    <tool_call>\n{"name": "NAME", "arguments": {...}}\n</tool_call>      Hermes, Qwen
    {"name": "NAME", "parameters": {...}}                                Llama 3
    [TOOL_CALLS][{"name": "NAME", "arguments": {...}, "id": "..."}]      Mistral
    [TOOL_CALLS]NAME[ARGS]{...}                                          Mistral, newer

The conversation's form is OpenAI's (https://platform.openai.com/docs/api-reference/chat/create), which is what
templates of Hugging Face's models expect, but for the arguments, which some want as an object and some as JSON
text (https://huggingface.co/docs/transformers/chat_extras).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from lollms_core import BadRequest
from lollms_llamacpp.chat_template import ChatTemplate

__all__ = ["ID", "ToolFormat", "Writing", "find_writing", "renders_tools", "short_id", "understood"]

ID: Final = "\0"
"""Stands in a form's texts where the template writes the id of a call."""

_DECODER: Final = json.JSONDecoder(strict=False)
_SHORT_ID: Final = re.compile(r"[A-Za-z0-9]{9}")

_USER: Final = {"role": "user", "content": "-"}
_ANSWER: Final = "answer58e1c7"
_NAMES: Final = ("probe58e1c7", "other58e1c7")
_ARGUMENTS: Final = ({"slot58e1c7": "first58e1c7"}, {"slot58e1c7": "second58e1c7"})
_IDS: Final = ("pr58e1c7a", "pr58e1c7b")  # as Mistral's templates want them: nine letters and digits
_TOOLS: Final = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": "-",
            "parameters": {
                "type": "object",
                "properties": {"slot58e1c7": {"type": "string", "description": "-"}},
                "required": ["slot58e1c7"],
            },
        },
    }
    for name in _NAMES
]


@dataclass(frozen=True, slots=True)
class ToolFormat:
    """How calls stand in an answer: ``before NAME between ARGUMENTS (again NAME between ARGUMENTS)* after``.

    ARGUMENTS is a JSON object. In the texts, :data:`ID` stands for the id of a call.

    Attributes:
        before: up to the first name.
        between: from a name to its arguments.
        again: from the arguments to the next name; None if an answer has only one call.
        after: from the last arguments to the end of the answer.
        opening: the part of `before` that is outside of JSON, without blanks around it; "" for bare JSON.
        closing: likewise of `after`.
        keys: of the JSON object around name and arguments, their two keys; None where only the arguments are JSON.
    """

    before: str
    between: str
    again: str | None
    after: str
    opening: str
    closing: str
    keys: tuple[str, str] | None

    @property
    def texts(self) -> str:
        """All that is written beside names and arguments."""
        return "".join((self.before, self.between, self.again or "", self.after))


@dataclass(frozen=True, slots=True)
class Writing:
    """What a template does with calls.

    Attributes:
        objects: whether it wants the arguments as an object; else as JSON text.
        format: how it writes calls; None if that can't be made out.
    """

    objects: bool
    format: ToolFormat | None


def renders_tools(template: ChatTemplate) -> bool:
    """Whether `template` tells the model about tools."""
    try:
        return _NAMES[0] in template.render([_USER], tools=_TOOLS)
    except BadRequest:
        return False


def find_writing(template: ChatTemplate, ends: Sequence[str] = ()) -> Writing | None:
    """How `template` writes calls; None if it leaves them out.

    Args:
        template: any.
        ends: the texts of the tokens that end an answer.
    """
    written = None
    for objects in (True, False):
        for content in ("", None):
            one = _body(template, 1, objects, content, ends)
            if one is None or _NAMES[0] not in one:
                continue
            found = _format(one, _body(template, 2, objects, content, ends))
            if found is not None:
                return Writing(objects, found)
            written = written or Writing(objects, None)
    return written


def short_id(long: str) -> str:
    """The id of a call as every template takes it; the same one for the same `long`."""
    if _SHORT_ID.fullmatch(long):
        return long
    return hashlib.sha256(long.encode("utf-8", "surrogatepass")).hexdigest()[:9]


@lru_cache(maxsize=64)
def understood(source: str) -> bool:
    """Whether a template of this `source` has tools, and writes calls in a form that can be read."""
    template = ChatTemplate(source, origin="the model")
    if "tools" not in template.variables or not renders_tools(template):
        return False
    writing = find_writing(template)
    return writing is not None and writing.format is not None


# What the probes show ---------------------------------------------------------------------------------


def _body(template: ChatTemplate, count: int, objects: bool, content: str | None, ends: Sequence[str]) -> str | None:
    """An answer with `count` calls, without the template's own text around any answer; None if it refuses."""
    calls = [
        {
            "id": identity,
            "type": "function",
            "function": {"name": name, "arguments": arguments if objects else json.dumps(arguments)},
        }
        for identity, name, arguments in zip(_IDS[:count], _NAMES, _ARGUMENTS, strict=False)
    ]
    message = {"role": "assistant", "content": content, "tool_calls": calls}
    try:
        base = template.render([_USER], tools=_TOOLS, answering=False)
        plain = template.render([_USER, {"role": "assistant", "content": _ANSWER}], tools=_TOOLS, answering=False)
        text = template.render([_USER, message], tools=_TOOLS, answering=False)
    except BadRequest:
        return None
    shared = _shared(base, plain, text)
    header, answer, tail = plain[shared:].partition(_ANSWER)
    if not answer:
        return None
    text = text[shared:]
    for begin in (header, header.rstrip(), header.strip()):
        if text.startswith(begin):
            text = text[len(begin) :]
            break
    if tail and text.endswith(tail):
        text = text[: -len(tail)]
    for identity in _IDS:
        text = text.replace(identity, ID)
    # Some end calls in their own way; the model's end of an answer is no part of the call.
    last = text.rfind(str(_ARGUMENTS[count - 1]["slot58e1c7"]))
    cuts = [at for end in ends if end and (at := text.find(end, max(last, 0))) >= 0]
    return text[: min(cuts)] if cuts else text


def _shared(*texts: str) -> int:
    """With how many characters all `texts` begin alike."""
    return next((at for at, found in enumerate(zip(*texts, strict=False)) if len(set(found)) > 1), min(map(len, texts)))


def _format(one: str, two: str | None) -> ToolFormat | None:
    places = _places(one, _NAMES[0], _ARGUMENTS[0])
    if places is None:
        return None
    begin, end = places
    name_at = one.index(_NAMES[0])
    before, between, after = one[:name_at], one[name_at + len(_NAMES[0]) : begin], one[end:]
    again = _again(two, before, between, after)
    for at in _brackets(before):
        try:
            value, stop = _DECODER.raw_decode(one, at)
        except ValueError:
            continue
        keys = _keys(value)
        if keys is not None and stop >= end:
            opening, closing = before[:at].strip(), one[stop:].strip()
            return ToolFormat(before, between, again, after, opening, closing, keys)
    if not before.strip() or not between.strip() or ID in before + between:
        return None
    return ToolFormat(before.lstrip(), between, again, after, before.strip(), after.strip(), None)


def _places(text: str, name: str, arguments: Mapping[str, Any]) -> tuple[int, int] | None:
    """Where the JSON of `arguments` begins and ends, after the one place of `name`."""
    at = text.find(name)
    if at < 0 or text.find(name, at + 1) >= 0:
        return None
    for begin in _brackets(text, at):
        try:
            value, end = _DECODER.raw_decode(text, begin)
        except ValueError:
            continue
        if value == arguments:
            return begin, end
    return None


def _again(two: str | None, before: str, between: str, after: str) -> str | None:
    """What stands between two calls; None where there can't be two."""
    if two is None or not two.startswith(before + _NAMES[0] + between) or _NAMES[1] not in two:
        return None
    first = _places(two, _NAMES[0], _ARGUMENTS[0])
    second = _places(two, _NAMES[1], _ARGUMENTS[1])
    if first is None or second is None:
        return None
    name_at = two.index(_NAMES[1])
    if two[name_at + len(_NAMES[1]) : second[0]] != between or two[second[1] :] != after:
        return None
    return two[first[1] : name_at]


def _brackets(text: str, start: int = 0) -> Iterator[int]:
    return (match.start() for match in re.compile(r"[{\[]").finditer(text, start))


def _keys(value: Any) -> tuple[str, str] | None:
    """The keys of the probe's name and arguments in a call, a list of one, or a call wrapped in another object."""
    if isinstance(value, list):
        return _keys(value[0]) if len(value) == 1 else None
    if not isinstance(value, dict):
        return None
    names = [key for key, one in value.items() if one == _NAMES[0]]
    arguments = [key for key, one in value.items() if one == _ARGUMENTS[0]]
    if len(names) == 1 and len(arguments) == 1:
        return names[0], arguments[0]
    return next((keys for one in value.values() if isinstance(one, dict) and (keys := _keys(one))), None)
