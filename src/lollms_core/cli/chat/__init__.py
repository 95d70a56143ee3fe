"""``lollms chat``: a conversation on a terminal, or through pipes.

:mod:`~lollms_core.cli.chat.session` is the chat itself, without a terminal.
"""

from __future__ import annotations

from lollms_core.cli.chat.command import chat

__all__ = ["chat"]
