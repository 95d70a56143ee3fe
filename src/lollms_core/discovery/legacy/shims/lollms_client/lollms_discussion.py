"""Stands for ``lollms_client.lollms_discussion``, whose names stand in annotations.

Discussions with their database, branches and artefacts belong to the application; a binding here is given messages.
"""

from __future__ import annotations

from typing import Any, NoReturn

from lollms_core.errors import CapabilityNotSupported

__all__ = ["LollmsDiscussion", "LollmsMessage"]


class LollmsMessage:
    """A name for annotations; it cannot be made.

    Raises:
        CapabilityNotSupported: always.
    """

    def __init__(self, *_: Any, **__: Any) -> None:
        raise CapabilityNotSupported(
            f"{type(self).__name__} is no part of lollms-core: bindings are given prompts or messages"
        )

    @classmethod
    def new_message(cls, *args: Any, **keywords: Any) -> NoReturn:
        cls(*args, **keywords)
        raise AssertionError("unreachable")


class LollmsDiscussion(LollmsMessage):
    """Likewise."""

    @classmethod
    def from_messages(cls, *args: Any, **keywords: Any) -> NoReturn:
        cls.new_message(*args, **keywords)
