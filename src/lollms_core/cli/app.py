"""The group of commands: names and help from a table, modules imported when a command runs."""

from __future__ import annotations

import contextlib
import importlib
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import click

from lollms_core.cli.help import LollmsContext
from lollms_core.cli.leaving import leave, reader_left
from lollms_core.cli.terminal import harmless, log_said, say

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from lollms_core.discovery.entry_points import Declared

__all__ = ["describe", "lollms"]

COMPLETE = "_LOLLMS_COMPLETE"
"""The environment variable in which a shell that completes a line says what it wants; see ``completing``."""

COMMANDS = {
    "generate": "Answer a prompt: from the argument, from standard input, or both.",
    "chat": "Talk with a model; on a terminal with history, commands and Markdown.",
    "embed": "Turn texts into vectors.",
    "tokens": "Count the tokens of a text, or show them.",
    "models": "List the models of one binding, or of all.",
    "info": "Tell what is known of a model, and what it can do.",
    "pull": "Fetch a model.",
    "profiles": "Give a name to a binding with its model and options.",
    "keys": "Keep the keys of services, each under a name.",
    "bindings": "List the bindings that are installed or in the bindings folder.",
    "doctor": "Look at what is installed, what of it works, and say what to do.",
    "completion": "Print the script with which bash, zsh or fish completes lines.",
    "new-binding": "Write a new binding, to install, to change and to publish.",
    "check": "Check whether a binding keeps the contract, and print a report card.",
}
"""Name of each command, which is also its module's and its function's (``_`` for ``-``), and its line in ``--help``."""


class _Lollms(click.Group):
    """A group that imports a command when it is run, and ends in one line whatever happens."""

    context_class = LollmsContext

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*COMMANDS, *_others()]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in COMMANDS:
            name = cmd_name.replace("-", "_")
            command = getattr(importlib.import_module(f"lollms_core.cli.{name}"), name)
            assert isinstance(command, click.Command)
            command.context_class = LollmsContext
            return command
        from lollms_core.cli.external import load

        if not ctx.resilient_parsing:
            return load(cmd_name)
        # The shell completes a line: no place for errors, nor for what a plugin prints when it is imported.
        with contextlib.redirect_stdout(None), contextlib.suppress(click.ClickException):
            return load(cmd_name)
        return None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name, *rest = args
        command = self.get_command(ctx, name)
        if command is None and not ctx.resilient_parsing:
            from lollms_core.errors import close_names

            ctx.fail(f"there is no command {name!r}.{close_names(name, self.list_commands(ctx))}")
        return name if command else None, command, rest

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The table of commands; those of other distributions come from their metadata alone."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))
        if others := _others():
            with formatter.section("Commands of other packages"):
                formatter.write_dl([(name, harmless(point.origin)) for name, point in others.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem[str]]:
        """The commands, none of them imported, and the options."""
        from click.shell_completion import CompletionItem

        with ctx.scope(cleanup=False):
            lines = {**COMMANDS, **{name: harmless(point.origin) for name, point in _others().items()}}
        found = [CompletionItem(name, help=line) for name, line in lines.items() if name.startswith(incomplete)]
        return [*found, *click.Command.shell_complete(self, ctx, incomplete)]

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        try:
            return super().make_context(*args, **extra)
        except BrokenPipeError:  # while printing the help
            reader_left()
            raise click.exceptions.Exit(0) from None

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with log_said():
                return super().invoke(ctx)
        except BrokenPipeError:
            reader_left()
        except KeyboardInterrupt:
            raise click.exceptions.Exit(130) from None
        except (click.ClickException, click.exceptions.Exit, click.Abort, SystemExit):
            raise
        except BaseException as exc:
            # Whatever a plugin raises, the user gets one line.
            raise click.ClickException(describe(exc)) from exc

    def main(  # type: ignore[override]  # it always exits
        self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any
    ) -> NoReturn:
        """Run, with one line on stderr and status 1 for every error, and exit."""
        if instruction := os.environ.get(COMPLETE):
            from lollms_core.cli.completing import answer

            leave(answer(self, instruction))
        extra["standalone_mode"] = False
        try:
            code = super().main(args, prog_name or "lollms", **extra)
        except click.Abort:
            leave(130)
        except click.ClickException as exc:
            say(exc.format_message())
            leave(1)
        leave(code if isinstance(code, int) else 0)


def _others() -> dict[str, Declared]:
    """The commands of other distributions; none of them takes the place of one of ours."""
    from lollms_core.cli.external import commands

    return {name: declared for name, declared in commands().items() if name not in COMMANDS}


def describe(error: BaseException) -> str:
    """An error for the user: its message alone where it was written for people, else with its type."""
    from lollms_core.discovery.reports import one_line, scrub
    from lollms_core.errors import LollmsError

    if str(error) and isinstance(error, (LollmsError, OSError, TypeError, ValueError)):
        return scrub(str(error))
    return one_line(error)


def _print_version(ctx: click.Context, _param: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        from lollms_core import __version__

        click.echo(f"lollms {__version__}")
        ctx.exit()


@click.group(cls=_Lollms, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Print the version."
)
@click.option(
    "--no-plugins",
    is_flag=True,
    is_eager=True,  # so that it counts for --help, too
    help="Use nothing of other packages and no folder: no bindings, hooks, commands.",
)
@click.pass_context
def lollms(ctx: click.Context, no_plugins: bool) -> None:  # noqa: ARG001 - whoever asks finds it in the context
    """One command for every LLM backend that is installed."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())
