"""The commands of a chat: lines that begin with a slash."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lollms_core.cli.terminal import quiet_log
from lollms_core.errors import close_names

if TYPE_CHECKING:
    from lollms_core.cli.chat.session import Session

__all__ = ["COMMANDS", "Command", "CommandError", "Reply", "run", "split"]


class CommandError(ValueError):
    """A command that is none, or lacks something; the text is one sentence."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a command leads to.

    Attributes:
        lines: what to tell the user.
        ask_again: whether the last question is to be asked again.
        leave: whether the chat is over.
    """

    lines: tuple[str, ...] = ()
    ask_again: bool = False
    leave: bool = False


@dataclass(frozen=True, slots=True)
class Command:
    """A command.

    Attributes:
        run: does it, given what stands behind its name.
        argument: what that is, for the help.
        help: what it does, in a line.
        takes: the kind of its argument, for completion: "", "file" or "model".
    """

    run: Callable[[Session, str], Reply]
    argument: str
    help: str
    takes: str = ""


def split(text: str) -> tuple[str, str] | None:
    """The command's name and its argument; None if `text` is a message.

    ``/etc/hosts`` is no command, and neither is what has a blank before its slash.
    """
    match = re.match(r"/([\w-]*)(?:\s+|$)", text)
    return None if match is None else (match[1], text[match.end() :].strip())


def run(session: Session, name: str, argument: str) -> Reply:
    """Do the command `name`.

    Raises:
        CommandError: there is none of that name, or its argument is missing.
        LollmsError, TypeError, ValueError, click.UsageError: why it cannot be done; nothing is changed.
    """
    command = COMMANDS.get(name)
    if command is None:
        close = close_names(name, COMMANDS).replace("mean ", "mean /").replace(", ", ", /")
        raise CommandError(f"there is no command /{name}.{close or ' /help lists them'}")
    return command.run(session, argument)


def _system(session: Session, text: str) -> Reply:
    conversation = session.conversation
    if not text:
        return Reply((f"system prompt: {conversation.system}" if conversation.system else "there is no system prompt",))
    conversation.system = "" if text == "off" else text
    return Reply(("the system prompt is gone" if text == "off" else "the system prompt counts from the next message",))


def _model(session: Session, name: str) -> Reply:
    if name:
        with quiet_log():  # the reason of a failure is logged too, and once is enough
            session.use_model(name)
    model = session.model
    return Reply((f"using {session.name}" + (f", model {model}" if model else ""),))


def _image(session: Session, name: str) -> Reply:
    if name == "off":
        session.images = []
    elif name:
        session.attach(name)
    if not session.images:
        return Reply(("no image goes with the next message",))
    return Reply((f"with the next message: {', '.join(source for source, _ in session.images)}",))


def _save(session: Session, name: str) -> Reply:
    return Reply((f"saved as {session.save(Path(name).expanduser() if name else None)}",))


def _load(session: Session, name: str) -> Reply:
    if not name:
        raise CommandError("/load takes a FILE")
    session.load(Path(name).expanduser())
    turns = sum(message["role"] == "user" for message in session.conversation.messages)
    return Reply((f"loaded {name}, turns: {turns}",))


def _retry(_session: Session, _argument: str) -> Reply:
    return Reply(ask_again=True)


def _tools(session: Session, names: str) -> Reply:
    from lollms_core.cli.functions import function_to_call

    if names == "off":
        session.use_tools(())
    elif names:
        session.use_tools([function_to_call(name) for name in names.split()])
    if not session.tools:
        return Reply(("the model may call no tools",))
    return Reply((f"the model may call {', '.join(tool.name for tool in session.tools)}",))


def _usage(session: Session, _: str) -> Reply:
    costs = session.costs
    if not costs.turns:
        return Reply(("nothing was asked yet",))

    def known(count: int | None, what: str) -> str:
        return f"{'an unknown number of' if count is None else count} {what}"

    last = costs.last_usage
    line = f"last turn: {known(last.prompt_tokens, 'prompt tokens')}"
    if last.cached_tokens:
        line += f" ({last.cached_tokens} of them cached)"
    line += f", {known(last.completion_tokens, 'completion tokens')}"
    if costs.last_timings.first_token is not None:
        line += f", first token after {costs.last_timings.first_token:.2f} s"
    if costs.last_timings.total is not None:
        line += f", {costs.last_timings.total:.2f} s in all"
    tokens = (
        f"{'at least ' * costs.unknown}{costs.prompt_tokens} prompt tokens, {costs.completion_tokens} completion tokens"
    )
    return Reply((line, f"this chat, turns: {costs.turns}, {tokens}, {costs.seconds:.2f} s"))


def _help(_session: Session, _argument: str) -> Reply:
    names = {name: f"/{name} {command.argument}".rstrip() for name, command in COMMANDS.items()}
    width = max(map(len, names.values()))
    lines = (f"{names[name].ljust(width)}  {command.help}" for name, command in COMMANDS.items())
    keys = (
        "Alt-Enter, or a \\ before Enter, begins a new line; text is pasted as it is.",
        "Ctrl-C stops an answer, Ctrl-D leaves. A blank before a / makes it a message.",
    )
    return Reply((*lines, *keys))


def _exit(_session: Session, _argument: str) -> Reply:
    return Reply(leave=True)


COMMANDS = {
    "system": Command(_system, "TEXT|off", "Set the system prompt; alone, show it."),
    "model": Command(_model, "NAME", "Go on with another model; alone, show it.", "model"),
    "image": Command(_image, "FILE|off", "Send an image with the next message.", "file"),
    "save": Command(_save, "[FILE]", "Save the conversation.", "file"),
    "load": Command(_load, "FILE", "Go on with a saved conversation.", "file"),
    "retry": Command(_retry, "", "Ask again, for another answer or after an error."),
    "tools": Command(_tools, "MODULE:FUNCTION|off", "Let the model call functions; alone, show them."),
    "usage": Command(_usage, "", "Tokens and seconds, last turn and in all."),
    "help": Command(_help, "", "Show this."),
    "exit": Command(_exit, "", "Leave."),
}
"""The commands by name, in the order of the help."""
