"""For the tests of bindings and of what is built on them: a server that plays every fault, and the rows to play.

Nothing here needs pytest.
"""

from __future__ import annotations

from lollms_core.testing.dialect import Dialect, NdjsonDialect, SseDialect
from lollms_core.testing.endings import ENDINGS, Ending, play_ending
from lollms_core.testing.fault_server import CLOSE, HOLD, RESET, Asked, Endless, FaultServer, Gate, Pause
from lollms_core.testing.faults import FAULTS, Expected, Fault, Play
from lollms_core.testing.ollama_dialect import OllamaDialect
from lollms_core.testing.openai_dialect import OpenAIDialect
from lollms_core.testing.playing import Report, play, play_cuts
from lollms_core.testing.resources import Held
from lollms_core.testing.secrets import MARKER, SecretWatch
from lollms_core.testing.well_behaved import behave
from lollms_core.testing.wire import Part, Wire, response

__all__ = [
    "CLOSE",
    "ENDINGS",
    "FAULTS",
    "HOLD",
    "MARKER",
    "RESET",
    "Asked",
    "Dialect",
    "Ending",
    "Endless",
    "Expected",
    "Fault",
    "FaultServer",
    "Gate",
    "Held",
    "NdjsonDialect",
    "OllamaDialect",
    "OpenAIDialect",
    "Part",
    "Pause",
    "Play",
    "Report",
    "SecretWatch",
    "SseDialect",
    "Wire",
    "behave",
    "play",
    "play_cuts",
    "play_ending",
    "response",
]
