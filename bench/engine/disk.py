"""Models on disk: how long a list of them takes."""

from __future__ import annotations

from bench.cases import Case, Column, Contestant, Kit, Target
from bench.engine.model_files import COUNT, make_models
from bench.figures import Result

__all__ = ["disk_cases"]


def disk_cases(kit: Kit) -> list[Case]:
    """Of lists."""
    return [_listing(kit)]


def _listing(kit: Kit) -> Case:
    who = "listModels()"
    folder = kit.folder / f"models-{COUNT}"

    def reason(result: Result, _target: Target) -> str:
        plain = result.spread(who, "plain")
        return (
            "" if plain is None else f"reading the bytes of the headers, and nothing more, takes {plain.median:.0f} ms"
        )

    return Case(
        "engine-listing",
        f"Listing {COUNT} GGUF files",
        f"{COUNT} files with the headers of published models (vocabularies of 32,768 to 151,936 tokens, up to 291 "
        "tensors), made for this. The first list of a process whose cache directory is empty, the second one, and the "
        "first list of another process after it. The files' headers are in the system's page cache.",
        (Contestant(who, "listing", {"next": True}, {"folder": str(folder)}),),
        (
            Column("cold", "first, ms", 0, 1000),
            Column("again", "again, ms", 1, 1000),
            Column("next", "first of the next process, ms", 0, 1000),
            Column("plain", "reading the headers' bytes alone, ms", 0, 1000),
            Column("usable", "models", 0),
        ),
        (Target(who, "<=", 1000, column="cold"), Target(who, "<=", 20, column="again")),
        rounds=2 if kit.quick else 5,
        fresh=True,
        plot=False,
        prepare=lambda: make_models(folder),
        reason=reason,
    )
