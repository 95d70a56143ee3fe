"""``-o key=value``: where a key belongs and what type its value has, from the binding's own declarations."""

from __future__ import annotations

import inspect
import json
import sys
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath
from typing import Any, NamedTuple

import click

from lollms_core.arguments import COMMON_NAMES
from lollms_core.binding import LollmsLLMBinding
from lollms_core.errors import UnsupportedParameter
from lollms_core.other_names import close_parameters
from lollms_core.redaction import Hidden
from lollms_core.request import REQUEST_FIELDS, GenerationRequest

__all__ = [
    "NOTHING_KEPT",
    "Kept",
    "Rest",
    "Sorted",
    "constructor_keywords",
    "convert",
    "own_options",
    "sort_options",
    "split_pairs",
    "takes_text",
]

ELSEWHERE = {"model": "-m", "model_name": "-m", "images": "-i", "system_prompt": "-s", "stream": "--no-stream"}
"""Names that have an option of their own."""

_WORDS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


def split_pairs(pairs: Iterable[str], said: str = "-o") -> list[tuple[str, str]]:
    """``key=value`` strings as pairs.

    Args:
        pairs: the strings.
        said: where they come from, for messages.

    Raises:
        click.UsageError: one has no ``=``, or its key has an option of its own.
    """
    found = []
    for pair in pairs:
        key, equals, value = pair.partition("=")
        key = key.strip().replace("-", "_")
        if not equals or not key:
            raise click.UsageError(f"{said} takes KEY=VALUE, not {pair!r}")
        if key in ELSEWHERE:
            raise click.UsageError(f"{said} {key}: use {ELSEWHERE[key]}")
        found.append((key, value))
    return found


class Sorted(NamedTuple):
    """Where the given options belong.

    Attributes:
        construct: what the constructor spells out; it can go nowhere else.
        parameters: the request's fields and the binding's own options.
        as_defaults: whether the constructor takes the parameters too, as defaults of every call.
    """

    construct: dict[str, Any]
    parameters: dict[str, Any]
    as_defaults: bool


class Kept(NamedTuple):
    """What is said of a binding in another place than the flags.

    Attributes:
        options: a profile's, typed.
        said: where options come from that no flag gave, for messages.
        key: the name of the key that the binding is given, None for one of the binding's own name, if there is one.
    """

    options: Mapping[str, Any] = types.MappingProxyType({})
    said: Mapping[str, str] = types.MappingProxyType({})
    key: str | None = None


NOTHING_KEPT = Kept()


def sort_options(
    cls: type[LollmsLLMBinding], pairs: Sequence[tuple[str, str]], kept: Kept = NOTHING_KEPT, *, strict: bool = False
) -> Sorted:
    """Sort `pairs`, and the options of a profile that are not among them, by what `cls` declares, typed.

    A name that the constructor spells out goes there, then come the request's fields and the binding's own
    options. Other names go to a constructor of the author's own that takes any (``**kwargs``); where it hands them on
    to the contract's, which refuses what is not declared, `strict` has them refused here already.

    Raises:
        UnsupportedParameter: nothing of that name, with close ones.
        click.UsageError: a value that is not of the declared type.
    """
    keywords, rest = constructor_keywords(cls)
    fields = {name: hint for name, hint in _hints(GenerationRequest).items() if name in REQUEST_FIELDS}
    fields |= own_options(cls)
    construct: dict[str, Any] = Hidden()  # a key may be among them
    parameters: dict[str, Any] = {}
    given = {key for key, _ in pairs}
    stored = [(key, value) for key, value in kept.options.items() if key not in given]
    for key, said in [*stored, *pairs]:
        if key in keywords:
            target, hint = construct, keywords[key]
        elif key in fields:
            target, hint = parameters, fields[key]
        elif rest.anything and not (strict and rest.defaults):
            target, hint = construct, Any
        else:
            known = (keywords.keys() | fields.keys()) - ELSEWHERE.keys()
            where = f" ({kept.said[key]})" if key in kept.said else ""
            raise UnsupportedParameter(f"{cls.__name__} has no option {key!r}{where}.{close_parameters(key, known)}")
        # A profile's text is one already where the type has texts; else it stands for a path, say, or was written so.
        as_it_is = key not in given and (not isinstance(said, str) or takes_text(hint, said))
        value = said if as_it_is else convert(key, said, hint, kept.said.get(key, "-o"))
        # A list may be given piece by piece: -o stop=A -o stop=B.
        repeated = isinstance(value, list) and isinstance(target.get(key), list)
        target[key] = target[key] + value if repeated else value
    return Sorted(construct, parameters, rest.defaults)


def own_options(cls: type[LollmsLLMBinding]) -> dict[str, Any]:
    """The binding's own options with their types: declared in its TypedDict, or in its generate_text."""
    declared = _hints(cls.options) | {
        name: hint for name, hint in _hints(cls.generate_text).items() if name not in REQUEST_FIELDS
    }
    return {name: declared.get(name, Any) for name in cls._option_names()}


class Rest(NamedTuple):
    """What a constructor takes beside the names that it spells out.

    Attributes:
        defaults: request fields and own options, which reach the contract's constructor through ``**kwargs``.
        anything: names that its author alone knows, through a ``**kwargs`` of his own.
    """

    defaults: bool
    anything: bool


