"""What a command uses, from the first place that says it: flags, the environment, a profile, else nothing.

Options are merged one by one. Where the flags or the environment name another binding than the profile does, what is
the profile's binding's alone stays behind: its model, its key, and options that are no fields of a request.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from lollms_core.cli.values import Kept, split_pairs
from lollms_core.errors import SettingsError

if TYPE_CHECKING:
    from lollms_core.cli.options import Wanted
    from lollms_core.settings.profiles import Profile, Settings

__all__ = ["Choice", "Value", "choose"]

ENVIRONMENT = {name: f"LOLLMS_{name.upper()}" for name in ("profile", "binding", "model", "system", "options")}
"""The variables that say what flags say; one that is empty says nothing."""

_FLAGS = {"profile": "-p", "binding": "-b", "model": "-m"}
_DEFAULT = "default"


class Value(NamedTuple):
    """A value and the place that it comes from, in words; None from "default" where nothing is said."""

    value: str | None
    origin: str


_NOTHING = Value(None, _DEFAULT)


@dataclass(frozen=True, slots=True)
class Choice:
    """What to use, and why.

    Attributes:
        profile, binding, model, system, key: what is chosen; the key by its name.
        pairs: options as texts, of the flags and the environment.
        stored: the profile's options that count, typed.
        origins: where each option comes from.
        notes: what of the profile stays behind, in sentences.
    """

    profile: Value
    binding: Value
    model: Value
    system: Value
    key: Value
    pairs: tuple[tuple[str, str], ...]
    stored: Mapping[str, Any]
    origins: Mapping[str, str]
    notes: tuple[str, ...]

    @property
    def kept(self) -> Kept:
        """What does not come from flags, for opening the binding."""
        said = {key: origin for key, origin in self.origins.items() if origin != "flag -o"}
        return Kept(self.stored, said, self.key.value)


def choose(wanted: Wanted, environ: Mapping[str, str] | None = None) -> Choice:
    """What `wanted`, the environment and the profiles come to.

    The file of profiles is read only where one may apply: the default one does where no binding is named.

    Raises:
        SettingsError: the file cannot be used, or has no such profile.
        click.UsageError: an option that is no ``key=value``, or has a place of its own.
    """
    environ = os.environ if environ is None else environ
    flags = {"profile": wanted.profile, "binding": wanted.binding, "model": wanted.model}
    named = {name: _named(name, flags.get(name), environ) for name in ("profile", "binding", "model", "system")}
    given = split_pairs(wanted.options)
    variable = ENVIRONMENT["options"]
    others = [pair for pair in split_pairs(_words(environ.get(variable, "")), variable) if pair[0] not in dict(given)]
    origins = dict.fromkeys((key for key, _ in others), f"environment {variable}")
    origins |= dict.fromkeys((key for key, _ in given), "flag -o")
    pairs = (*others, *given)
    used, profile = _profile(named["profile"], named["binding"])
    if profile is None:
        nothing: dict[str, Any] = {}
        return Choice(used, named["binding"], named["model"], named["system"], _NOTHING, pairs, nothing, origins, ())
    return _merged(used, profile, named, pairs, origins)


def _merged(
    used: Value,
    profile: Profile,
    named: Mapping[str, Value],
    pairs: tuple[tuple[str, str], ...],
    origins: dict[str, str],
) -> Choice:
    place = f"profile {profile.name}"
    own = {name: Value(getattr(profile, name), place) for name in ("binding", "model", "system", "key")}
    own = {name: value if value.value is not None else _NOTHING for name, value in own.items()}
    options = {key: value for key, value in profile.options.items() if key not in dict(pairs)}
    binding = named["binding"] if named["binding"].value is not None else own["binding"]
    if binding.value is None:
        raise SettingsError(
            f"the profile {profile.name!r} names no binding: give one with -b, "
            f"or add it with: lollms profiles set {shlex.quote(profile.name)} -b NAME"
        )
    notes = []
    if profile.binding not in (None, binding.value):
        left = [name for name in ("model", "key") if own[name].value is not None and not _said(named, name)]
        own |= {"model": _NOTHING, "key": _NOTHING}
        strange = _only_of_binding(options)
        options = {key: value for key, value in options.items() if key not in strange}
        if left := [*left, *strange]:
            notes.append(f"the profile {profile.name!r} is for {profile.binding}: {', '.join(left)} left out")
    address = profile.options.get("host_address")
    if own["key"].value is not None and dict(pairs).get("host_address", address) != address:
        own["key"] = _NOTHING
        notes.append(f"the key of the profile {profile.name!r} is not sent to another address than the profile's")
    origins |= dict.fromkeys(options, place)
    model = named["model"] if _said(named, "model") else own["model"]
    system = named["system"] if _said(named, "system") else own["system"]
    return Choice(used, binding, model, system, own["key"], pairs, options, origins, tuple(notes))


def _said(named: Mapping[str, Value], name: str) -> bool:
    return name in named and named[name].value is not None


def _only_of_binding(options: Mapping[str, Any]) -> list[str]:
    from lollms_core.request import REQUEST_FIELDS

    return [key for key in options if key not in REQUEST_FIELDS]


def _named(name: str, flag: str | None, environ: Mapping[str, str]) -> Value:
    """What the flag says, else the environment."""
    if flag is not None:
        return Value(flag, f"flag {_FLAGS[name]}")
    variable = ENVIRONMENT[name]
    return Value(environ[variable], f"environment {variable}") if environ.get(variable) else _NOTHING


def _words(text: str) -> list[str]:
    """``a=1 b="two words"`` in its parts; backslashes stand for themselves, as paths have them.

    Raises:
        click.UsageError: a quote is not closed.
    """
    lexer = shlex.shlex(text, posix=True)
    lexer.whitespace_split, lexer.commenters, lexer.escape = True, "", ""
    try:
        return list(lexer)
    except ValueError:
        raise click.UsageError(f"{ENVIRONMENT['options']} has a quote that is not closed") from None


def _profile(named: Value, binding: Value) -> tuple[Value, Profile | None]:
    """The profile that applies, and what names it."""
    if named.value is None and binding.value is not None:
        return _NOTHING, None
    from lollms_core.settings.profiles import read_settings

    settings = read_settings()
    if named.value is not None:
        return named, settings.profile(named.value)
    if settings.default is None:
        return _NOTHING, None
    return Value(settings.default, "default in config.toml"), _default_of(settings)


def _default_of(settings: Settings) -> Profile:
    assert settings.default is not None
    try:
        return settings.profile(settings.default)
    except SettingsError as error:
        remedy = "choose another with: lollms profiles default NAME (or --none)"
        raise SettingsError(f"the default profile is missing: {error} You can {remedy}") from None
