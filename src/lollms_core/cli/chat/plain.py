"""A chat through pipes: each line that comes in is a turn, the answers go out."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from lollms_core.cli.chat.saving import autosave
from lollms_core.cli.terminal import TextOut, say
from lollms_core.events import Event, TextDelta, ToolCall

if TYPE_CHECKING:
    from lollms_core.cli.chat.session import Session

__all__ = ["chat_through_pipes"]


def chat_through_pipes(session: Session) -> bool:
    """Answer each line of standard input that is not blank; whether all have got an answer.

    Raises:
        click.UsageError: the input is no text.
        KeyboardInterrupt: the user has ended it; the answer so far is kept.
    """
    from lollms_core.cli.app import describe

    out = TextOut()
    well = True

    def show(event: Event) -> None:
        if isinstance(event, TextDelta):
            out.write(event.text)
        elif isinstance(event, ToolCall):
            out.end()
            say(f"calling {event.name}({event.arguments})")

    for line in _lines():
        turn = session.ask(line, show)
        out.end()
        autosave(session)
        if turn.error is not None:
            say(describe(turn.error))
            well = False
        elif turn.note:
            say(turn.note)
        if turn.interrupted:
            raise KeyboardInterrupt
    return well


def _lines() -> Iterator[str]:
    if sys.stdin is None:
        return
    try:
        for line in sys.stdin:
            if line.strip():
                yield line.rstrip("\r\n")
    except UnicodeDecodeError as exc:
        raise click.UsageError(f"standard input is not text in {exc.encoding}: {exc.reason} at {exc.start}") from None
