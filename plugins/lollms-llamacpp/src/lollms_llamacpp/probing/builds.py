"""Builds of llama.cpp that are known to die on some machines are tried in another process before they are used here.

A build for a CPU with AMX dies on a virtual machine that reports AMX while the hypervisor keeps it off, and it takes
the whole process along. Only such builds on such machines are tried; what has worked once is remembered in the user's
cache folder until library or CPU change.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from lollms_core import BackendUnavailable
from lollms_core.files import write_whole
from lollms_llamacpp.probing.run import Probe, probe

__all__ = ["Cpu", "check_build"]

_log = logging.getLogger(__name__)

_CPUINFO: Final = Path("/proc/cpuinfo")
_MOST: Final = 64  # builds and machines that are remembered


@dataclass(frozen=True, slots=True)
class Cpu:
    """What the system tells of the CPU.

    Attributes:
        model: its name.
        flags: what it can do, as /proc/cpuinfo has it.
    """

    model: str
    flags: frozenset[str]

    @classmethod
    def here(cls) -> Cpu | None:
        """This machine's, None where there is no /proc/cpuinfo."""
        try:
            text = _CPUINFO.read_text("utf-8", "replace")
        except OSError:
            return None
        first = text.partition("\n\n")[0]
        facts = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in first.splitlines())}
        return cls(facts.get("model name", ""), frozenset(facts.get("flags", "").split()))

    def doubtful(self, system_info: str) -> bool:
        """Whether a build with this ``system_info`` may die here: one with AMX where that may not be what it seems."""
        if "AMX_INT8 = 1" not in system_info:
            return False
        return "hypervisor" in self.flags or "amx_int8" not in self.flags


def check_build(functions: Any, *, try_it: Callable[[], Probe] = probe) -> None:
    """Raise if this build of llama.cpp is known to die on this machine; see the module.

    Args:
        functions: llama-cpp-python's module of C functions, loaded.
        try_it: runs the trial.

    Raises:
        BackendUnavailable: it has died in the trial; the text has the remedy.
    """
    cpu = Cpu.here()
    if cpu is None or not cpu.doubtful(functions.llama_print_system_info().decode("utf-8", "replace")):
        return
    key = _key(Path(functions._lib._name), cpu)
    if key in _remembered():
        return
    # What has failed is not written down, lest it be believed of a machine that was set right.
    found = _failures.get(key)
    if found is None:
        found = try_it()
    if found.ok:
        _remember(key)
    elif found.remedy is None:
        _log.warning("whether llama.cpp works on this machine could not be found out: %s", found.error)
    else:
        _failures[key] = found
        raise BackendUnavailable(
            f"this build of llama.cpp does not work on this machine, as a trial in another process has shown: "
            f"{found.error}; {found.remedy}"
        )


_failures: dict[str, Probe] = {}


def _key(library: Path, cpu: Cpu) -> str:
    """A name for a build on a machine: all libraries beside `library`, since any may be built anew."""
    files = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in sorted(library.parent.iterdir())]
    return hashlib.sha256(json.dumps([files, cpu.model, sorted(cpu.flags)]).encode()).hexdigest()


@cache
def _file() -> Path:
    import platformdirs

    return Path(platformdirs.user_cache_dir("lollms", appauthor=False)) / "llamacpp-builds.json"


def _remembered() -> list[str]:
    try:
        keys = json.loads(_file().read_text("utf-8"))
    except (OSError, ValueError):
        return []
    return [key for key in keys if isinstance(key, str)] if isinstance(keys, list) else []


def _remember(key: str) -> None:
    file = _file()
    try:
        write_whole(file, json.dumps([*_remembered()[1 - _MOST :], key]).encode())
    except OSError as error:
        _log.info("that llama.cpp works here cannot be kept in %s: %s", file, error)
