"""The rows of the HTTP bindings: streams, plain calls, a thousand streams at once, all from one loopback server."""

from __future__ import annotations

from bench.cases import Case, Kit
from bench.http.many import many_cases
from bench.http.plain import plain_cases
from bench.http.streams import stream_cases

__all__ = ["cases"]


def cases(kit: Kit) -> list[Case]:
    """All of them, in the order of the page."""
    return [*stream_cases(kit), *plain_cases(kit), *many_cases(kit)]
