"""Jinja2 for templates from strangers: what they can reach, and how much they can compute.

A chat template comes with the model's file, so it is data from the internet that is run. jinja2's sandbox
keeps it from reaching Python's internals; the bounds added here keep it from eating time and memory. Every
turn of a loop, call, filter and operator is counted and looks at the clock; what it would build is measured
before, where it can be more than what it is made of, and afterwards is taken off a budget for the whole
rendering. Filters and methods that no conversation needs and that make much of little are not there. That stops
what a template can do by accident or malice; it is no substitute for a process with limits of its own.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

from jinja2 import nodes, pass_context
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, LoopControlExtension
from jinja2.filters import do_indent, do_round, sync_do_sum
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

from lollms_llamacpp.template_sizes import (
    MAX_CHARS,
    MAX_ITEMS,
    check_format,
    check_percent,
    check_product,
    check_replace,
    refuse,
    sized,
    small,
)

__all__ = ["Sandbox"]

MAX_TOTAL: Final = 100_000_000
"""What one rendering may build altogether, in characters; an entry of a list counts as several."""

MAX_TURNS: Final = 1_000_000
MAX_SECONDS: Final = 5.0

_ITEM: Final = 8
_NEW_ITEM: Final = 60  # of a list whose entries are new, too
_MAX_DIGITS: Final = 30
_LONG: Final = 1_000_000  # characters; for filters that take many times the memory of their text

# Filters and methods that no conversation needs.
_NO_FILTERS: Final = frozenset(
    {
        *("batch", "center", "filesizeformat", "forceescape", "pprint", "random", "slice", "striptags", "truncate"),
        *("urlencode", "urlize", "wordcount", "wordwrap", "xmlattr"),
    }
)
_NO_STRING_METHODS: Final = frozenset(
    {"center", "encode", "expandtabs", "ljust", "maketrans", "rjust", "translate", "zfill"}
)
_NUMBER_METHODS: Final = frozenset({"bit_length", "is_integer"})
# Filters that compare or write out what they are given, however deep.
_DEEP: Final = frozenset(
    {
        *("capitalize", "dictsort", "e", "escape", "float", "format", "groupby", "indent", "int", "join", "lower"),
        *("max", "min", "replace", "sort", "string", "sum", "title", "tojson", "trim", "unique", "upper"),
    }
)
_COMPARISONS: Final = frozenset({"==", "!=", "<", "<=", ">", ">=", "eq", "equalto", "ne", "lt", "lessthan", "le"})
_COMPARING_TESTS: Final = _COMPARISONS | {"gt", "greaterthan", "ge", "in"}


class _Generation(Extension):
    """``{% generation %}...{% endgeneration %}``, which marks the assistant's text for training: plain text here."""

    tags = {"generation"}  # noqa: RUF012 - jinja2's interface

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _Counted(NodeTransformer):
    """Has every loop and macro report to the sandbox, and what operators make that jinja2 intercepts none of."""

    def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802 - jinja2's interface
        return self._counted(node)

    def visit_Macro(self, node: nodes.Macro) -> nodes.Node:  # noqa: N802
        return self._counted(node)

    def visit_CallBlock(self, node: nodes.CallBlock) -> nodes.Node:  # noqa: N802
        return self._counted(node)

    def visit_Block(self, node: nodes.Block) -> nodes.Node:  # noqa: N802
        return self._counted(node)

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        node.nodes = [_call("measured", one) for one in node.nodes]
        return _call("checked", node)

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        node.expr = _call("measured", node.expr)
        for operand in node.ops:
            operand.expr = _call("measured", operand.expr)
        return node

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return _call("checked", node) if isinstance(node.arg, nodes.Slice) else node

    def visit_List(self, node: nodes.List) -> nodes.Node:  # noqa: N802
        return self._literal(node)

    def visit_Dict(self, node: nodes.Dict) -> nodes.Node:  # noqa: N802
        return self._literal(node)

    def visit_Tuple(self, node: nodes.Tuple) -> nodes.Node:  # noqa: N802
        return self._literal(node) if node.ctx == "load" else node

    def _literal(self, node: nodes.Expr) -> nodes.Node:
        self.generic_visit(node)
        return _call("checked", node)

    def _counted(self, node: nodes.For | nodes.Macro | nodes.CallBlock | nodes.Block) -> nodes.Node:
        """Each turn counts, with the text that the template writes in it."""
        written = sum(len(one.data) for one in node.find_all(nodes.TemplateData))
        self.generic_visit(node)
        report = nodes.Call(nodes.EnvironmentAttribute("count"), [nodes.Const(written)], [], None, None)
        node.body.insert(0, nodes.ExprStmt(report).set_lineno(node.lineno))
        return node


