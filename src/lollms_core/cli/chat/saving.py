"""Saving after each turn."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from lollms_core.cli.chat.conversation import ConversationError
from lollms_core.cli.terminal import say

if TYPE_CHECKING:
    from lollms_core.cli.chat.session import Session

__all__ = ["autosave"]


def autosave(session: Session, tell: Callable[[object], None] = say) -> None:
    """Save the conversation in its place; where that fails, `tell` it: the chat goes on."""
    try:
        session.autosave()
    except ConversationError as error:
        tell(error)
