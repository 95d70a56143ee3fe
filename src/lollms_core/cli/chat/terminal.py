"""A chat on a terminal."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import click

from lollms_core.cli.chat import commands
from lollms_core.cli.chat.prompting import new_prompt
from lollms_core.cli.chat.rendering import Answer, new_console
from lollms_core.cli.chat.saving import autosave
from lollms_core.cli.terminal import harmless, say

if TYPE_CHECKING:
    from rich.console import Console

    from lollms_core.cli.chat.session import Session, Show, Turn

__all__ = ["chat_on_terminal"]


def chat_on_terminal(session: Session) -> None:
    """Read messages and commands until the user leaves."""
    prompt = new_prompt(session)
    console = new_console()
    model = session.model
    say(f"using {session.name}" + (f", model {model}" if model else "") + "; /help tells more")
    while True:
        try:
            text = prompt.prompt()
        except KeyboardInterrupt:
            say("Ctrl-D or /exit leaves")
            continue
        except EOFError:
            return
        try:
            if text.strip() and not _take(session, text, console):
                return
        except KeyboardInterrupt:
            say("stopped")
        except BrokenPipeError:
            raise
        except click.ClickException as error:
            say(error.format_message())
        except Exception as error:  # noqa: BLE001 - whatever a binding or a tool raises, the chat goes on
            from lollms_core.cli.app import describe

            say(describe(error))


def _take(session: Session, text: str, console: Console) -> bool:
    """Do what `text` says; False if it says to leave."""
    command = commands.split(text)
    if command is None:
        _turn(session, console, lambda show: session.ask(text, show))
        return True
    reply = commands.run(session, *command)
    for line in reply.lines:
        print(harmless(line), file=sys.stderr, flush=True)  # noqa: T201
    if reply.ask_again:
        _turn(session, console, session.retry)
    return not reply.leave


def _turn(session: Session, console: Console, ask: Callable[[Show], Turn]) -> None:
    with _no_echo(), Answer(console) as answer:
        turn = ask(answer.show)
    console.out("", highlight=False)
    if turn.error is not None:
        from lollms_core.cli.app import describe

        say(describe(turn.error) + " (/retry asks again)")
    elif turn.interrupted:
        say("stopped" if turn.kept else "stopped before there was an answer; /retry asks again")
    elif turn.note:
        say(turn.note)
    autosave(session)


@contextlib.contextmanager
def _no_echo() -> Iterator[None]:
    """What is typed during an answer does not get in between; it stands in the next prompt."""
    try:
        import termios
    except ImportError:  # Windows, whose console echoes only while it is read
        yield
        return
    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)
    quiet = [*before]
    quiet[3] &= ~termios.ECHO
    termios.tcsetattr(terminal, termios.TCSANOW, quiet)
    try:
        yield
    finally:
        termios.tcsetattr(terminal, termios.TCSANOW, before)
