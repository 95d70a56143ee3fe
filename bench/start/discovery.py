"""Finding what is installed among a thousand distributions."""

from __future__ import annotations

from bench.cases import Case, Column, Kit, Target
from bench.environments import among_others
from bench.figures import Result
from bench.start.processes import CROWDED, process, program

__all__ = ["discovery_cases"]


def discovery_cases(kit: Kit) -> list[Case]:
    """Of entry points."""
    mine, plain, others = "the manager", "importlib.metadata", among_others("stevedore")

    def reason(result: Result, target: Target) -> str:
        imports = result.spread(mine, "imports")
        if target.column == "again" or imports is None:
            return ""
        return f"of ours {imports.median:.0f} ms are imports"

    return [
        Case(
            "start-discovery",
            "Discovery among a thousand distributions",
            "Entry points of one group, in a new process: the first look, with all that is imported for it, and the "
            "same look again. The manager keeps what it has found until `refresh()`; importlib.metadata keeps nothing; "
            "stevedore keeps it in the process and, for other processes, in a file, and imports the three plugins, "
            "which are a class each. All files are in the system's page cache.",
            (
                process(mine, CROWDED, "lollms-core", probe=program("finding", "lollms")),
                process(plain, CROWDED, probe=program("finding", "plain")),
                process("stevedore", others, "stevedore", probe=program("finding", "stevedore"), forgets=True),
                process("stevedore, with its file", others, "stevedore", probe=program("finding", "stevedore")),
            ),
            (
                Column("cold", "first, ms", 1, 1000),
                Column("imports", "of this imports, ms", 1, 1000),
                Column("again", "again, µs", 1, 1e6),
                Column("found", "found", 0),
            ),
            (Target(mine, "<=", 1.3, plain), Target(mine, "<=", 50, column="again")),
            rounds=5 if kit.quick else 20,
            reason=reason,
        )
    ]
