"""What the operator allows, denies and requires."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

__all__ = ["ALLOW_VARIABLE", "DENY_VARIABLE", "REQUIRED_HOOKS_VARIABLE", "Lists", "is_named", "normalised"]

ALLOW_VARIABLE = "LOLLMS_PLUGINS"
DENY_VARIABLE = "LOLLMS_DISABLE_PLUGINS"
REQUIRED_HOOKS_VARIABLE = "LOLLMS_REQUIRED_HOOKS"


def normalised(distribution: str) -> str:
    """A distribution's name in the form in which two spellings of it are equal (PEP 503)."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


@dataclass(frozen=True, slots=True)
class Lists:
    """Which distributions and names may be used. Deny beats allow.

    Attributes:
        allow: distributions or names; None allows all, an empty one none.
        deny: distributions or names.
        required_hooks: distributions, or names of entry points, without whose hooks nothing may run.
    """

    allow: frozenset[str] | None = None
    deny: frozenset[str] = frozenset()
    required_hooks: frozenset[str] = frozenset()

    @classmethod
    def read(
        cls,
        allow: str | Iterable[str] | None = None,
        deny: str | Iterable[str] | None = None,
        required_hooks: str | Iterable[str] | None = None,
    ) -> Self:
        """From the arguments, or from the environment where one is None; a str is separated by commas."""
        if allow is None:
            allow = os.environ.get(ALLOW_VARIABLE)
        if deny is None:
            deny = os.environ.get(DENY_VARIABLE, "")
        if required_hooks is None:
            required_hooks = os.environ.get(REQUIRED_HOOKS_VARIABLE, "")
        return cls(None if allow is None else _entries(allow), _entries(deny), _entries(required_hooks))

    def reason(self, name: str, distribution: str | None) -> str | None:
        """Why `name` of `distribution` (None: a folder) is blocked, None if it is not.

        A distribution's name is compared in its normalised form, a binding's exactly.
        """
        if is_named(self.deny, name, distribution):
            return f"it is on the denylist ({DENY_VARIABLE})"
        if self.allow is not None and not self.allow:
            return f"no plugin is allowed (--no-plugins, or {ALLOW_VARIABLE} is empty)"
        if self.allow is not None and not is_named(self.allow, name, distribution):
            return f"it is not on the allowlist ({ALLOW_VARIABLE})"
        return None


def _entries(given: str | Iterable[str]) -> frozenset[str]:
    parts = given.split(",") if isinstance(given, str) else given
    return frozenset(entry for part in parts if (entry := part.strip()))


def is_named(entries: Iterable[str], name: str, distribution: str | None) -> bool:
    """Whether one of `entries` is `name`, or `distribution` in any spelling."""
    if name in entries:
        return True
    return distribution is not None and normalised(distribution) in {normalised(entry) for entry in entries}
