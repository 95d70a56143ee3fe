"""``lollms profiles``: named bindings with model and options, listed, shown and changed."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import click

from lollms_core.cli.groups import Commands
from lollms_core.cli.help import examples
from lollms_core.cli.options import Wanted, binding_options, bindings_dir_option, json_option, option_option
from lollms_core.cli.terminal import print_json, print_table, say, standard_output

if TYPE_CHECKING:
    from lollms_core.cli.choices import Choice
    from lollms_core.settings.editing import Place
    from lollms_core.settings.profiles import Profile

__all__ = ["profiles"]

_NAME = re.compile(r"\w[\w.-]{0,63}")


@click.group(
    cls=Commands,
    invoke_without_command=True,
    epilog=examples(
        "lollms profiles set local -b llamacpp -m smollm2 -o temperature=0.2",
        'lollms generate -p local "Why is the sky blue?"',
        "lollms profiles default local",
        "lollms profiles show --origin",
    ),
)
def profiles() -> None:
    """Give a name to a binding with its model and options.

    They stand in config.toml, in the configuration folder or where LOLLMS_CONFIG says. Flags come first, then the
    environment (LOLLMS_PROFILE, LOLLMS_BINDING, LOLLMS_MODEL, LOLLMS_SYSTEM, LOLLMS_OPTIONS), then the profile.
    """


# Looking ----------------------------------------------------------------------------------------------


@profiles.command("list")
@json_option
def list_profiles(as_json: bool = False) -> None:
    """List the profiles."""
    from lollms_core.settings.profiles import read_settings

    settings = read_settings()
    found = settings.profiles.values()
    if as_json:
        print_json([{**_document(one), "default": one.name == settings.default} for one in found])
    elif found:
        print_table(
            ("NAME", "BINDING", "MODEL", "KEY", "OPTIONS", "DEFAULT"),
            (
                (p.name, p.binding, p.model, p.key, _pairs(p.options), "default" if p.name == settings.default else "")
                for p in found
            ),
        )
    else:
        say(f"there are no profiles in {settings.path}; make one with: lollms profiles set NAME -b BINDING")


@profiles.command("show")
@click.argument("name", required=False)
@binding_options
@click.option("--origin", is_flag=True, help="What a command would use, and where each value comes from.")
@json_option
def show_profile(wanted: Wanted, name: str | None, origin: bool, as_json: bool) -> None:
    """Show a profile, the default one unless named."""
    name = wanted.profile if name is None else name
    if not origin:
        _show(name, as_json)
        return
    from lollms_core.cli.choices import choose

    choice = choose(Wanted(wanted.binding, wanted.model, wanted.options, wanted.bindings_dir, name))
    for note in choice.notes:
        say(note)
    rows = list(_origins(choice))
    if as_json:
        print_json({what: {"value": value, "origin": where} for what, value, where in rows})
    else:
        print_table(("NAME", "VALUE", "ORIGIN"), ((what, _shown(value), where) for what, value, where in rows))


def _show(name: str | None, as_json: bool) -> None:
    from lollms_core.settings.profiles import read_settings

    settings = read_settings()
    name = settings.default if name is None else name
    if name is None:
        raise click.UsageError("there is no default profile: name one, or choose it with: lollms profiles default NAME")
    document = _document(settings.profile(name))
    if as_json:
        print_json(document)
        return
    options = document.pop("options")
    rows = [(what, value) for what, value in document.items() if value is not None]
    print_table(("NAME", "VALUE"), [*rows, *((f"options.{key}", _shown(value)) for key, value in options.items())])


def _origins(choice: Choice) -> Iterable[tuple[str, Any, str]]:
    """What is used, its value, and where that comes from."""
    for name in ("profile", "binding", "model", "system", "key"):
        yield name, *getattr(choice, name)
    yield from _key_itself(choice)
    given: dict[str, Any] = {}
    for key, text in choice.pairs:
        given[key] = f"{given[key]}, {text}" if key in given else text
    options = _masked({**choice.stored, **given})
    for key in sorted(options):
        yield f"options.{key}", options[key], choice.origins[key]


def _key_itself(choice: Choice) -> Iterable[tuple[str, Any, str]]:
    """The key that the binding would be given, masked."""
    name = choice.key.value or choice.binding.value
    if name is None:
        return
    from lollms_core.settings.keys import KeyStore

    for stored in KeyStore().all():
        if stored.name == name:
            where = f"environment {stored.variable}" if stored.where == "environment" else f"the keys' {stored.where}"
            yield "service_key", stored.masked, where
            return
    if choice.key.value is not None:
        yield "service_key", None, f"not set: lollms keys set {name}"


def _document(profile: Profile) -> dict[str, Any]:
    fields = {name: getattr(profile, name) for name in ("name", "binding", "model", "system", "key")}
    return {**fields, "options": _masked(profile.options)}


def _masked(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options, with what is a key by its name hidden: a header, or an option that the binding's author calls so."""
    from lollms_core.discovery.reports import secrets_in
    from lollms_core.redaction import Redaction

    return dict(Redaction(secrets_in(options)).value(dict(options)))


def _pairs(options: Mapping[str, Any]) -> str:
    return " ".join(f"{key}={_shown(value)}" for key, value in _masked(options).items())


def _shown(value: Any) -> Any:
    return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)


# Changing ---------------------------------------------------------------------------------------------


