"""``lollms chat``: the command itself."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lollms_core.cli.help import examples
from lollms_core.cli.options import Wanted, binding_options
from lollms_core.cli.terminal import say

if TYPE_CHECKING:
    from lollms_core.binding import LollmsLLMBinding
    from lollms_core.cli.chat.conversation import Conversation

__all__ = ["chat"]

_log = logging.getLogger(__name__)


@click.command(
    epilog=examples(
        'lollms chat -b ollama -m llama3.2 -s "Be brief."',
        "lollms chat -c",
        'echo "Name a colour." | lollms chat',
    )
)
@binding_options
@click.option("-s", "--system", metavar="TEXT", help="A system prompt.")
@click.option(
    "-i", "--image", "images", metavar="FILE", multiple=True, help="An image for the first message; may be repeated."
)
@click.option(
    "--tool",
    "tools",
    metavar="MODULE:FUNCTION",
    multiple=True,
    help="A function that the model may call; may be repeated.",
)
@click.option("--resume", metavar="FILE", help="Go on with a saved conversation; the file itself stays as it is.")
@click.option("-c", "--continue", "go_on", is_flag=True, help="Go on with the conversation that was held last.")
def chat(
    wanted: Wanted,
    system: str | None,
    images: tuple[str, ...],
    tools: tuple[str, ...],
    resume: str | None,
    go_on: bool,
) -> None:
    """Talk with a model. In a pipe each line is a message, and only the answers go out."""
    if resume and go_on:
        raise click.UsageError("--resume and --continue exclude each other")
    on_terminal = _is_terminal()
    if on_terminal:
        _check_packages()
    from lollms_core.cli.chat.conversation import Conversation, last_saved
    from lollms_core.cli.chat.session import Session
    from lollms_core.cli.functions import functions_to_call
    from lollms_core.cli.opening import open_for_use

    file = Path(resume).expanduser() if resume else last_saved() if go_on else None
    conversation = Conversation() if file is None else Conversation.read(file)
    wanted = _with_saved(wanted, conversation)
    tell = _log.debug if on_terminal else say  # on a terminal the greeting says it
    with functions_to_call(tools) as functions, open_for_use(wanted, tell) as (binding, fields):
        conversation.binding = wanted.binding
        conversation.options = _parameters(type(binding), wanted.options)
        # A system prompt of a profile's: here it is the conversation's, which may be told another.
        of_profile = fields.pop("system_prompt", None)
        if system is not None:
            conversation.system = system
        elif of_profile is not None and not conversation.messages:
            conversation.system = of_profile
        session = Session(binding, fields, conversation, place=file if go_on else None)
        session.file = None if go_on else file
        session.use_tools(functions)
        for image in images:
            session.attach(image)
        if on_terminal:
            from lollms_core.cli.chat.terminal import chat_on_terminal

            chat_on_terminal(session)
        else:
            from lollms_core.cli.chat.plain import chat_through_pipes

            if not chat_through_pipes(session):
                raise click.exceptions.Exit(1)


def _is_terminal() -> bool:
    return all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stdout))


def _check_packages() -> None:
    """Whether what a terminal needs is installed, before a model is loaded.

    Raises:
        click.UsageError: it is not; the text has the command.
    """
    from importlib.util import find_spec

    missing = [name for name in ("prompt_toolkit", "rich") if find_spec(name) is None]
    if missing:
        raise click.UsageError(
            f'lollms chat needs {" and ".join(missing)} on a terminal: pip install "lollms-core[cli]"'
        )


def _with_saved(wanted: Wanted, conversation: Conversation) -> Wanted:
    """What the flags leave open, from the conversation: its binding; if it is that one, its model and its options.

    A profile that is named says all that itself.

    Raises:
        LollmsError: there is no such binding.
    """
    if wanted.profile or conversation.binding is None or wanted.binding not in (None, conversation.binding):
        return wanted
    saved = conversation.options
    if saved:
        from lollms_core.cli.managing import new_manager

        saved = _parameters(new_manager(wanted.bindings_dir).binding_class(conversation.binding), saved)
        for pair in set(conversation.options).difference(saved):
            say(f"the saved option {_key(pair)} is left out: give it with -o, if it is wanted")
    given = {_key(pair) for pair in wanted.options}
    return replace(
        wanted,
        binding=conversation.binding,
        model=wanted.model or conversation.model,
        options=(*(pair for pair in saved if _key(pair) not in given), *wanted.options),
    )


def _key(pair: str) -> str:
    return pair.partition("=")[0].strip().replace("-", "_")


def _parameters(cls: type[LollmsLLMBinding], pairs: Sequence[str]) -> tuple[str, ...]:
    """Those of `pairs` that a conversation's file may have: the parameters.

    What a constructor takes, or goes to the backend unchecked, it may not: keys are no part of a conversation, and a
    file that somebody sends must not say which server gets the user's.
    """
    from lollms_core.arguments import COMMON_NAMES
    from lollms_core.cli.values import own_options
    from lollms_core.redaction import is_secret_name
    from lollms_core.request import REQUEST_FIELDS

    known = (REQUEST_FIELDS | own_options(cls).keys()) - COMMON_NAMES - {"backend_options"}
    return tuple(pair for pair in pairs if (key := _key(pair)) in known and not is_secret_name(key))
