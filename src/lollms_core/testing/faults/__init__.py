"""What backends do wrong, row by row: each row says what the peer does and what the caller gets then."""

from __future__ import annotations

from lollms_core.testing.faults.answers import ANSWERS, ELSEWHERE
from lollms_core.testing.faults.connections import CONNECTIONS
from lollms_core.testing.faults.fault import Expected, Fault, How, Play
from lollms_core.testing.faults.streams import STREAMS
from lollms_core.testing.faults.times import TIMES

__all__ = ["ELSEWHERE", "FAULTS", "Expected", "Fault", "How", "Play"]

FAULTS: tuple[Fault, ...] = (*CONNECTIONS, *STREAMS, *ANSWERS, *TIMES)
"""All rows."""
