"""A chat on a terminal."""

from __future__ import annotations

import contextlib
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import click

from lollms_core.cli.chat import commands
from lollms_core.cli.chat.prompting import new_prompt
from lollms_core.cli.chat.rendering import Answer, new_console
from lollms_core.cli.chat.saving import autosave
from lollms_core.cli.terminal import harmless, one_line

if TYPE_CHECKING:
    from rich.console import Console

    from lollms_core.cli.chat.session import Session, Show, Turn

__all__ = ["chat_on_terminal"]


def chat_on_terminal(session: Session) -> None:
    """Read messages and commands until the user leaves."""
    prompt = new_prompt(session)
    console = new_console()
    model = session.model
    _tell(f"using {session.name}" + (f", model {model}" if model else "") + "; /help tells more")
    while True:
        try:
            text = prompt.prompt()
        except KeyboardInterrupt:
            _tell("Ctrl-D or /exit leaves")
            continue
        except EOFError:
            return
        try:
            if text.strip() and not _take(session, text, console):
                return
        except KeyboardInterrupt:
            _tell("stopped")
        except BrokenPipeError:
            raise
        except click.ClickException as error:
            _tell(error.format_message())
        except Exception as error:  # noqa: BLE001 - whatever a binding or a tool raises, the chat goes on
            from lollms_core.cli.app import describe

            _tell(describe(error))


def _take(session: Session, text: str, console: Console) -> bool:
    """Do what `text` says; False if it says to leave."""
    command = commands.split(text)
    if command is None:
        _turn(session, console, lambda show: session.ask(text, show))
        return True
    reply = commands.run(session, *command)
    for line in reply.lines:
        _print(line)
    if reply.ask_again:
        _turn(session, console, session.retry)
    return not reply.leave


def _turn(session: Session, console: Console, ask: Callable[[Show], Turn]) -> None:
    with _no_echo(), Answer(console) as answer:
        turn = ask(answer.show)
    console.out("", highlight=False)
    if turn.error is not None:
        from lollms_core.cli.app import describe

        _tell(describe(turn.error) + " (/retry asks again)")
    elif turn.interrupted:
        _tell("stopped" if turn.kept else "stopped before there was an answer; /retry asks again")
    elif turn.note:
        _tell(turn.note)
    autosave(session, _tell)


def _tell(text: object) -> None:
    """One message in the form of all our lines."""
    _print(f"lollms: {one_line(text)}")


def _print(line: str) -> None:
    """A line on stderr, broken between words where that is a terminal."""
    text = harmless(line)
    if sys.stderr is not None and sys.stderr.isatty():
        width = max(20, shutil.get_terminal_size().columns - 1)
        parts = text.splitlines() or [""]
        text = "\n".join(_wrapped(part, width) for part in parts)
    print(text, file=sys.stderr, flush=True)  # noqa: T201


def _wrapped(line: str, width: int) -> str:
    if len(line) <= width:  # also what is aligned with blanks
        return line
    return textwrap.fill(line, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


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
