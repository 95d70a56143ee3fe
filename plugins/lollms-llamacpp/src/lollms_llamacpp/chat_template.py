"""A model's chat template: from a conversation to the text that the model was trained to continue."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NoReturn

from lollms_core import BadRequest
from lollms_core.messages import Message, text_of

__all__ = ["ChatTemplate"]

_MAX_SOURCE: Final = 128 * 1024
_MAX_TOLD: Final = 1000
_MAX_DATE: Final = 100
_MAX_INDENT: Final = 16
_WIDTH: Final = re.compile(r"%[^a-zA-Z%]*\d")
_PROBE: Final = "a03f5c"

# What a broken template makes of jinja2 and Python, beside jinja2's own errors.
_FAILURES: Final = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    MemoryError,
    NameError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
)


class _RaisedByTemplate(Exception):
    """The template refuses the conversation."""


class ChatTemplate:
    """One template, compiled at its first use.

    Args:
        source: Jinja2, as Hugging Face's models have it.
        origin: whose it is, for messages.
        bos, eos: the texts of the tokens that begin and end a document.
    """

    def __init__(self, source: str, *, origin: str, bos: str = "", eos: str = "") -> None:
        self._source = source
        self._origin = origin
        self._tokens = {"bos_token": bos, "eos_token": eos}
        self._lock = threading.Lock()
        self._compiled: tuple[Any, Any] | None = None
        self._knows_system: bool | None = None
        self._variables: frozenset[str] | None = None

    @property
    def origin(self) -> str:
        """Whose it is."""
        return self._origin

    @property
    def source(self) -> str:
        """The Jinja text."""
        return self._source

    @property
    def variables(self) -> frozenset[str]:
        """The names that the template wants to be given: ``messages``, ``tools``, ``enable_thinking``, ...

        None of a template that is broken.
        """
        if self._variables is None:
            self._variables = self._find_variables()
        return self._variables

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        variables: Mapping[str, Any] | None = None,
        answering: bool = True,
    ) -> str:
        """The conversation as text, ending where the assistant's answer begins.

        Of a content in parts, the text parts count. A system message goes into the first user message where
        the template has no place for it; the role developer is the template's system where it knows no other.

        Args:
            messages: in OpenAI's form, but calls' arguments as the template wants them.
            tools: definitions in OpenAI's form.
            variables: further ones that the template may look at.
            answering: False to end with the last message instead.

        Raises:
            BadRequest: the template is broken, or refuses this conversation; the text says which.
        """
        plain = [self._plain(message) for message in messages]
        if plain and plain[0]["role"] == "system" and not self._has_place_for_system():
            plain = _without_system(plain)
        given = {**(variables or {}), "tools": list(tools) if tools else None, "add_generation_prompt": answering}
        return self._render(plain, given)

    def _plain(self, message: Mapping[str, Any]) -> Message:
        role = message["role"]
        if role == "developer" and "developer" not in self._source:
            role = "system"
        # The opaque data of other backends is no business of a template's.
        rest = {name: value for name, value in message.items() if name != "provider"}
        return {**rest, "role": role, "content": text_of(message.get("content"))}

    def _has_place_for_system(self) -> bool:
        if self._knows_system is None:
            probe = [{"role": "system", "content": _PROBE}, {"role": "user", "content": "-"}]
            try:
                self._knows_system = _PROBE in self._render(probe)
            except BadRequest:
                self._knows_system = False
        return self._knows_system

    def _find_variables(self) -> frozenset[str]:
        from jinja2 import meta
        from jinja2.exceptions import TemplateError

        try:
            with self._lock:
                sandbox, _ = self._compile()
                return frozenset(meta.find_undeclared_variables(sandbox.parse(self._source)))
        except (TemplateError, *_FAILURES):
            return frozenset()

    def _render(self, messages: list[Message], given: Mapping[str, Any] | None = None) -> str:
        variables = {
            **self._tokens,
            "messages": messages,
            "add_generation_prompt": True,
            # Templates ask whether these are none, not whether they are defined.
            "tools": None,
            "documents": None,
            **(given or {}),
        }
        from jinja2.exceptions import TemplateError

        try:
            with self._lock:
                sandbox, template = self._compile()
                return "".join(sandbox.pieces(template, variables))
        except _RaisedByTemplate as error:
            told = _shortened(error)
            raise BadRequest(f"the chat template of {self._origin} refuses this conversation: {told}") from None
        except (TemplateError, *_FAILURES) as error:
            told = f"{type(error).__name__}: {_shortened(error)}"
            raise BadRequest(f"the chat template of {self._origin} cannot be used: {told}") from error

    def _compile(self) -> tuple[Any, Any]:
        if self._compiled is None:
            # Imported here: a program that only lists models needs no template engine.
            from lollms_llamacpp.sandbox import Sandbox

            if len(self._source) > _MAX_SOURCE:
                raise ValueError(f"it is longer than {_MAX_SOURCE} characters")
            sandbox = Sandbox()
            sandbox.add("tojson", _to_json)
            sandbox.globals.update(raise_exception=_raise, strftime_now=_strftime_now)
            self._compiled = sandbox, sandbox.from_string(self._source)
        return self._compiled


def _without_system(messages: list[Message]) -> list[Message]:
    """The system message put before the first user message, or made one."""
    system, rest = messages[0], messages[1:]
    if not system["content"]:
        return rest
    if rest and rest[0]["role"] == "user":
        joined = f"{system['content']}\n\n{rest[0]['content']}" if rest[0]["content"] else system["content"]
        return [{**rest[0], "content": joined}, *rest[1:]]
    return [{"role": "user", "content": system["content"]}, *rest]


def _raise(message: object) -> NoReturn:
    raise _RaisedByTemplate(message)


def _shortened(error: Exception) -> str:
    """What an error says; a template may have it say as much as it likes."""
    text = str(error)
    return text if len(text) <= _MAX_TOLD else f"{text[:_MAX_TOLD]}..."


def _strftime_now(form: str) -> str:
    # C libraries take widths of any size.
    if len(form) > _MAX_DATE or _WIDTH.search(form):
        raise ValueError(f"strftime_now cannot take {form[:_MAX_DATE]!r}")
    return datetime.now().astimezone().strftime(form)


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    if isinstance(indent, int) and not 0 <= indent <= _MAX_INDENT:
        raise ValueError(f"tojson cannot indent by {indent}")
    if separators is not None and any(len(one) > _MAX_INDENT for one in separators):
        raise ValueError("tojson cannot take separators so long")
    # jinja2's own tojson is for HTML and writes < as \u003c, which no model was trained on.
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
