"""``lollms info``: what is known of a model."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import click

from lollms_core.cli.help import examples
from lollms_core.cli.options import Wanted, binding_options, complete_models, json_option

__all__ = ["info"]

_FIRST = ("binding_name", "model_name", "loaded", "ctx_size", "supports", "parameters")


@click.command(
    epilog=examples(
        "lollms info smollm2",
        "lollms info llama3.2 -b ollama --json",
    )
)
@click.argument("name", metavar="[MODEL]", required=False, shell_complete=complete_models)
@binding_options
@json_option
def info(wanted: Wanted, as_json: bool, name: str | None) -> None:
    """Tell what is known of MODEL, or of the one that would answer, and what it can do."""
    if name is not None:
        if wanted.model not in (None, name):
            raise click.UsageError(f"-m names {wanted.model}, and the argument {name}: give one of them")
        wanted = replace(wanted, model=name)
    from lollms_core.cli.opening import open_for_use
    from lollms_core.cli.terminal import print_json, standard_output, width_of_terminal

    with open_for_use(wanted) as (binding, _):
        found = {"binding_name": binding.binding_name, "model_name": binding.model_name, **binding.get_model_info()}
        if "supports" not in found:
            found["supports"] = sorted(binding.capabilities_of(binding.model_name))
    found = _without_secrets(found)
    if as_json:
        print_json(found)
        return
    standard_output().write("".join(f"{line}\n" for line in _lines(found, width_of_terminal())))


def _without_secrets(found: dict[str, Any]) -> dict[str, Any]:
    """What a binding tells, whatever its author put in."""
    from lollms_core.discovery.reports import scrub, secrets_in

    secrets = secrets_in(found)

    def clean(value: Any) -> Any:
        if isinstance(value, str):
            return scrub(value, secrets)
        if isinstance(value, Mapping):
            return {clean(str(name)): clean(item) for name, item in value.items()}
        if isinstance(value, (list, tuple, set, frozenset)):
            return [clean(item) for item in value]
        return value if value is None or isinstance(value, (bool, int, float)) else scrub(str(value), secrets)

    return {str(name): clean(value) for name, value in found.items()}


def _lines(found: Mapping[str, Any], width: int | None) -> list[str]:
    """A line for each fact; on a terminal, long lists go on below their beginning."""
    from lollms_core.cli.terminal import one_line

    names = [name for name in _FIRST if name in found] + [name for name in found if name not in _FIRST]
    facts = [(one_line(name), one_line(_shown(name, found[name]))) for name in names if found[name] is not None]
    indent = max(len(name) for name, _ in facts) + 2
    lines = []
    for name, text in facts:
        line = f"{name:{indent}}{text}"
        if width is None or len(line) <= width or width < 2 * indent:
            lines.append(line.rstrip())
        else:
            wrapped = textwrap.wrap(text, width - indent, break_long_words=False, break_on_hyphens=False)
            lines += [f"{name:{indent}}{wrapped[0]}", *(" " * indent + more for more in wrapped[1:])]
    return lines


def _shown(name: str, value: Any) -> str:
    from lollms_core.cli.figures import bytes_of, count_of

    if isinstance(value, bool):
        return "yes" if value else "no"
    if name in {"size", "size_vram"} and (size := bytes_of(value)):
        return size
    if name == "n_params" and (count := count_of(value)):
        return count
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={_shown('', item)}" for key, item in value.items()) or "none"
    if isinstance(value, list):
        return ", ".join(_shown("", item) for item in value) or "none"
    return str(value)
