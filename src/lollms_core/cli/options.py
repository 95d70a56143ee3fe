"""Options that several commands have in common."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import click

__all__ = [
    "Wanted",
    "binding_options",
    "binding_without_model_options",
    "bindings_dir_option",
    "complete_bindings",
    "complete_models",
    "complete_profiles",
    "json_option",
    "no_plugins",
    "option_option",
    "profile_option",
]


def _completed(what: str) -> Callable[[click.Context, click.Parameter, str], list[Any]]:
    """The function `what` of ``completing``, which is imported when a shell completes a line."""

    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
        from lollms_core.cli import completing

        found: list[Any] = getattr(completing, what)(ctx, param, incomplete)
        return found

    return complete


complete_bindings = _completed("bindings")
complete_models = _completed("models")
complete_profiles = _completed("profiles")

bindings_dir_option = click.option(
    "--bindings-dir",
    metavar="DIR",
    shell_complete=_completed("folders"),
    help="A folder of bindings, in place of the one beside the configuration.",
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
    "-p",
    "--profile",
    metavar="NAME",
    shell_complete=complete_profiles,
    help="A profile of config.toml; without it and -b, the default one.",
)
_binding_option = click.option(
    "-b",
    "--binding",
    metavar="NAME",
    shell_complete=complete_bindings,
    help="The binding; without it, one that can answer is chosen.",
)
_model_option = click.option(
    "-m",
    "--model",
    metavar="NAME",
    shell_complete=complete_models,
    help="The model; without it, the newest that the binding has.",
)


def no_plugins() -> bool:
    """Whether ``lollms --no-plugins`` was given, in which case nothing of any other package or folder is used."""
    context = click.get_current_context(silent=True)
    return context is not None and bool(context.find_root().params.get("no_plugins"))


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
    return _with_options(command, _model_option)


def binding_without_model_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The same, for a command that takes the model's name another way, or none."""
    return _with_options(command)


def _with_options(command: Callable[..., Any], *model_option: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(command)
    def call(
        binding: str | None,
        options: tuple[str, ...],
        bindings_dir: str | None,
        profile: str | None,
        model: str | None = None,
        **others: Any,
    ) -> Any:
        return command(wanted=Wanted(binding, model, options, bindings_dir, profile), **others)

    for option in (bindings_dir_option, option_option, *model_option, _binding_option, profile_option):
        call = option(call)
    return call
