"""How a process has ended, in words, and what to do about it."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from typing import Final

from lollms_core import BackendCrashed
from lollms_llamacpp.native import REMEDY

__all__ = ["FAULTS", "crash", "ending", "remedy_for"]

FAULTS: Final = frozenset(
    int(getattr(signal, name))
    for name in ("SIGSEGV", "SIGILL", "SIGBUS", "SIGFPE", "SIGABRT", "SIGTRAP")
    if hasattr(signal, name)
)
"""The signals by which a program ends through a fault of its own."""

_MAX_SAID: Final = 400


def ending(code: int) -> str:
    """How a process with this return code ended: "died of SIGSEGV", or "exited with 1"."""
    if code >= 0:
        return f"exited with {code}"
    try:
        return f"died of {signal.Signals(-code).name}"
    except ValueError:
        return f"died of signal {-code}"


def remedy_for(code: int) -> str:
    """What to do about a process that ended with this return code."""
    if -code in FAULTS:
        return f"if that happens again, llama.cpp may be built for another CPU; install it with: {REMEDY}"
    if code < 0 and -code == getattr(signal, "SIGKILL", 9):
        return "if nobody has killed it, the system was short of memory: take a smaller model or ctx_size"
    return "the next request starts a new one"


def crash(name: str, code: int, said: Sequence[str], *, loading: bool = False) -> BackendCrashed:
    """What those get whose requests were in it.

    Args:
        name: the model's.
        code: the return code.
        said: the last lines that it has printed.
        loading: whether the model was not yet loaded.
    """
    last = "; ".join(said)[-_MAX_SAID:]
    return BackendCrashed(
        f"the process of the model {name!r} {ending(code)}{' while it loaded the model' if loading else ''}"
        f"{f', saying: {last}' if last else ''}; {remedy_for(code)}",
        signal=-code if code < 0 else None,
    )
