"""``lollms models``: what each binding can load."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from lollms_core.cli.figures import bytes_of, count_of
from lollms_core.cli.options import bindings_dir_option, json_option, option_option
from lollms_core.cli.tables import Column
from lollms_core.cli.terminal import print_json, print_table, say

if TYPE_CHECKING:
    from lollms_core.binding import LollmsLLMBinding
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


@click.command()
@click.option("-b", "--binding", metavar="NAME", help="The binding; without it, all that are found.")
@option_option
@json_option
@bindings_dir_option
def models(binding: str | None, options: tuple[str, ...], as_json: bool, bindings_dir: str | None) -> None:
    """List the models of one binding, or of all.

    One that cannot be reached is told on standard error, and is no failure.

    \b
    lollms models
    lollms models -b ollama --json
    """  # noqa: D301 - click wants the character
    if options and binding is None:
        raise click.UsageError("-o says something about one binding: name it with -b")
    from lollms_core.cli.opening import new_manager

    manager = new_manager(bindings_dir)
    if binding is not None:
        listed = _models_if_reached(manager, binding, options)
    else:
        listed = [entry for name in _names(manager) for entry in _models_if_any(manager, name)]
    if as_json:
        print_json(listed or [])
    elif listed:
        print_table(COLUMNS, map(_row, listed))
    elif listed is not None:
        say("no models found")


def _models_if_reached(
    manager: LollmsLLMBindingManager, name: str, options: tuple[str, ...]
) -> list[dict[str, Any]] | None:
    """The models of the one binding that was asked for; None, after a line, if its backend cannot be reached."""
    from lollms_core.cli.app import describe
    from lollms_core.errors import BackendTimeout, BackendUnavailable

    try:
        return _models_of(manager, name, options)
    except (BackendTimeout, BackendUnavailable) as exc:
        say(f"{name}: {describe(exc)}")
        return None


def _names(manager: LollmsLLMBindingManager) -> Iterator[str]:
    """The usable bindings; of several names for the same class, the first."""
    seen = set()
    for record in manager.records():
        target = (record.distribution, record.module, record.attribute, record.path)
        if record.state in ("found", "loaded") and target not in seen:
            seen.add(target)
            yield record.name


def _models_if_any(manager: LollmsLLMBindingManager, name: str) -> list[dict[str, Any]]:
    from lollms_core.cli.app import describe
    from lollms_core.cli.values import own_options

    try:
        # Of a server that is not there nobody waits to hear it three times.
        once = ("retries=0",) if "retries" in own_options(manager.binding_class(name)) else ()
        return _models_of(manager, name, once)
    except KeyboardInterrupt:
        raise
    except BaseException as exc:  # noqa: BLE001 - a broken binding must not hide the others' models
        say(f"{name}: {describe(exc)}")
        return []


def _models_of(manager: LollmsLLMBindingManager, name: str, options: tuple[str, ...]) -> list[dict[str, Any]]:
    from lollms_core.cli.opening import open_named
    from lollms_core.cli.values import split_pairs

    with open_named(manager, name, None, split_pairs(options)).binding as opened:
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
