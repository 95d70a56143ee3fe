"""What the shell is given when it completes a line: names, read from files; no plugin is imported, no server asked.

click does the work (https://click.palletsprojects.com/en/stable/shell-completion/). Its script for bash is replaced
here: that one splits the line at bash's word breaks, so that it can complete no model called ``qwen3:4b``.
"""

from __future__ import annotations

import logging
import os
import re
import shlex
from collections.abc import Iterable

import click
from click import shell_completion
from click.shell_completion import CompletionItem

from lollms_core.cli.app import COMPLETE

__all__ = ["SHELLS", "answer", "bindings", "folders", "models", "profiles", "script"]

SHELLS = ("bash", "zsh", "fish")

# The line up to the cursor goes to the program, which knows its own words; bash gets back what follows its last break.
_BASH = """\
%(complete_func)s() {
    local item
    COMPREPLY=()
    while IFS= read -r item; do
        case $item in
            plain,*) COMPREPLY+=("${item#plain,}") ;;
            dir,*) compopt -o dirnames ;;
            file,*) compopt -o default ;;
        esac
    done < <(COMP_LINE="${COMP_LINE:0:COMP_POINT}" COMP_BREAKS="$COMP_WORDBREAKS" \\
        %(complete_var)s=bash_complete "$1" 2>/dev/null </dev/null)
}
complete -o nosort -F %(complete_func)s %(prog_name)s
"""

_END = "\0"
_PLAIN = re.compile(r"([^\w@%+=:,./~-])")


class _Bash(shell_completion.ShellComplete):
    """Bash, from 4.4 on."""

    name = "bash"
    source_template = _BASH
    _before = ""
    _cut = 0
    _quoted = False

    def get_completion_args(self) -> tuple[list[str], str]:
        line = os.environ.get("COMP_LINE", "")
        # A mark at the cursor tells a word that is being written from one that is done.
        *words, last = shell_completion.split_arg_string(line + _END)
        incomplete = last.removesuffix(_END)
        option, equals, _ = incomplete.partition("=")
        # Of --model=NAME, click completes the name alone.
        self._before = option + equals if equals and option.startswith("--") else ""
        self._quoted = _in_quotes(line)
        if not self._quoted:
            breaks = set(os.environ.get("COMP_BREAKS", "")) - set(" \t\n\"'\\")
            self._cut = max((incomplete.rfind(sign) + 1 for sign in breaks), default=0)
        return words[1:], incomplete

    def format_completion(self, item: CompletionItem[str]) -> str:
        value = f"{self._before}{item.value}"[self._cut :]
        if not self._quoted:
            value = _PLAIN.sub(r"\\\1", value)
        return f"{item.type},{value}"


def _in_quotes(line: str) -> bool:
    try:
        shlex.split(line, comments=False)
    except ValueError as error:
        return "quotation" in str(error)
    return False


def script(command: click.Command, shell: str) -> str:
    """The script that makes `shell`, one of :data:`SHELLS`, complete the lines of `command`."""
    kind = _Bash if shell == "bash" else shell_completion.get_completion_class(shell)
    assert kind is not None
    return kind(command, {}, "lollms", COMPLETE).source()


def answer(command: click.Command, instruction: str) -> int:
    """Print what the shell has asked for; the exit status. Whatever goes wrong, the user's line is left alone.

    Args:
        command: the one whose line it is.
        instruction: what the variable :data:`COMPLETE` says.
    """
    logging.disable(logging.CRITICAL)
    shell_completion.add_completion_class(_Bash)
    try:
        return shell_completion.shell_complete(command, {}, "lollms", COMPLETE, instruction)
    except KeyboardInterrupt:
        return 130
    except BaseException:  # noqa: BLE001 - a broken file or plugin completes nothing
        return 1


# For `shell_complete` of options and arguments --------------------------------------------------------


def bindings(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """The names of bindings, from metadata and the bindings folder."""
    from lollms_core.cli.managing import new_manager

    with ctx.scope(cleanup=False):
        manager = new_manager(ctx.params.get("bindings_dir"))
    return _items(manager.get_available_bindings(), incomplete)


def models(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """The models of the binding named on the line, else of all, as ``lollms models`` has last listed them."""
    from lollms_core.cli.model_cache import remembered

    known = remembered()
    binding = ctx.params.get("binding")
    names = known.get(binding, []) if binding else dict.fromkeys(name for listed in known.values() for name in listed)
    return _items(names, incomplete)


def profiles(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """The names of profiles in the configuration file."""
    from lollms_core.errors import SettingsError
    from lollms_core.settings.profiles import read_settings

    try:
        known = read_settings().profiles
    except SettingsError:
        return []  # no place for errors
    return _items(known, incomplete)


def folders(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """Folders, which the shell knows."""
    return [CompletionItem(incomplete, type="dir")]


def _items(names: Iterable[str], incomplete: str) -> list[CompletionItem[str]]:
    # A name that is not printable could write to the terminal.
    return [CompletionItem(name) for name in names if name.startswith(incomplete) and name.isprintable()]
