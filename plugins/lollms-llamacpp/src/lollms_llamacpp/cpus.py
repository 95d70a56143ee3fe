"""How many threads to compute with.

llama.cpp is fastest with one thread for each physical core that it may use: two threads on one core share
its arithmetic units, and threads beyond a container's quota are put to sleep while the others wait for them.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Final

__all__ = ["MAX_THREADS", "usable_cores"]

MAX_THREADS: Final = 512
"""GGML_MAX_N_THREADS of ggml.h."""

_TOPOLOGY = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"
_QUOTA = "/sys/fs/cgroup/cpu.max"


def usable_cores() -> int:
    """The number of physical cores that this process may use, at least 1."""
    cpus = _allowed_cpus()
    cores = _physical(cpus)
    quota = _quota()
    if quota is not None:
        cores = min(cores, max(1, math.ceil(quota)))
    return max(1, min(cores, MAX_THREADS))


def _allowed_cpus() -> set[int]:
    if hasattr(os, "sched_getaffinity"):
        return set(os.sched_getaffinity(0))
    return set(range(os.cpu_count() or 1))


def _physical(cpus: set[int]) -> int:
    """The number of cores behind these hardware threads."""
    cores = set()
    for cpu in cpus:
        siblings = _read(_TOPOLOGY.format(cpu))
        if siblings is None:
            # Elsewhere than on Linux: two threads a core is llama.cpp's rule on machines with more than four.
            return len(cpus) if len(cpus) <= 4 else len(cpus) // 2
        cores.add(siblings)
    return len(cores)


def _quota() -> float | None:
    """The CPUs' time that the container may use, in CPUs; None if it is not limited (cgroup v2: cpu.max)."""
    words = (_read(_QUOTA) or "").split()
    try:
        quota, period = (float(word) for word in words)
    except ValueError:
        return None
    return quota / period if quota > 0 and period > 0 else None


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None
