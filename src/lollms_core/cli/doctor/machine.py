"""Python, the platform, and lollms-core itself."""

from __future__ import annotations

import importlib.util
import platform
import sys
from collections.abc import Iterator
from pathlib import Path

from lollms_core import __version__
from lollms_core.cli.extras import CLI
from lollms_core.findings import Finding

__all__ = ["core", "extras", "python"]


def python() -> Iterator[Finding]:
    """The interpreter, the system, and the encoding of what is printed."""
    version = platform.python_version()
    facts = {"version": version, "implementation": platform.python_implementation(), "executable": sys.executable}
    yield Finding("ok", f"Python {version} ({facts['implementation']}), {sys.executable}", facts=facts)
    yield Finding("ok", platform.platform(), facts={"system": platform.system(), "machine": platform.machine()})
    encoding = getattr(sys.stdout, "encoding", None) or "unknown"
    if encoding.lower().replace("-", "").replace("_", "") != "utf8":
        text = f"text is written in {encoding}: a model's answer may hold characters that it lacks"
        yield Finding("warning", text, "set PYTHONUTF8=1")


def core() -> Iterator[Finding]:
    """lollms-core: its version, where it is, and whether what is installed is what runs."""
    import importlib_metadata

    place = Path(__file__).parents[2]
    try:
        installed: str | None = importlib_metadata.version("lollms-core")
    except Exception:  # noqa: BLE001 - metadata may be damaged in any way
        installed = None
    facts = {"version": __version__, "path": str(place)}
    if installed == __version__:
        yield Finding("ok", f"lollms-core {__version__}, {place}", facts=facts)
    elif installed is None:
        text = f"lollms-core {__version__} runs from {place}, and its metadata is not there or cannot be read"
        yield Finding("warning", text, "pip install --force-reinstall lollms-core", facts=facts)
    else:
        text = f"lollms-core {__version__} runs from {place}, and what is installed says {installed}"
        yield Finding("warning", text, "pip install --force-reinstall lollms-core", facts=facts)


def extras() -> Iterator[Finding]:
    """What the command line uses beyond lollms-core's own requirements."""
    missing = [name for name in CLI if importlib.util.find_spec(name) is None]
    if missing:
        text = f"not installed: {', '.join(missing)}; commands that need them say so"
        yield Finding("absent", text, 'pip install "lollms-core[cli]"', facts={"missing": missing})
