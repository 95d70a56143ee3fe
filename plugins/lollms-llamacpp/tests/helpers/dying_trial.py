"""A trial of llama.cpp that goes wrong, in the place of lollms_llamacpp.probing.trial; DYING_TRIAL names the way."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path


def main(arguments: Sequence[str]) -> None:
    way = os.environ["DYING_TRIAL"]
    if way == "SIGSEGV at once":
        os.kill(os.getpid(), signal.SIGSEGV)
    Path(arguments[1]).write_text('{"version": "9", "system_info": "AMX_INT8 = 1 |"}\n{"cut', "utf-8")
    if way.startswith("SIG"):
        os.write(2, b"GGML_ASSERT(false) failed\n")
        os.kill(os.getpid(), signal.Signals[way])
    if way == "exits":
        sys.exit("no more of this")
    if way == "waits":
        threading.Event().wait()
    if way == "says why":
        Path(arguments[1]).write_text('{"error": "llama-cpp-python cannot be imported (none)"}\n', "utf-8")
