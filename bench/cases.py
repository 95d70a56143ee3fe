"""What a case is: contestants that do the same, what is measured of them, and what is to be reached."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from bench.figures import Result

__all__ = ["OWN", "PEERS", "Case", "Column", "Contestant", "Kit", "Table", "Target", "Task"]

Task = Mapping[str, Any]

OWN: Final = "own"
PEERS: Final = "peers"
"""The Pythons: that of the checkout, and the one that has the peers."""


@dataclass(frozen=True, slots=True)
class Kit:
    """What a run has to work with.

    Attributes:
        folder: for what is made once and kept, and for logs; git ignores it.
        pythons: the programs, by the names above.
        model: SmolLM2-135M-Instruct, a GGUF file.
        quick: whether few and short rounds have to do.
        ollama: the folder with Ollama's program and libraries; None where it does not run.
        no_ollama: why it does not run; "" if it does.
    """

    folder: Path
    pythons: Mapping[str, str]
    model: Path
    quick: bool
    ollama: Path | None = None
    no_ollama: str = ""


@dataclass(frozen=True, slots=True)
class Contestant:
    """One of those that are measured.

    Attributes:
        name: as the tables show it.
        module: the program, a module under ``bench.contestants``; each contestant has a process of its own.
        task: what it does in a round, JSON. The round's number goes with it as ``round``.
        setting: what its process is started with, JSON.
        python: which of the kit's Pythons runs it.
    """

    name: str
    module: str
    task: Task
    setting: Task = field(default_factory=dict)
    python: str = OWN


@dataclass(frozen=True, slots=True)
class Column:
    """A figure that is measured in each round.

    Attributes:
        key: its name in what a contestant answers.
        title: the table's head, with the unit.
        digits: after the point.
        factor: what the figure is multiplied with to be in that unit.
    """

    key: str
    title: str
    digits: int = 1
    factor: float = 1.0


@dataclass(frozen=True, slots=True)
class Target:
    """What is to be reached.

    Attributes:
        who: the contestant's name.
        relation: whether the figure is the least or the most.
        figure: a ratio, or without `against` a value in the column's unit; also one that is only known when all is
            measured.
        against: the contestant that is compared with; None compares with nobody.
        column: the key; "" is the case's first column.
        beyond: whether the figure is what `who` has more than `against`, in the column's unit, and no ratio.
    """

    who: str
    relation: Literal[">=", "<="]
    figure: float | Callable[[Result], float]
    against: str | None = None
    column: str = ""
    beyond: bool = False

    @property
    def is_ratio(self) -> bool:
        """Whether its figure has no unit."""
        return self.against is not None and not self.beyond


@dataclass(frozen=True, slots=True)
class Table:
    """A table beside the usual one, such as a profile."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True)
class Case:
    """Something that is measured of two or more, in alternation.

    Attributes:
        name: as ``-k`` chooses it; the first word is its subject.
        title: the heading.
        about: what is done, and how it is made fair; Markdown.
        contestants: those measured.
        columns: what of; the first counts.
        targets: what is to be reached.
        rounds: how often each is measured. One more round comes first and does not count, unless `fresh`.
        fresh: whether every round has new processes: where memory or the first use counts.
        plot: whether it gets a picture.
        missing: why it cannot be run here; "" if it can.
        prepare: makes what its contestants need, once.
        beside: runs what all of them work with, such as a server, until all is measured; what it gives goes into the
            setting of each.
        reason: why a target is missed, from what was measured; "" if that says nothing.
        tables: further tables.
    """

    name: str
    title: str
    about: str
    contestants: tuple[Contestant, ...]
    columns: tuple[Column, ...]
    targets: tuple[Target, ...] = ()
    rounds: int = 7
    fresh: bool = False
    plot: bool = True
    missing: str = ""
    prepare: Callable[[], None] | None = None
    beside: Callable[[], AbstractContextManager[Task]] | None = None
    reason: Callable[[Result, Target], str] | None = None
    tables: Callable[[Result], list[Table]] | None = None
