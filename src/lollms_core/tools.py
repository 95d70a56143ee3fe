"""Tools: what a model may ask to have called, as definitions for the backend and as functions to run.

A Python function becomes a definition through its signature and its docstring; the forms of Google, NumPy and
Sphinx are read for the descriptions of its parameters.
"""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Self

from lollms_core import peer_json
from lollms_core.errors import close_names
from lollms_core.json_schema import check_json, schema_of, value_of

__all__ = ["Tool", "check_tool_choice", "check_tools"]

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
_CHOICES: Final = ("auto", "none", "required")


@dataclass(frozen=True, slots=True)
class Tool:
    """One tool.

    Attributes:
        name: letters, digits, ``_`` and ``-``, at most 64.
        description: what it does, for the model.
        parameters: the JSON schema of its arguments, an object's.
        function: what to call; None if the caller runs it.
    """

    name: str
    description: str = ""
    parameters: Mapping[str, Any] = field(default_factory=lambda: {"type": "object", "properties": {}})
    function: Callable[..., Any] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(_text("a tool's name", self.name)):
            raise ValueError(f"a tool's name must be of letters, digits, _ and -, at most 64, not {self.name!r}")
        _text(f"the description of the tool {self.name!r}", self.description)
        parameters: object = self.parameters
        if not isinstance(parameters, Mapping) or parameters.get("type", "object") != "object":
            raise TypeError(f"the parameters of the tool {self.name!r} must be the JSON schema of an object")
        check_json(parameters, f"the schema of the parameters of the tool {self.name!r}")

    @classmethod
    def of(cls, source: Any) -> Self:
        """From a function, or a definition: OpenAI's form, or the part of it that is called ``function``.

        Raises:
            TypeError, ValueError: it is neither, or a function whose parameters have no JSON schema.
        """
        if isinstance(source, cls):
            return source
        if callable(source):
            return cls._of_function(source)
        if not isinstance(source, Mapping):
            raise TypeError(f"a tool is a function or a dict that defines one, not {type(source).__name__}")
        function = source.get("function", source)
        if source.get("type", "function") != "function" or not isinstance(function, Mapping) or "name" not in function:
            raise TypeError('a tool is defined as {"type": "function", "function": {"name": ..., "parameters": {...}}}')
        return cls(
            function["name"],
            function.get("description") or "",
            function.get("parameters") or {"type": "object", "properties": {}},
        )

    @classmethod
    def _of_function(cls, function: Callable[..., Any]) -> Self:
        name = getattr(function, "__name__", type(function).__name__)
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name} cannot be a tool's name; give a function with a name of its own")
        summary, described = _read_docstring(inspect.getdoc(function) or "")
        properties: dict[str, Any] = {}
        required: list[str] = []
        definitions: dict[str, Any] = {}
        for parameter, annotation in _parameters(function, name):
            try:
                schema = schema_of(annotation)
            except TypeError as error:
                raise TypeError(f"the parameter {parameter.name!r} of the tool {name!r}: {error}") from None
            definitions |= schema.pop("$defs", {})
            text = described.get(parameter.name)
            properties[parameter.name] = {**schema, "description": text} if text else schema
            if parameter.default is parameter.empty:
                required.append(parameter.name)
        parameters: dict[str, Any] = {"type": "object", "properties": properties, "required": required}
        if definitions:
            parameters["$defs"] = definitions
        return cls(name, summary, parameters, function)

    @property
    def definition(self) -> dict[str, Any]:
        """The tool in OpenAI's form."""
        function: dict[str, Any] = {"name": self.name}
        if self.description:
            function["description"] = self.description
        return {"type": "function", "function": {**function, "parameters": dict(self.parameters)}}

    def call(self, arguments: str) -> Any:
        """What the function returns for `arguments`, JSON text; a coroutine, if it is a coroutine function.

        Raises:
            ValueError: `arguments` is no JSON object, or does not fit the function's parameters.
            Exception: what the function raises.
        """
        if self.function is None:
            raise TypeError(f"the tool {self.name!r} has no function to call")
        try:
            given = peer_json.loads(arguments or "{}")
        except ValueError as error:
            raise ValueError(f"the arguments are no JSON: {error}") from None
        if not isinstance(given, dict):
            raise ValueError(f"the arguments must be a JSON object, not {arguments:.60}")  # noqa: TRY004
        known = {parameter.name: (parameter, kind) for parameter, kind in _parameters(self.function, self.name)}
        for name in given:
            if name not in known:
                raise ValueError(f"there is no parameter {name!r}.{close_names(name, known)}")
        for name, (parameter, _) in known.items():
            if name not in given and parameter.default is parameter.empty:
                raise ValueError(f"the parameter {name!r} is missing")
        values = {name: value_of(known[name][1], value, name) for name, value in given.items()}
        placed = [
            values.pop(name)
            for name, (parameter, _) in known.items()
            if parameter.kind is parameter.POSITIONAL_ONLY and name in values
        ]
        return self.function(*placed, **values)