def constructor_keywords(cls: type[LollmsLLMBinding]) -> tuple[dict[str, Any], Rest]:
    """The names that a constructor spells out, its own and its parents', with their declared types; and the rest.

    A ``**kwargs`` is followed to the parent's constructor. Where that is the contract's, the names common to all
    bindings are among those spelled out.
    """
    keywords: dict[str, Any] = {}
    anything = False
    for parent in cls.__mro__:
        constructor = parent.__dict__.get("__init__")
        if constructor is None:
            continue
        if constructor is LollmsLLMBinding.__init__:
            common = {**dict.fromkeys(COMMON_NAMES, str), "verify_ssl_certificate": bool}
            return {**common, **keywords}, Rest(True, anything)
        hints = _hints(constructor)
        follow = False
        for name, parameter in list(inspect.signature(constructor).parameters.items())[1:]:
            if parameter.kind is parameter.VAR_KEYWORD:
                follow = anything = True
            elif parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY) and name != "binding_name":
                keywords.setdefault(name, hints.get(name, Any))
        if not follow:
            break
    return keywords, Rest(False, anything)


def _hints(declared: Any) -> dict[str, Any]:
    """Type hints by name; Any for one that can't be resolved, as for a name that only a type checker imports."""
    try:
        return typing.get_type_hints(declared)
    except Exception:  # noqa: BLE001 - evaluating an author's annotations may raise anything
        # One by one, so that an annotation which fails costs its own name alone.
        return {
            name: _hint(name, annotation, owner)
            for owner in reversed(getattr(declared, "__mro__", [declared]))
            for name, annotation in inspect.get_annotations(owner).items()
        }


def _hint(name: str, annotation: Any, owner: Any) -> Any:
    def holder() -> None: ...

    holder.__annotations__ = {name: annotation}
    try:
        return typing.get_type_hints(holder, globalns=vars(sys.modules[owner.__module__]))[name]
    except Exception:  # noqa: BLE001 - as above
        return Any


# Values -----------------------------------------------------------------------------------------------


class _NotOfType(ValueError):
    """The text is no value of this type; the message says what would be one."""


def takes_text(hint: Any, text: str) -> bool:
    """Whether `text` is itself a value of the declared type `hint`."""
    origin, members = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Required, typing.NotRequired, typing.Annotated):
        return takes_text(members[0], text)
    if origin in (typing.Union, types.UnionType):
        return any(takes_text(member, text) for member in members)
    if origin is typing.Literal:
        return text in members
    plain = origin or hint
    return plain in (str, object) or not isinstance(plain, type)


def convert(key: str, text: str, hint: Any, said: str = "-o") -> Any:
    """The value that `text` stands for where `hint` is the declared type; `said` is where it comes from.

    Raises:
        click.UsageError: none; the message names the key and what is expected.
    """
    try:
        return _convert(text, hint)
    except _NotOfType as exc:
        raise click.UsageError(f"{said} {key}={text}: {key} must be {exc}") from None


def _convert(text: str, hint: Any) -> Any:
    origin = typing.get_origin(hint)
    if origin in (typing.Required, typing.NotRequired, typing.Annotated):
        return _convert(text, typing.get_args(hint)[0])
    if origin in (typing.Union, types.UnionType):
        return _first_of(text, typing.get_args(hint))
    if origin is typing.Literal:
        return _choice(text, typing.get_args(hint))
    plain = origin or hint
    if isinstance(plain, type) and plain is not object:
        return _of_type(text, plain, typing.get_args(hint))
    return _json_or_text(text)


def _of_type(text: str, kind: type, arguments: tuple[Any, ...]) -> Any:
    if kind is bool:
        if text.lower() not in _WORDS:
            raise _NotOfType("true or false")
        return _WORDS[text.lower()]
    if kind is type(None):
        if text.lower() not in ("none", "null"):
            raise _NotOfType("none")
        return None
    if kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            raise _NotOfType("a whole number" if kind is int else "a number") from None
    if kind is str:
        return text
    if issubclass(kind, PurePath):
        return kind(text)
    if issubclass(kind, Mapping):
        value = _json_or_text(text)
        if not isinstance(value, dict):
            raise _NotOfType('a JSON object, {"name": value}')
        return value
    if issubclass(kind, (Sequence, set, frozenset)):
        value = _json_or_text(text)
        # One item may stand for itself: -o stop=END.
        return value if isinstance(value, list) else [_convert(text, arguments[0] if arguments else Any)]
    return _json_or_text(text)


# Narrow types first: every text is a str, and 1 is True only where no number is meant.
_NARROW_FIRST: tuple[Any, ...] = (type(None), int, float, bool)


def _width(member: Any) -> int:
    if member in _NARROW_FIRST:
        return _NARROW_FIRST.index(member)
    return len(_NARROW_FIRST) + (member is str)


def _first_of(text: str, members: tuple[Any, ...]) -> Any:
    reasons = []
    for member in sorted(members, key=_width):
        try:
            return _convert(text, member)
        except _NotOfType as exc:
            if member is not type(None):
                reasons.append(str(exc))
    raise _NotOfType(" or ".join(reasons))


def _choice(text: str, choices: tuple[Any, ...]) -> Any:
    for choice in choices:
        if text == str(choice):
            return choice
    raise _NotOfType("one of " + ", ".join(map(str, choices)))


def _json_or_text(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
