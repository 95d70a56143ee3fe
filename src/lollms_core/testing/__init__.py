"""For the tests of bindings and of what is built on them: a server that plays every fault, the rows to play, and a
binding that answers what a test wrote down.

Nothing here needs pytest. What does is not imported by it: the conformance kit's classes
(:mod:`lollms_core.testing.conformance`) and the fixtures (:mod:`lollms_core.testing.plugin`).
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
from lollms_core.testing.script import Answer, Reply, ScriptError, last_text
from lollms_core.testing.scripted import ScriptedBinding
from lollms_core.testing.scripted_manager import ScriptedManager
from lollms_core.testing.scripts import Scripts
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
    "Answer",
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
    "Reply",
    "Report",
    "ScriptError",
    "ScriptedBinding",
    "ScriptedManager",
    "Scripts",
    "SecretWatch",
    "SseDialect",
    "Wire",
    "behave",
    "last_text",
    "play",
    "play_cuts",
    "play_ending",
    "response",
]
