"""Jinja2 for templates from strangers: what they can reach, and how much they can compute.

A chat template comes with the model's file, so it is data from the internet that is run. jinja2's sandbox
keeps it from reaching Python's internals; the bounds added here keep it from eating time and memory: every
turn of a loop and call of a macro is counted, and strings don't grow beyond a limit. That stops what a few
lines of template can do by accident or malice; it is no substitute for a process with limits of its own.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from typing import Any, Final, NoReturn

from jinja2 import nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, LoopControlExtension
from jinja2.filters import do_indent
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

__all__ = ["Sandbox"]

MAX_CHARS: Final = 8_000_000
"""Longest string that a template may build, in characters; far more than any context holds."""

MAX_TURNS: Final = 1_000_000
MAX_SECONDS: Final = 5.0

# Widths of five digits and more, and those that an argument gives, in "%" formats and in "{}" formats.
_LONG_WIDTH: Final = re.compile(r"%[^a-zA-Z%]*(?:\d{5}|\*)|\{[^{}]*:[^{}]*(?:\d{5}|\{)")
_MAX_BITS: Final = 4096
# Methods and filters that make long strings of short ones, and that no conversation needs.
_PADDING: Final = frozenset({"center", "ljust", "rjust", "zfill", "expandtabs"})
_NO_FILTERS: Final = frozenset({"center", "wordwrap"})


class _Generation(Extension):
    """``{% generation %}...{% endgeneration %}``, which marks the assistant's text for training: plain text here."""

    tags = {"generation"}  # noqa: RUF012 - jinja2's interface

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _Counted(NodeTransformer):
    """Has every loop and macro report to the sandbox, and every ``~`` checked."""

    def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802 - jinja2's interface
        return self._counted(node)

    def visit_Macro(self, node: nodes.Macro) -> nodes.Node:  # noqa: N802
        return self._counted(node)

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        checked = nodes.Call(nodes.EnvironmentAttribute("checked"), [node], [], None, None)
        return checked.set_lineno(node.lineno)

    def _counted(self, node: nodes.For | nodes.Macro) -> nodes.Node:
        self.generic_visit(node)
        report = nodes.Call(nodes.EnvironmentAttribute("count"), [], [], None, None)
        node.body.insert(0, nodes.ExprStmt(report).set_lineno(node.lineno))
        return node


class Sandbox(ImmutableSandboxedEnvironment):
    """The environment for one template; it renders for one thread at a time.

    Set up as the templates of Hugging Face's models expect it (transformers, utils/chat_template_utils.py).
    """

    intercepted_binops = frozenset({"*", "**", "+", "%"})

    def __init__(self) -> None:
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=[LoopControlExtension, _Generation])
        for name in _NO_FILTERS:
            self.filters.pop(name, None)
        self.filters.update(replace=_replace, format=_format, indent=_indent, join=_join)
        self.globals.pop("lipsum", None)
        self._turns = 0
        self._until = 0.0

    def pieces(self, template: Any, variables: dict[str, Any]) -> Iterator[str]:
        """Render `template`, piece by piece, within the bounds."""
        self._turns, self._until = 0, time.monotonic() + MAX_SECONDS
        total = 0
        for piece in template.generate(**variables):
            total += len(piece)
            if total > MAX_CHARS:
                _refuse()
            yield piece

    def count(self) -> str:
        """One turn of a loop, or one call of a macro.

        Raises:
            SecurityError: there were too many, or they took too long.
        """
        self._turns += 1
        if self._turns > MAX_TURNS or (self._turns % 256 == 0 and time.monotonic() > self._until):
            raise SecurityError("it computes for too long")
        return ""

    @staticmethod
    def checked(value: Any) -> Any:
        """`value`, if it is no string that is too long."""
        if isinstance(value, str) and len(value) > MAX_CHARS:
            _refuse()
        return value

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree: nodes.Template = _Counted().visit(super()._parse(source, name, filename))
        return tree

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if operator == "*":
            _check_product(left, right)
        elif operator == "**":
            if not (_small(left, _MAX_BITS) and _small(right, 8)):
                raise SecurityError("it computes powers that are too large")
        elif operator == "%" and isinstance(left, str) and _LONG_WIDTH.search(left):
            _refuse()
        return self.checked(super().call_binop(context, operator, left, right))

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        if isinstance(obj, str) and attr in _PADDING:
            return False
        return super().is_safe_attribute(obj, attr, value)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        wrapped = super().wrap_str_format(value)
        if wrapped is not None and _LONG_WIDTH.search(value.__self__):
            _refuse()
        return wrapped

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805, PYI063 - jinja2's way
        owner, name = getattr(__obj, "__self__", None), getattr(__obj, "__name__", "")
        if isinstance(owner, str) and name == "replace":
            _check_replacement(owner, *args)
        elif isinstance(owner, str) and name == "join" and args:
            args = (_checked_parts(args[0], owner), *args[1:])
        return __self.checked(super().call(__context, __obj, *args, **kwargs))


def _refuse() -> NoReturn:
    raise SecurityError(f"it builds a text of more than {MAX_CHARS:,} characters")


def _small(value: Any, bits: int) -> bool:
    return not isinstance(value, int) or value.bit_length() <= bits


def _check_product(left: Any, right: Any) -> None:
    for repeated, times in ((left, right), (right, left)):
        if isinstance(repeated, (str, list, tuple)) and isinstance(times, int) and len(repeated) * times > MAX_CHARS:
            _refuse()
    if not (_small(left, _MAX_BITS) and _small(right, _MAX_BITS)):
        raise SecurityError("it computes products that are too large")


def _check_replacement(text: Any, old: Any = "", new: Any = "", *_: Any) -> None:
    if isinstance(text, str) and isinstance(old, str) and isinstance(new, str):
        times = text.count(old)
        if len(text) + times * (len(new) - len(old)) > MAX_CHARS:
            _refuse()


def _checked_parts(parts: Any, between: str) -> list[Any]:
    """`parts` as a list, if they are short enough to be joined."""
    checked, total = [], 0
    for part in parts:
        total += len(between) + (len(part) if isinstance(part, str) else 1)
        if total > MAX_CHARS:
            _refuse()
        checked.append(part)
    return checked


# jinja2's filters of these names, bounded.


def _replace(text: object, old: object, new: object, count: int | None = None) -> str:
    _check_replacement(str(text), str(old), str(new))
    return str(text).replace(str(old), str(new), -1 if count is None else count)


def _format(text: object, *args: Any, **kwargs: Any) -> str:
    if _LONG_WIDTH.search(str(text)):
        _refuse()
    return str(text) % (kwargs or args)


def _indent(text: str, width: int | str = 4, first: bool = False, blank: bool = False) -> str:
    by = len(width) if isinstance(width, str) else width
    if (text.count("\n") + 1) * by > MAX_CHARS:
        _refuse()
    return do_indent(text, width, first, blank)


def _join(parts: Any, between: object = "", attribute: str | int | None = None) -> str:
    if attribute is not None:
        parts = [part[attribute] for part in parts]
    return str(between).join(str(part) for part in _checked_parts(parts, str(between)))
