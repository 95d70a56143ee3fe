"""What a binding asks its server, in which order: procedures without I/O.

Each is a generator. It yields a :class:`Call` and gets the parsed answer, or yields a :class:`Work` (something
that takes the CPU a while) or :class:`Several` calls and gets the results; what goes wrong is raised at the ``yield``.
``lollms_http.client.HttpClient`` runs them with its blocking transport or, unchanged, with its asyncio one; there
one may also :class:`Wait`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from lollms_http.call import Call

if TYPE_CHECKING:
    import asyncio

__all__ = ["Several", "Step", "Steps", "Wait", "Work"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Work:
    """Something to be computed, in a thread of its own where an event loop must not wait."""

    run: Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Wait:
    """Until somebody else's question has been answered; only yielded in an event loop."""

    answered: asyncio.Event


@dataclass(frozen=True, slots=True)
class Several:
    """Calls of which some are under way at once; the result is the list of what `read` makes of their answers.

    What goes wrong with one ends them all.

    Attributes:
        calls: in the order of the results.
        read: gets a call's place among them and its answer; runs in any thread.
        at_once: how many are under way at the same time, at most.
    """

    calls: tuple[Call, ...]
    read: Callable[[int, Any], Any]
    at_once: int


Step: TypeAlias = Call | Work | Wait | Several
Steps: TypeAlias = Generator[Step, Any, T]
