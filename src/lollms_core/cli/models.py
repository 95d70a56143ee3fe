"""``lollms models``: what each binding can load."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from lollms_core.cli.figures import bytes_of, count_of
from lollms_core.cli.help import examples
from lollms_core.cli.options import (
    Wanted,
    bindings_dir_option,
    complete_bindings,
    json_option,
    option_option,
    profile_option,
)
from lollms_core.cli.tables import Column
from lollms_core.cli.terminal import print_json, print_table, say

if TYPE_CHECKING:
    from lollms_core.binding import LollmsLLMBinding
    from lollms_core.cli.choices import Choice
    from lollms_core.cli.values import Kept
    from lollms_core.manager import LollmsLLMBindingManager

__all__ = ["models"]

_log = logging.getLogger(__name__)

COLUMNS = (
    Column("BINDING", least=8),
    Column("MODEL", least=20, tail=True),
    Column("SIZE", order=5),
    Column("PARAMS", order=1),
    Column("QUANT", order=3),
    Column("CONTEXT", order=4),
    Column("CAN", least=12, order=2),
    Column("NOTE", least=12, order=6),
)
TELLING = ("vision", "tools", "reasoning", "json_schema", "logprobs", "embed")
"""Capabilities that not every model has."""


@click.command(
    epilog=examples(
        "lollms models",
        "lollms models -b ollama -o host_address=http://127.0.0.1:11434",
        "lollms models -p work",
        "lollms models --json | jq -r '.[].model_name'",
    )
)
@click.option(
    "-b",
    "--binding",
    metavar="NAME",
    shell_complete=complete_bindings,
    help="The binding; without it and -p, all that are found.",
)
@profile_option
@option_option
@json_option
@bindings_dir_option
def models(
    binding: str | None, profile: str | None, options: tuple[str, ...], as_json: bool, bindings_dir: str | None
) -> None:
    """List the models of one binding, or of all that have a server that answers, a key, or files.

    One that cannot be reached is told on standard error, and is no failure.
    """
    one = binding is not None or profile is not None
    if options and not one:
        raise click.UsageError("-o says something about one binding: name it with -b or -p")
    from lollms_core.cli.choices import choose
    from lollms_core.cli.managing import new_manager

    manager = new_manager(bindings_dir)
    listed: list[dict[str, Any]] | None
    if one:
        listed = _models_if_reached(manager, choose(Wanted(binding, None, options, bindings_dir, profile)))
    else:
        listed = _models_of_all(manager)
    _keep_names(listed or [])
    if as_json:
        print_json(listed or [])
    elif listed:
        print_table(COLUMNS, map(_row, listed))
    elif listed is not None:
        say("no models found")


def _models_if_reached(manager: LollmsLLMBindingManager, choice: Choice) -> list[dict[str, Any]] | None:
    """The models of the one binding that was asked for; None, after a line, if its backend cannot be reached."""
    from lollms_core.cli.app import describe
    from lollms_core.errors import BackendTimeout, BackendUnavailable

    for note in choice.notes:
        say(note)
    name = choice.binding.value
    assert name is not None
    try:
        return _models_of(manager, name, choice.pairs, choice.kept)
    except (BackendTimeout, BackendUnavailable) as exc:
        say(f"{name}: {describe(exc)}")
        return None


def _keep_names(listed: list[dict[str, Any]]) -> None:
    """Keep the names of what can be used, for the shell to complete -m with."""
    from lollms_core.cli.model_cache import remember

    names: dict[str, list[str]] = {}
    for entry in listed:
        known = names.setdefault(entry["binding"], [])
        if entry["model_name"] and not entry.get("error"):
            known.append(str(entry["model_name"]))
    remember(names)


def _names(manager: LollmsLLMBindingManager) -> Iterator[str]:
    """The usable bindings; of several names for the same class, the first."""
    seen = set()
    for record in manager.records():
        target = (record.distribution, record.module, record.attribute, record.path)
        if record.state in ("found", "loaded") and target not in seen:
            seen.add(target)
            yield record.name


def _models_of_all(manager: LollmsLLMBindingManager) -> list[dict[str, Any]]:
    """The models of all bindings but those that would not be answered, which one line tells."""
    listed: list[dict[str, Any]] = []
    silent: list[str] = []
    for name in _names(manager):
        found = _models_if_any(manager, name)
        if found is None:
            silent.append(name)
        else:
            listed += found
    if silent:
        say(
            f"not asked, as no server answers or no key is set: {', '.join(silent)} "
            "(-b NAME asks one, lollms doctor tells more)"
        )
    return listed


def _models_if_any(manager: LollmsLLMBindingManager, name: str) -> list[dict[str, Any]] | None:
    """The models of a binding that nobody named; none, after a line, if it fails, and None if it was not asked."""
    from lollms_core.cli.app import describe
    from lollms_core.cli.values import own_options

    try:
        if _is_silent(manager.binding_class(name), name):
            return None
        # Of a server that is not there nobody waits to hear it three times.
        once = [("retries", "0")] if "retries" in own_options(manager.binding_class(name)) else []
        return _models_of(manager, name, once)
    except KeyboardInterrupt:
        raise
    except BaseException as exc:  # noqa: BLE001 - a broken binding must not hide the others' models
        say(f"{name}: {describe(exc)}")
        return []


def _is_silent(cls: type[LollmsLLMBinding], name: str) -> bool:
    """Whether the binding itself says that it has no server that answers and no key; without a key nobody is asked."""
    from inspect import getattr_static

    from lollms_core.binding import LollmsLLMBinding
    from lollms_core.cli.handing import has_key

    can_tell = getattr_static(cls, "unconfigured") is not getattr_static(LollmsLLMBinding, "unconfigured")
    return can_tell and cls.unconfigured() is None and not has_key(name)


def _models_of(
    manager: LollmsLLMBindingManager, name: str, pairs: Sequence[tuple[str, str]], kept: Kept | None = None
) -> list[dict[str, Any]]:
    from lollms_core.cli.opening import open_named
    from lollms_core.cli.values import NOTHING_KEPT

    with open_named(manager, name, None, pairs, NOTHING_KEPT if kept is None else kept).binding as opened:
        # A binding of few pretensions may list names alone.
        entries = [one if isinstance(one, dict) else {"model_name": str(one)} for one in opened.listModels()]
        return [{"binding": name, "model_name": None, **entry, **_abilities(opened, entry)} for entry in entries]


def _abilities(binding: LollmsLLMBinding, entry: dict[str, Any]) -> dict[str, Any]:
    """What a listed model can do, unless its entry says so, or it is none that can be used."""
    if "supports" in entry or entry.get("error") or not entry.get("model_name"):
        return {}
    try:
        return {"supports": sorted(binding.capabilities_of(str(entry["model_name"])))}
    except Exception as exc:  # noqa: BLE001 - nobody asked about this model alone
        _log.debug("%s cannot tell what %s can do: %s", binding.binding_name, entry["model_name"], exc)
        return {}


def _row(entry: dict[str, Any]) -> tuple[object, ...]:
    # The names that our bindings use, and others' may.
    parameters = next((entry[name] for name in ("n_params", "parameters") if count_of(entry.get(name))), None)
    return (
        entry["binding"],
        entry["model_name"],
        bytes_of(entry.get("size")),
        count_of(parameters) or entry.get("parameter_size"),
        entry.get("quantization"),
        entry.get("ctx_size"),
        _told(entry.get("supports")),
        entry.get("error"),
    )


def _told(supports: object) -> str:
    """Of a model's capabilities those that tell it from others; each that chats can do text, for instance."""
    if not isinstance(supports, (list, tuple, set, frozenset)):
        return ""
    able = {str(one) for one in supports}
    first = ["chat"] if "chat" in able else ["text"] if "text" in able else []
    return ",".join([*first, *(one for one in TELLING if one in able)])