@profiles.command("set")
@click.argument("name")
@click.option("-b", "--binding", metavar="NAME", help="The binding.")
@click.option("-m", "--model", metavar="NAME", help="The model.")
@click.option("-s", "--system", metavar="TEXT", help="A system prompt.")
@click.option("--key", metavar="NAME", help="The name of the key for the binding, kept with: lollms keys set NAME")
@option_option
@bindings_dir_option
def set_profile(name: str, options: tuple[str, ...], bindings_dir: str | None, **fields: str | None) -> None:
    """Make a profile, or change what is given of it."""
    from lollms_core.settings.editing import change_settings
    from lollms_core.settings.profiles import Profile, check_key_name, read_settings

    if not _NAME.fullmatch(name):
        raise click.UsageError(
            "a profile's name begins with a letter or digit, and has letters, digits, '-', '_' and '.'"
        )
    given = {field: value for field, value in fields.items() if value is not None}
    if not given and not options:
        raise click.UsageError("there is nothing to set: give -b, -m, -s, --key or -o")
    if "key" in given:
        check_key_name(given["key"])
    settings = read_settings()
    profile = settings.profiles.get(name, Profile(name))
    typed = {}
    if options or "binding" in given:
        typed = _typed(profile, given.get("binding", profile.binding), options, bindings_dir)
    changes: dict[Place, Any] = {("profiles", name, field): value for field, value in given.items()}
    changes |= {("profiles", name, "options", key): value for key, value in typed.items()}
    change_settings(settings.path, changes)
    say(f"the profile {name!r} is kept in {settings.path}")
    if "key" in given:
        _say_if_unset(given["key"])


@profiles.command("unset")
@click.argument("name")
@click.argument("what", nargs=-1, required=True, metavar="WHAT...")
def unset_profile(name: str, what: tuple[str, ...]) -> None:
    """Take the binding, model, system, key or an option out of a profile."""
    from lollms_core.errors import close_names
    from lollms_core.settings.editing import REMOVED, change_settings
    from lollms_core.settings.profiles import FIELDS, read_settings

    settings = read_settings()
    profile = settings.profile(name)
    places = {field: (field,) for field in FIELDS if getattr(profile, field) is not None}
    options = {key: ("options", key) for key in profile.options}
    known = options | places | {f"options.{key}": place for key, place in options.items()}
    for each in what:
        if each not in known:
            raise click.UsageError(f"the profile {name!r} has no {each!r}.{close_names(each, known)}")
    change_settings(settings.path, {("profiles", name, *known[each]): REMOVED for each in what})


@profiles.command("remove")
@click.argument("name")
def remove_profile(name: str) -> None:
    """Remove a profile; the default one leaves none in its place."""
    from lollms_core.settings.editing import REMOVED, change_settings
    from lollms_core.settings.profiles import read_settings

    settings = read_settings()
    settings.profile(name)
    is_default = settings.default == name
    gone = [("profiles", name), *([("default",)] if is_default else [])]
    change_settings(settings.path, dict.fromkeys(gone, REMOVED))
    say(f"the profile {name!r} is removed" + ("; there is no default profile now" if is_default else ""))


@profiles.command("default")
@click.argument("name", required=False)
@click.option("--none", "no_default", is_flag=True, help="Have no default profile.")
def default_profile(name: str | None, no_default: bool) -> None:
    """Choose the profile for where neither -p nor -b is given, or print which it is."""
    from lollms_core.settings.editing import REMOVED, change_settings
    from lollms_core.settings.profiles import read_settings

    settings = read_settings()
    if name is not None and no_default:
        raise click.UsageError("give a name or --none, not both")
    if name is not None:
        change_settings(settings.path, {("default",): settings.profile(name).name})
    elif no_default:
        if settings.default is not None:
            change_settings(settings.path, {("default",): REMOVED})
    elif settings.default is not None:
        standard_output().write(f"{settings.default}\n")
    else:
        say("there is no default profile")


def _typed(profile: Profile, binding: str | None, options: Sequence[str], bindings_dir: str | None) -> dict[str, Any]:
    """The values of `options`, and a check that the binding takes them and what the profile has already.

    Raises:
        LollmsError, TypeError, ValueError: the binding can't be had, or does not take one.
        click.UsageError: a value of the wrong type, or a key.
    """
    from lollms_core.binding import LollmsLLMBinding
    from lollms_core.cli.managing import new_manager
    from lollms_core.cli.values import Kept, sort_options, split_pairs
    from lollms_core.request import REQUEST_FIELDS, GenerationRequest

    pairs = split_pairs(options)
    if "service_key" in dict(pairs):
        raise click.UsageError(
            "-o service_key: a key is never given as an argument: lollms keys set NAME, then --key NAME"
        )
    anyone: Any = LollmsLLMBinding  # abstract, and only asked what it declares
    cls = anyone if binding is None else new_manager(bindings_dir).binding_class(binding)
    said = dict.fromkeys(profile.options, f"profile {profile.name}")
    construct, parameters, _ = sort_options(cls, pairs, Kept(profile.options, said), strict=True)
    GenerationRequest(prompt="", **{key: value for key, value in parameters.items() if key in REQUEST_FIELDS})
    values = construct | parameters
    return {key: _storable(profile.name, key, values[key]) for key in dict(pairs)}


def _storable(profile: str, key: str, value: Any) -> Any:
    """`value` as TOML has it.

    Raises:
        click.UsageError: TOML has nothing for it.
    """
    if isinstance(value, PurePath):
        return str(value)
    if _has_none(value):
        remedy = f"lollms profiles unset {shlex.quote(profile)} {shlex.quote(key)}"
        raise click.UsageError(f"-o {key}: a profile cannot say none; to have nothing said of it: {remedy}")
    return value


def _has_none(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_has_none, value.values()))
    return value is None or (isinstance(value, list) and any(map(_has_none, value)))


def _say_if_unset(key: str) -> None:
    from lollms_core.errors import SettingsError
    from lollms_core.settings.keys import KeyStore

    try:
        known = KeyStore().has(key)
    except SettingsError as error:
        say(error)
    else:
        if not known:
            say(f"the key {key!r} is not set yet: lollms keys set {key}")
