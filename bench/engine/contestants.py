"""Those that the engine is measured with: the same model, threads and context for all."""

from __future__ import annotations

from typing import Any, Final

from bench.cases import PEERS, Contestant, Kit
from lollms_llamacpp.options import LlamaCppOptions

__all__ = ["SLOTS", "bare", "has_option", "llama", "llama_server", "ours"]

SLOTS: Final = 8
_THREADS: Final = 2
_CONTEXT: Final = 8192  # tokens, of all slots together


def has_option(name: str) -> bool:
    """Whether the binding has this option of the constructor."""
    return name in LlamaCppOptions.__annotations__


def ours(kit: Kit, name: str, task: dict[str, Any], **setting: Any) -> Contestant:
    """The binding."""
    slots = {"n_parallel": SLOTS} if has_option("n_parallel") else {}
    return Contestant(name, "ours", task, {**_common(kit), **slots, **setting})


def llama(kit: Kit, name: str, task: dict[str, Any]) -> Contestant:
    """llama-cpp-python's `Llama`."""
    return Contestant(name, "llama", task, _common(kit), PEERS)


def llama_server(kit: Kit, name: str, task: dict[str, Any], **setting: Any) -> Contestant:
    """llama-server, asked over HTTP."""
    return Contestant(name, "llama_server", task, {**_common(kit), "n_parallel": SLOTS, **setting})


def bare(kit: Kit, name: str, task: dict[str, Any]) -> Contestant:
    """The bare loop on llama-cpp-python's C-level functions."""
    return Contestant(name, "bare", task, _common(kit), PEERS)


def _common(kit: Kit) -> dict[str, Any]:
    return {"model": str(kit.model), "ctx_size": _CONTEXT, "n_threads": _THREADS}
