"""What a look at an installation finds: how things stand, in words for people, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, get_args

__all__ = ["Finding", "State", "Subject"]

State: TypeAlias = Literal["ok", "absent", "warning", "problem"]
"""absent: something is not there and need not be; warning: something may not work; problem: something does not."""

Subject: TypeAlias = Literal["binding", "server", "models", "key"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        state: how it stands; see :data:`State`.
        text: what was found, in one line and without secrets.
        remedy: what to do about it, a command where there is one; every problem should have one.
        about: what it is about: the binding itself and what it needs on this machine, a server, models or a key.
        facts: the same for programs, as plain data (``version``, ``address``, ``count``, ...).

    Raises:
        ValueError: `state` or `about` is none of those.
    """

    state: State
    text: str
    remedy: str | None = None
    about: Subject = "binding"
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, known in (("state", State), ("about", Subject)):
            if getattr(self, name) not in get_args(known):
                raise ValueError(f"{name} must be one of {', '.join(get_args(known))}, not {getattr(self, name)!r}")
