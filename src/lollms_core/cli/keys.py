"""``lollms keys``: keys set, listed and removed, and never shown."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from lollms_core.cli.groups import Commands
from lollms_core.cli.help import examples
from lollms_core.cli.options import json_option
from lollms_core.cli.terminal import never_show, print_json, print_table, say, standard_output

if TYPE_CHECKING:
    from lollms_core.redaction import Secret

__all__ = ["keys"]


@click.group(
    cls=Commands,
    invoke_without_command=True,
    epilog=examples(
        "lollms keys set openai",
        "pass show work/openai | lollms keys set work",
        "lollms keys list",
    ),
)
def keys() -> None:
    """Keep the keys of services, each under a name.

    A profile names the key that its binding is given; the key of a binding's own name is given to that binding. The
    variable LOLLMS_KEY_NAME comes first, then the system's keyring, then a file that only you may read.
    """


@keys.command("set")
@click.argument("name")
@click.argument("more", nargs=-1, metavar="")
@click.option("--file", "in_file", is_flag=True, help="Keep it in the file, though there is a keyring.")
def set_key(name: str, more: tuple[str, ...], in_file: bool) -> None:
    """Keep a key, which is asked for, or comes through standard input."""
    if more:
        raise click.UsageError("a key is never given as an argument, where others see it: it is asked for, or piped in")
    from lollms_core.settings.keys import KeyStore
    from lollms_core.settings.profiles import check_key_name

    check_key_name(name)
    store = KeyStore()
    where = store.keep(name, _asked(name), in_file=in_file)
    if where == "keyring":
        say(f"the key {name!r} is kept in the system keyring")
    else:
        say(f"the key {name!r} is kept in {store.path}, which only you may read")
    if store.in_environment(name):
        from lollms_core.settings.keys import variable_of

        say(f"{variable_of(name)} is set, and comes first")


@keys.command("list")
@json_option
def list_keys(as_json: bool = False) -> None:
    """List the keys, masked, and where each is taken from."""
    from lollms_core.settings.keys import KeyStore

    store = KeyStore()
    stored = store.all()
    if as_json:
        print_json([{"name": k.name, "key": k.masked, "where": k.where, "variable": k.variable} for k in stored])
    elif stored:
        print_table(
            ("NAME", "KEY", "WHERE", "VARIABLE"),
            ((k.name, k.masked, k.where, k.variable) for k in stored),
        )
    else:
        say("no keys are kept; set one with: lollms keys set NAME")


@keys.command("remove")
@click.argument("name")
def remove_key(name: str) -> None:
    """Forget a key."""
    from lollms_core.settings.keys import KeyStore
    from lollms_core.settings.profiles import check_key_name

    check_key_name(name)
    store = KeyStore()
    where = store.remove(name)
    say(f"the key {name!r} is removed from {'the system keyring' if where == 'keyring' else store.path}")


@keys.command("path")
def print_path() -> None:
    """Print where the file of keys is, or would be."""
    from lollms_core.settings.keys import KeyStore

    standard_output().write(f"{KeyStore().path}\n")


def _asked(name: str) -> Secret:
    """The key, from a prompt that does not show it, or from standard input.

    Raises:
        click.UsageError: there is none.
        click.Abort: the user has ended the prompt.
    """
    from lollms_core.redaction import Secret

    if sys.stdin is None:
        raise click.UsageError("there is no key: standard input is closed")
    if sys.stdin.isatty():
        key = Secret(click.prompt(f"Key {name}", hide_input=True, err=True).strip())
    else:
        key = Secret(_piped().strip())
    if not key.reveal():
        raise click.UsageError("there is no key: type it where it is asked for, or pipe it in")
    never_show(key.reveal())
    return key


def _piped() -> str:
    try:
        return sys.stdin.read()
    except UnicodeDecodeError:
        pass  # the error holds what was read
    raise click.UsageError("what is piped in is no key: it is not text")