def _call(name: str, argument: nodes.Expr) -> nodes.Expr:
    """``name(argument)``, where `name` is the sandbox's."""
    call = nodes.Call(nodes.EnvironmentAttribute(name), [argument], [], None, None)
    call.set_lineno(argument.lineno)
    return call


class Sandbox(ImmutableSandboxedEnvironment):
    """The environment for one template; it renders for one thread at a time.

    Set up as the templates of Hugging Face's models expect it (transformers, utils/chat_template_utils.py).
    """

    intercepted_binops = frozenset({"*", "**", "+", "%"})

    def __init__(self) -> None:
        # Not optimized: what jinja2 computes ahead would escape the count.
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            optimized=False,
            extensions=[LoopControlExtension, _Generation],
            finalize=_output,
        )
        filters = {name: function for name, function in self.filters.items() if name not in _NO_FILTERS}
        filters.update(replace=_replace, format=_format, indent=_indent, join=_join, list=_list, round=_round, sum=_sum)
        filters["title"] = _short(filters["title"])
        self.filters = {name: self._guarded(name, function) for name, function in filters.items()}
        tests: dict[str, Any] = {**self.tests}
        self.tests = {**tests, **{name: self._comparing(tests[name]) for name in tests.keys() & _COMPARING_TESTS}}
        self.globals.pop("lipsum", None)
        self._begin()

    def add(self, name: str, function: Callable[..., Any]) -> None:
        """Give templates a filter of ours."""
        self.filters[name] = self._guarded(name, function)

    def pieces(self, template: Any, variables: dict[str, Any]) -> Iterator[str]:
        """Render `template`, piece by piece, within the bounds."""
        self._begin()
        total = 0
        for piece in template.generate(**variables):
            total += len(piece)
            if total > MAX_CHARS:
                refuse()
            yield piece

    def count(self, written: int = 0) -> str:
        """One turn of a loop, call or operator, and the characters that the template itself writes in it.

        Raises:
            SecurityError: there were too many, or they took too long.
        """
        self._turns += 1
        if self._turns > MAX_TURNS or time.monotonic() > self._until:
            raise SecurityError("it computes for too long")
        self._spend(written)
        return ""

    def checked(self, value: Any, item: int = _ITEM) -> Any:
        """`value`, when it has been counted as something new.

        Raises:
            SecurityError: it is too long, or all together has become too much.
        """
        if isinstance(value, str):
            if len(value) > MAX_CHARS:
                refuse()
            self._spend(len(value))
        elif isinstance(value, (list, tuple, dict)):
            if len(value) > MAX_ITEMS:
                refuse()
            self._spend(item * len(value))
        return value

    @staticmethod
    def measured(value: Any) -> Any:
        """`value`, if it can be compared and written out."""
        if isinstance(value, (str, list, tuple, dict, set, frozenset)):
            sized(value)
        return value

    def _begin(self) -> None:
        self._turns, self._left, self._until = 0, MAX_TOTAL, time.monotonic() + MAX_SECONDS

    def _spend(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise SecurityError(f"it builds more than {MAX_TOTAL:,} characters altogether")

    def _guarded(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """A filter that counts; jinja2's marks on it stay."""
        measure = self.measured if name in _DEEP else None
        item = _NEW_ITEM if name in {"list", "groupby"} else _ITEM

        @functools.wraps(function)
        def guarded(*args: Any, **kwargs: Any) -> Any:
            self.count()
            if measure is not None:
                for one in (*args, *kwargs.values()):
                    measure(one)
            return self.checked(function(*args, **kwargs), item)

        return guarded

    def _comparing(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def comparing(*args: Any) -> Any:
            self.count()
            return function(*map(self.measured, args))

        return comparing

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree: nodes.Template = _Counted().visit(super()._parse(source, name, filename))
        return tree

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        self.count()
        if operator == "*":
            check_product(left, right)
        elif operator == "**":
            if not (small(left) and small(right, 8)):
                raise SecurityError("it computes powers that are too large")
        elif operator == "%" and isinstance(left, str):
            check_percent(left, right)
        return self.checked(super().call_binop(context, operator, left, right))

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        if isinstance(obj, str) and attr in _NO_STRING_METHODS:
            return False
        if isinstance(obj, (int, float)) and callable(value) and attr not in _NUMBER_METHODS:
            return False
        return super().is_safe_attribute(obj, attr, value)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        wrapped = super().wrap_str_format(value)
        if wrapped is None:
            return None

        @functools.wraps(wrapped)
        def bounded(*args: Any, **kwargs: Any) -> str:
            mapped = value.__name__ == "format_map" and args and isinstance(args[0], dict)
            check_format(value.__self__, () if mapped else args, args[0] if mapped else kwargs)
            return wrapped(*args, **kwargs)

        return bounded

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805, PYI063 - jinja2's way
        __self.count()
        owner, name = getattr(__obj, "__self__", None), getattr(__obj, "__name__", "")
        item = _ITEM
        if isinstance(owner, str):
            if name == "replace":
                check_replace(owner, *args, **kwargs)
            elif name == "join" and args:
                args = (_parts(args[0], owner), *args[1:])
            elif name in {"split", "rsplit", "splitlines"}:
                _check_split(owner, name, *args, **kwargs)
                item = _NEW_ITEM
        return __self.checked(super().call(__context, __obj, *args, **kwargs), item)


@pass_context
def _output(context: Context, value: Any) -> Any:
    """What becomes of each ``{{ ... }}``: counted once more, since a variable may be written again and again."""
    sandbox = context.environment
    assert isinstance(sandbox, Sandbox)
    sandbox.measured(value)
    if isinstance(value, str):
        sandbox.checked(value)
        return value
    return sandbox.checked(str(value))


def _check_split(text: str, name: str, separator: Any = None, *_: Any, **__: Any) -> None:
    """Raise if the parts would be too many."""
    if len(text) <= MAX_ITEMS:
        return
    if name == "splitlines" or not isinstance(separator, str) or text.count(separator or " ") > MAX_ITEMS:
        refuse()


def _parts(parts: Any, between: str) -> list[Any]:
    """`parts` as a list, if they are short enough to be joined."""
    found: list[Any] = []
    total = 0
    for part in parts:
        total += len(between) + sized(part)
        if total > MAX_CHARS or len(found) >= MAX_ITEMS:
            refuse()
        found.append(part)
    return found


# jinja2's filters of these names, bounded.


def _replace(text: object, old: object, new: object, count: int | None = None) -> str:
    check_replace(str(text), str(old), str(new))
    return str(text).replace(str(old), str(new), -1 if count is None else count)


def _format(text: object, *args: Any, **kwargs: Any) -> str:
    check_percent(str(text), kwargs or args)
    return str(text) % (kwargs or args)


def _indent(text: str, width: int | str = 4, first: bool = False, blank: bool = False) -> str:
    by = len(width) if isinstance(width, str) else width
    if len(text) + (text.count("\n") + 1) * by > MAX_CHARS:
        refuse()
    return do_indent(text, width, first, blank)


def _join(parts: Any, between: object = "", attribute: str | int | None = None) -> str:
    if attribute is not None:
        parts = [part[attribute] for part in parts]
    return str(between).join(str(part) for part in _parts(parts, str(between)))


def _list(value: Any) -> list[Any]:
    if isinstance(value, (str, range)) and len(value) > MAX_ITEMS:
        refuse()
    return list(value)


def _round(value: float, precision: int = 0, method: Any = "common") -> float:
    if abs(precision) > _MAX_DIGITS:
        raise SecurityError(f"it rounds to {precision} digits")
    return do_round(value, precision, method)


@functools.wraps(sync_do_sum)
def _sum(environment: Any, iterable: Any, attribute: str | int | None = None, start: float = 0) -> Any:
    if not isinstance(start, (int, float)):
        raise SecurityError("it adds up what is no number")
    return sync_do_sum(environment, iterable, attribute, start)


def _short(function: Callable[[str], str]) -> Callable[[str], str]:
    @functools.wraps(function)
    def short(text: str) -> str:
        if len(str(text)) > _LONG:
            refuse()
        return function(text)

    return short
