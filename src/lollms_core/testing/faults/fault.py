"""What a row of the table says: what the peer does, and what the caller gets then."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from lollms_core.errors import LollmsError
from lollms_core.testing.dialect import TEXT, Dialect
from lollms_core.testing.fault_server import Answer, Step
from lollms_core.testing.wire import Wire

__all__ = ["Expected", "Fault", "How", "Play"]

How: TypeAlias = Literal["stream", "whole"]
"""Whether a row is played on a streamed request, or on one for the whole answer at once."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What the caller gets.

    Attributes:
        error: of which kinds an error may be; empty where the answer comes whole.
        text: the answer, or what of it is kept; None for any beginning of it.
        words: a pattern that the error's text matches.
        asked: how often the generation is asked for; None where it depends on which of two is the quicker.
        connections: on how many connections, where that matters; the next request included.
        retries: how many retries are told at INFO; None where that depends on who is quicker.
    """

    error: tuple[type[LollmsError], ...] = ()
    text: str | None = TEXT
    words: str = ""
    asked: int | None = 1
    connections: int | None = None
    retries: int | None = 0


@dataclass(frozen=True, slots=True)
class Play:
    """One row, played by one peer.

    Attributes:
        answers: what the generations are answered with, in turn; good answers follow.
        expected: what the caller gets.
        wire: the response that the row is about, where it can be cut anywhere.
        options: for the binding's constructor.
        fields: for the request.
        network: what is wrong before there is a connection: nobody listens, or the name is unknown.
        warm: where a good request comes first, so that there is a used connection: what follows its answer.
    """

    answers: Sequence[Answer]
    expected: Expected
    wire: Wire | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    fields: Mapping[str, Any] = field(default_factory=dict)
    network: Literal["", "refused", "unknown name"] = ""
    warm: Sequence[Step] | None = None


@dataclass(frozen=True, slots=True)
class Fault:
    """A row of the table.

    Attributes:
        name: what happens, for reports.
        play: how a dialect plays it; None if that dialect cannot.
        hows: the kinds of request that it is played on.
    """

    name: str
    play: Callable[[Dialect], Play | None]
    hows: tuple[How, ...] = ("stream", "whole")
