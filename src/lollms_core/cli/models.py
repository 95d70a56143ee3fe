"""``lollms models``: what each binding can load."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from lollms_core.cli.help import examples
from lollms_core.cli.options import bindings_dir_option, complete_bindings, json_option, option_option
from lollms_core.cli.terminal import print_json, print_table, say

if TYPE_CHECKING:
    from lollms_core.manager import LollmsLLMBindingManager

__all__ = ["models"]


@click.command(
    epilog=examples(
        "lollms models",
        "lollms models -b ollama -o host_address=http://127.0.0.1:11434",
        "lollms models --json | jq -r '.[].model_name'",
    )
)
@click.option(
    "-b",
    "--binding",
    metavar="NAME",
    shell_complete=complete_bindings,
    help="The binding; without it, all that are found.",
)
@option_option
@json_option
@bindings_dir_option
def models(binding: str | None, options: tuple[str, ...], as_json: bool, bindings_dir: str | None) -> None:
    """List the models of one binding, or of all."""
    if options and binding is None:
        raise click.UsageError("-o says something about one binding: name it with -b")
    from lollms_core.cli.opening import new_manager

    manager = new_manager(bindings_dir)
    if binding is not None:
        listed = _models_of(manager, binding, options)
    else:
        listed = [entry for name in _names(manager) for entry in _models_if_any(manager, name)]
    _keep_names(listed)
    if as_json:
        print_json(listed)
    elif listed:
        print_table(
            ("BINDING", "MODEL", "SIZE", "CONTEXT", "NOTE"),
            ((e["binding"], e["model_name"], _size(e.get("size")), e.get("ctx_size"), e.get("error")) for e in listed),
        )
    else:
        say("no models found")


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
        entries = opened.listModels()
    # A binding of few pretensions may list names alone.
    dicts = (entry if isinstance(entry, dict) else {"model_name": str(entry)} for entry in entries)
    return [{"binding": name, "model_name": None, **entry} for entry in dicts]


def _size(size: object) -> str:
    """A file's size in bytes as people read it."""
    if not isinstance(size, (int, float)):
        return ""
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"
