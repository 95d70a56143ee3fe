"""What a fork does to connections: parent and child would both speak on the same ones, and read each other's answers.

So whoever keeps connections is told in the child, before anything else runs there, and forgets them. The parent goes
on with them.
"""

from __future__ import annotations

import os
import weakref
from typing import Protocol

__all__ = ["ForgetsInChild", "forget_in_child"]


class ForgetsInChild(Protocol):
    """Who keeps connections."""

    def forget_connections(self) -> None:
        """In the child of a fork: be as if none had been made, with locks that nobody holds; do not close them."""


_keepers: weakref.WeakSet[ForgetsInChild] = weakref.WeakSet()


def forget_in_child(keeper: ForgetsInChild) -> None:
    """Have `keeper` forget its connections in every child that is forked from now on, as long as it lives."""
    _keepers.add(keeper)


def _in_child() -> None:
    for keeper in list(_keepers):
        keeper.forget_connections()


if hasattr(os, "register_at_fork"):  # not on Windows, which has no forks
    os.register_at_fork(after_in_child=_in_child)
