"""The line that the user types: editing, history, several lines, completion."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion, PathCompleter
from prompt_toolkit.document import Document
from prompt_toolkit.enums import DEFAULT_BUFFER
from prompt_toolkit.filters import has_focus
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

from lollms_core.cli.chat.commands import COMMANDS
from lollms_core.cli.terminal import quiet_log, say

if TYPE_CHECKING:
    from lollms_core.cli.chat.session import Session

__all__ = ["ChatCompleter", "PrivateHistory", "history_file", "new_prompt"]


def history_file() -> Path:
    """What was typed in earlier chats: ``chat_history`` in the user's state directory of lollms."""
    import platformdirs

    return platformdirs.user_state_path("lollms", appauthor=False) / "chat_history"


class PrivateHistory(FileHistory):
    """A history in a file that only this user may read.

    Raises:
        OSError: the file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600))
        path.chmod(0o600)
        super().__init__(str(path))
        self._told = False

    def store_string(self, string: str) -> None:
        try:
            super().store_string(string)
        except OSError as error:
            if not self._told:
                self._told = True
                say(f"the history of what you type cannot be saved: {error}")


def _history() -> History:
    path = history_file()
    try:
        return PrivateHistory(path)
    except OSError as error:
        say(f"what you type will not be remembered: {path}: {error.strerror or error}")
        return InMemoryHistory()


class ChatCompleter(Completer):
    """Names of commands, of files, and of the binding's models."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._paths = PathCompleter(expanduser=True)
        self._models: list[str] | None = None

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        text = document.text_before_cursor
        if not text.startswith("/") or "\n" in text:
            return
        name, blank, argument = text[1:].partition(" ")
        if not blank:
            for command in COMMANDS:
                if command.startswith(name):
                    yield Completion(command, -len(name), display_meta=COMMANDS[command].help)
            return
        takes = COMMANDS[name].takes if name in COMMANDS else ""
        if takes == "file":
            yield from self._paths.get_completions(Document(argument.lstrip()), complete_event)
        elif takes == "model":
            wanted = argument.lstrip()
            yield from (Completion(model, -len(wanted)) for model in self._listed() if model.startswith(wanted))

    def _listed(self) -> list[str]:
        """The binding's models, asked for once; none if it cannot tell."""
        if self._models is None:
            try:
                with quiet_log():
                    entries = self._session.binding.listModels()
                names = (entry.get("model_name") if isinstance(entry, dict) else entry for entry in entries)
                self._models = [str(name) for name in names if name]
            except Exception:  # noqa: BLE001 - whatever an author's listing raises, nothing can be offered then
                self._models = []
        return self._models


def _keys() -> KeyBindings:
    keys = KeyBindings()
    typing = has_focus(DEFAULT_BUFFER)

    @keys.add("enter", filter=typing)
    def _(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        if buffer.document.is_cursor_at_the_end and buffer.text.endswith("\\"):
            buffer.delete_before_cursor()
            buffer.newline(copy_margin=False)
        else:
            buffer.validate_and_handle()

    @keys.add("escape", "enter", filter=typing)
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.newline(copy_margin=False)

    @keys.add("c-c", filter=typing)
    def _(event: KeyPressEvent) -> None:
        if event.current_buffer.text:
            event.current_buffer.reset()
        else:
            event.app.exit(exception=KeyboardInterrupt())

    return keys


def new_prompt(session: Session) -> PromptSession[str]:
    """What reads a message or a command of any number of lines.

    It raises KeyboardInterrupt for Ctrl-C where nothing is typed, and EOFError for Ctrl-D there.
    """
    return PromptSession(
        "> ",
        multiline=True,
        prompt_continuation="  ",
        history=_history(),
        completer=ChatCompleter(session),
        complete_in_thread=True,
        complete_while_typing=False,
        key_bindings=_keys(),
        reserve_space_for_menu=4,
    )
