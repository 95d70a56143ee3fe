"""``lollms completion``: the script that makes a shell complete the lines of ``lollms``."""

from __future__ import annotations

import click

from lollms_core.cli.completing import SHELLS, script
from lollms_core.cli.help import examples
from lollms_core.cli.terminal import standard_output

__all__ = ["completion"]


@click.command(
    epilog=examples(
        'eval "$(lollms completion bash)"   # a line in ~/.bashrc',
        'eval "$(lollms completion zsh)"    # a line in ~/.zshrc, after compinit',
        "lollms completion fish > ~/.config/fish/completions/lollms.fish",
    )
)
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the script with which SHELL completes commands, options and names.

    The examples below install it, a line for each shell. Names of models are those that "lollms models" has last
    listed: no server is asked while a line is completed. Bash must be 4.4 or newer.
    """
    standard_output().write(script(ctx.find_root().command, shell))