def _text(what: str, value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{what} must be a str, not {type(value).__name__}")
    return value


def check_tools(value: Sequence[Any]) -> tuple[Tool, ...]:
    """A request's tools.

    Raises:
        TypeError, ValueError: one is none, or two have one name.
    """
    tools = tuple(map(Tool.of, value))
    names = [tool.name for tool in tools]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"two tools are called {name!r}")
    return tools


def check_tool_choice(value: Any) -> str | dict[str, Any]:
    """A request's ``tool_choice``: "auto", "none", "required", or OpenAI's form of one tool.

    Raises:
        TypeError: it is none of these, a tool's name, a function or a :class:`Tool`.
    """
    if isinstance(value, Mapping):
        function = value.get("function")
        name = function.get("name") if isinstance(function, Mapping) else value.get("name")
    else:
        name = value.name if isinstance(value, Tool) else value if isinstance(value, str) else None
        name = getattr(value, "__name__", None) if name is None and callable(value) else name
        if name in _CHOICES:
            return str(name)
    if not isinstance(name, str):
        raise TypeError(f'tool_choice must be "auto", "none", "required" or one tool, not {value!r}')
    return {"type": "function", "function": {"name": name}}


def _parameters(function: Callable[..., Any], name: str) -> list[tuple[inspect.Parameter, Any]]:
    """The parameters that a model can give, each with its annotation."""
    try:
        signature = inspect.signature(function)
        annotated = function if inspect.isroutine(function) else getattr(function, "__call__", function)  # noqa: B004
        hints = typing.get_type_hints(annotated, include_extras=True)
    except (NameError, TypeError, ValueError) as error:
        raise TypeError(f"the signature of the tool {name!r} cannot be read: {error}") from error
    found = []
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            continue
        if parameter.kind is parameter.VAR_POSITIONAL:
            raise TypeError(f"the tool {name!r} has *{parameter.name}, which a model cannot give; name its parameters")
        found.append((parameter, hints.get(parameter.name, parameter.annotation)))
    return found


# Docstrings -------------------------------------------------------------------------------------------

_SECTION: Final = re.compile(r"(?i)^(args|arguments|parameters|params|keyword args|other parameters)\s*:?\s*$")
_OTHER_SECTION: Final = re.compile(
    r"(?i)^(returns?|yields?|raises|examples?|notes?|see also|references|attributes|warnings?|todo)\s*:?\s*$"
)
_GOOGLE: Final = re.compile(r"^\*{0,2}(\w+)\s*(?:\([^)]*\))?\s*:\s*(.*)$")
_NUMPY: Final = re.compile(r"^\*{0,2}(\w+)\s*(?::.*)?$")
_SPHINX: Final = re.compile(r"^:param\s+(?:[^:]*\s)?\*{0,2}(\w+)\s*:\s*(.*)$")


def _read_docstring(doc: str) -> tuple[str, dict[str, str]]:
    """What a function does, and what its parameters are."""
    summary: list[str] = []
    described: dict[str, list[str]] = {}
    section, current, indent = "summary", "", 0
    lines = doc.splitlines()
    for number, line in enumerate(lines):
        text = line.strip()
        depth = len(line) - len(line.lstrip())
        sphinx = _SPHINX.match(text)
        if sphinx:
            section, current, indent = "sphinx", sphinx[1], depth
            described[current] = [sphinx[2]]
        elif depth == 0 and (_SECTION.match(text) or _OTHER_SECTION.match(text) or text.startswith(":")):
            underlined = number + 1 < len(lines) and set(lines[number + 1].strip()) == {"-"}
            section = "other" if not _SECTION.match(text) else "numpy" if underlined else "google"
            current = ""
        elif section == "summary":
            summary.append(text)
        elif text and section != "other" and set(text) != {"-"}:
            named = {"google": _GOOGLE, "numpy": _NUMPY}.get(section)
            match = named.match(text) if named and (not current or depth <= indent) else None
            if match:
                current, indent = match[1], depth
                described[current] = [match[2]] if section == "google" else []
            elif current:
                described[current].append(text)
    texts = {name: " ".join(filter(None, parts)) for name, parts in described.items()}
    return "\n".join(summary).strip(), {name: text for name, text in texts.items() if text}
