"""Stands for ``lollms_client.lollms_types``."""

from __future__ import annotations

from enum import Enum

from lollms_core.events import MSG_TYPE

__all__ = ["ELF_COMPLETION_FORMAT", "MSG_TYPE"]


class ELF_COMPLETION_FORMAT(Enum):  # noqa: N801 - the name that legacy folders import
    """How a backend is asked: a plain completion, or chat messages."""

    Instruct = 0
    Chat = 1

    @classmethod
    def from_string(cls, format_string: str) -> ELF_COMPLETION_FORMAT:
        """The member of that name, in any case.

        Raises:
            ValueError: there is none.
        """
        for member in cls:
            if member.name.lower() == format_string.lower():
                return member
        raise ValueError(f"Invalid format string: {format_string}. Must be one of {[member.name for member in cls]}.")

    def __str__(self) -> str:
        return self.name
