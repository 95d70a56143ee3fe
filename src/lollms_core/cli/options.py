"""Options that several commands have in common."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import click

__all__ = ["Wanted", "binding_options", "bindings_dir_option", "json_option", "option_option", "profile_option"]

bindings_dir_option = click.option(
    "--bindings-dir", metavar="DIR", help="A folder of bindings, in place of the one beside the configuration."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
option_option = click.option(
    "-o",
    "--option",
    "options",
    metavar="KEY=VALUE",
    multiple=True,
    help="A parameter (temperature=0.2), an option of the binding, or a keyword of its constructor; may be repeated.",
)
profile_option = click.option(
    "-p", "--profile", metavar="NAME", help="A profile of config.toml; without it and -b, the default one."
)
_binding_option = click.option(
    "-b", "--binding", metavar="NAME", help="The binding; without it, one that can answer is chosen."
)
_model_option = click.option(
    "-m", "--model", metavar="NAME", help="The model; without it, the newest that the binding has."
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a command's flags say of the binding to use.

    Attributes:
        binding: its name; None to choose one that can answer.
        model: the model's name; None for the one that the binding has in use, or its newest.
        options: ``key=value`` strings.
        bindings_dir: a folder of bindings; None for the one beside the configuration.
        profile: a profile's name; None for the default one, if no binding is named.
    """

    binding: str | None
    model: str | None
    options: tuple[str, ...]
    bindings_dir: str | None
    profile: str | None = None


def binding_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give `command` the options that say which binding it uses; it gets them as one :class:`Wanted`, ``wanted``."""

    @functools.wraps(command)
    def call(
        binding: str | None,
        model: str | None,
        options: tuple[str, ...],
        bindings_dir: str | None,
        profile: str | None,
        **others: Any,
    ) -> Any:
        return command(wanted=Wanted(binding, model, options, bindings_dir, profile), **others)

    for option in (bindings_dir_option, option_option, _model_option, _binding_option, profile_option):
        call = option(call)
    return call
