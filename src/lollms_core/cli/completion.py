r"""``lollms completion``: the script that makes a shell complete the lines of ``lollms``."""

from __future__ import annotations

import click

from lollms_core.cli.completing import SHELLS, script
from lollms_core.cli.terminal import standard_output

__all__ = ["completion"]


@click.command(
    epilog="""\b
To install it, add one line to the shell's own file:
  bash, ~/.bashrc:  eval "$(lollms completion bash)"
  zsh, ~/.zshrc:    eval "$(lollms completion zsh)"    (after compinit)
  fish:             lollms completion fish > ~/.config/fish/completions/lollms.fish

\b
Examples:
  lollms completion bash
  lollms completion bash > ~/.local/share/bash-completion/completions/lollms
"""
)
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the script with which SHELL completes commands, options and names.

    Names of models are those that "lollms models" has last listed: no server is asked while a line is completed. Bash
    must be 4.4 or newer.
    """
    standard_output().write(script(ctx.find_root().command, shell))
