"""From a request to all that its answer needs: the prompt's tokens, how the answer is read and what it may be."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from lollms_core import CapabilityNotSupported, GenerationRequest
from lollms_core.messages import Message
from lollms_llamacpp.chat_template import ChatTemplate
from lollms_llamacpp.constraint import constraint, offered_tools
from lollms_llamacpp.native import Model
from lollms_llamacpp.prefix import common_length
from lollms_llamacpp.prompt import Prompter
from lollms_llamacpp.reading import AnswerReader
from lollms_llamacpp.thinking import PROVIDER, Thinking, begins_inside
from lollms_llamacpp.tool_calls import CallScanner
from lollms_llamacpp.tool_format import Writing, find_writing, renders_tools, short_id

__all__ = ["Conversations", "Plan"]

_MAX_TEMPLATES: Final = 16
_NO_THINKING: Final = Thinking(known=False, switch=False, effort=False, returned=False)


@dataclass(frozen=True, slots=True)
class Plan:
    """An answer to be made.

    Attributes:
        tokens: the prompt; where the image of index i stands, -1 - i.
        reader: takes the answer's events.
        grammar: what the answer must be, in GBNF; None if it is free.
        shown: control tokens whose text belongs to the answer, such as those around calls.
    """

    tokens: list[int]
    reader: AnswerReader
    grammar: str | None = None
    shown: frozenset[int] = frozenset()


class Dialect:
    """A chat template, and what it shows of its model."""

    def __init__(self, template: ChatTemplate, ends: Sequence[str]) -> None:
        self.template = template
        self._ends = ends

    @cached_property
    def thinking(self) -> Thinking:
        return Thinking.of(self.template)

    @cached_property
    def writing(self) -> Writing | None:
        return find_writing(self.template, self._ends)

    @cached_property
    def has_tools(self) -> bool:
        return renders_tools(self.template) and self.writing is not None and self.writing.format is not None


class Conversations:
    """Makes plans for one model's answers.

    Args:
        name: the model's.
        model: its vocabulary.
        prompter: of that model.
        source: its chat template; None if it has none.
    """

    def __init__(self, name: str, model: Model, prompter: Prompter, source: str | None) -> None:
        self._name = name
        self._model = model
        self._prompter = prompter
        self._source = source
        self._dialects: dict[str, Dialect] = {}

    def check(self, request: GenerationRequest) -> None:
        """Whether the model can do what `request` asks beside text, without any work.

        Raises:
            CapabilityNotSupported: its chat template has no place for tools, or for thinking.
            ValueError: a schema cannot be a grammar, or both are given.
        """
        if not (request.tools or request.think or request.response_format):
            return
        source = self._source_for(request)
        if source is None:
            if offered_tools(request) or request.think:
                what = "tools" if offered_tools(request) else "thinking"
                raise CapabilityNotSupported(
                    f"{what} need a chat template, and this prompt to {self._name!r} is completed as plain text"
                )
            constraint(request, None)
            return
        with self._model:
            dialect = self._dialect(source)
            if offered_tools(request) and not dialect.has_tools:
                raise CapabilityNotSupported(
                    f"the chat template of {self._name!r} has no tools, or writes calls in a form that cannot be read"
                )
            if request.think and not dialect.thinking.known:
                raise CapabilityNotSupported(f"the chat template of {self._name!r} does not know thinking")
            form = dialect.writing.format if offered_tools(request) and dialect.writing else None
        constraint(request, form)

    def plan(self, request: GenerationRequest, messages: Sequence[Message], places: Sequence[str] = ()) -> Plan:
        """The prompt of `request`, and what to do with its answer.

        Args:
            request: checked.
            messages: its conversation, with `places` in the contents where its images stand.
            places: texts that nobody can guess.

        Raises:
            CapabilityNotSupported: the model has no chat template, or its has no place for earlier calls.
            BadRequest, ValueError: the template refuses the conversation, or it is no valid text.
        """
        source = self._source_for(request)
        with self._model:
            if source is None:
                return self._plain_plan(request, places)
            return self._chat_plan(request, self._dialect(source), messages, places)

    def system_tokens(self, request: GenerationRequest, tokens: Sequence[int]) -> int:
        """How many of the prompt's `tokens` belong to what stands before the conversation: the system prompt.

        They are those with which another conversation begins too that has the same system prompt.
        """
        if self._source_for(request) is None:
            with self._model:
                system = self._prompter.plain(f"{request.system_prompt}\n\n" if request.system_prompt else "")
            return common_length(system, tokens)
        before = [message for message in request.to_messages() if message["role"] == "system"]
        one, two = (self.plan(request, [*before, {"role": "user", "content": text}]).tokens for text in ("0", "zero"))
        return min(common_length(one, two), common_length(one, tokens))

    def _source_for(self, request: GenerationRequest) -> str | None:
        """The template for `request`, None where it is completed as plain text.

        Raises:
            CapabilityNotSupported: it needs a template, and there is none.
        """
        form = request.options.get("completion_format")
        source: str | None = request.options.get("chat_template") or self._source
        if request.prompt is not None and (form == "text" or (form is None and source is None)):
            return None
        if source is None:
            raise CapabilityNotSupported(
                f"the model {self._name!r} has no chat template; give one as chat_template, or use "
                'completion_format="text"'
            )
        return source

    def _plain_plan(self, request: GenerationRequest, places: Sequence[str]) -> Plan:
        prompt = request.prompt or ""
        text = f"{request.system_prompt}\n\n{prompt}" if request.system_prompt else prompt
        images = [-1 - index for index in range(len(places))]
        tokens = self._prompter.plain(text)
        first = 1 if images and tokens[:1] == [self._model.bos] else 0
        return Plan(
            tokens[:first] + images + tokens[first:], AnswerReader(_NO_THINKING), grammar=constraint(request, None)
        )

    def _chat_plan(
        self, request: GenerationRequest, dialect: Dialect, messages: Sequence[Message], places: Sequence[str]
    ) -> Plan:
        tools = offered_tools(request)
        rendered = self._prompter.chat(
            dialect.template,
            self._for_template(messages, dialect),
            tools=[tool.definition for tool in tools] or None,
            variables=dialect.thinking.variables(request.think),
            places=places,
        )
        inside = dialect.thinking.known and begins_inside(rendered.text)
        form = dialect.writing.format if tools and dialect.writing is not None else None
        scanner = None if form is None else CallScanner(form, [tool.name for tool in tools])
        may_think = dialect.thinking.known and bool(request.think)
        return Plan(
            rendered.tokens,
            AnswerReader(dialect.thinking, inside=inside, calls=scanner),
            grammar=constraint(request, form, "thinks" if inside else "may think" if may_think else "nothing"),
            shown=frozenset() if form is None else self._prompter.specials_in(form.texts),
        )

    def _for_template(self, messages: Sequence[Message], dialect: Dialect) -> list[Message]:
        """`messages` as templates expect them: calls in the template's form, earlier thinking where it is wanted."""
        called = any(message.get("tool_calls") for message in messages)
        if called and dialect.writing is None:
            raise CapabilityNotSupported(
                f"the conversation has calls of tools, and the chat template of {self._name!r} has no place for them"
            )
        objects = dialect.writing is not None and dialect.writing.objects
        return [_for_template(message, objects, dialect.thinking.returned) for message in messages]

    def _dialect(self, source: str) -> Dialect:
        known = self._dialects.get(source)
        if known is None:
            model = self._model
            bos, eos = self._text_of(model.bos), self._text_of(model.eos)
            template = ChatTemplate(source, origin=self._name, bos=bos, eos=eos)
            known = Dialect(template, self._prompter.ends)
            if len(self._dialects) >= _MAX_TEMPLATES:
                self._dialects.clear()
            self._dialects[source] = known
        return known

    def _text_of(self, token: int | None) -> str:
        return "" if token is None else self._model.piece(token, special=True).decode("utf-8", "replace")


def _for_template(message: Message, objects: bool, returned: bool) -> Message:
    changed = dict(message)
    if message.get("tool_calls"):
        changed["tool_calls"] = [_call_for_template(call, objects) for call in message["tool_calls"]]
    if isinstance(message.get("tool_call_id"), str):
        changed["tool_call_id"] = short_id(message["tool_call_id"])
    data = (message.get("provider") or {}).get(PROVIDER)
    if returned and isinstance(data, Mapping) and isinstance(data.get("reasoning"), str):
        changed.setdefault("reasoning_content", data["reasoning"])
    return changed


def _call_for_template(call: Mapping[str, Any], objects: bool) -> dict[str, Any]:
    function = dict(call.get("function") or {})
    arguments = function.get("arguments")
    if objects and isinstance(arguments, str):
        try:
            function["arguments"] = json.loads(arguments or "{}")
        except ValueError:
            function["arguments"] = arguments  # the model wrote no JSON: it sees what it wrote
    elif not objects and isinstance(arguments, Mapping):
        function["arguments"] = json.dumps(arguments, ensure_ascii=False, default=dict)
    changed = {**call, "function": function}
    if isinstance(call.get("id"), str):
        changed["id"] = short_id(call["id"])
    return changed
