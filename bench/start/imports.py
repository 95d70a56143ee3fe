"""Importing the core, and importing the peers."""

from __future__ import annotations

from bench.cases import Case, Column, Contestant, Kit, Target
from bench.environments import CHECKOUT
from bench.figures import Result
from bench.start.processes import BARE, CROWDED, TIME, bare, process, program

__all__ = ["import_cases"]

_MODULES = Column("modules", "modules", 0)
_RESIDENT = Column("resident", "resident, MiB", 1, 2**-20)

# Environment, module, distributions.
_PEERS = {
    "openai": ("openai", "openai"),
    "litellm": ("litellm", "litellm-core"),
    "llm": ("llm", "llm"),
    "any-llm": ("any_llm", "any-llm-sdk"),
    "aisuite": ("aisuite", "aisuite"),
    "langchain": ("langchain_openai", "langchain-openai"),
    "lollms-client 0.17.0": ("lollms_client", "lollms-client"),
    "lollms-client": ("lollms_client", "lollms-client"),
}

_LIST = (
    "from lollms_core import LollmsLLMBindingManager; "
    "print(LollmsLLMBindingManager('no_folder_of_bindings').get_available_bindings())"
)


_LIBRARY = "dataclasses, inspect, logging, pathlib, re, threading, typing"


def import_cases(kit: Kit) -> list[Case]:
    """Of the module alone, and of the manager with a first list."""
    return [_import(kit), _list(kit)]


def _import(kit: Kit) -> Case:
    mine = "lollms_core"
    peers = [
        _imports(module if module != "lollms_client" else environment, environment, module, distribution)
        for environment, (module, distribution) in _PEERS.items()
    ]
    return Case(
        "start-import",
        "Importing the core",
        "A process that imports a module and ends, against one that imports nothing; and, of such a process, how many "
        "modules it has then and how much memory. What each needs is installed, and nothing else.",
        (
            bare(CHECKOUT, probe=program("imported")),
            _imports(mine, CHECKOUT, mine, "lollms-core"),
            process(
                "lollms_core, every public name",
                CHECKOUT,
                "lollms-core",
                arguments=["-c", "from lollms_core import *"],
                probe=program("imported", mine, "every name"),
            ),
            *peers,
        ),
        (TIME, _MODULES, _RESIDENT),
        (
            Target(mine, "<=", 10, BARE, beyond=True),
            Target(mine, "<=", 40, BARE, "modules", beyond=True),
            Target(mine, "<=", 4, BARE, "resident", beyond=True),
        ),
        rounds=5 if kit.quick else 20,
    )


def _imports(name: str, environment: str, module: str, distribution: str) -> Contestant:
    return process(
        name, environment, distribution, arguments=["-c", f"import {module}"], probe=program("imported", module)
    )


def _list(kit: Kit) -> Case:
    few, many = "the manager and a list", "the manager and a list, among 1,000 others"
    theirs, library = "importlib.metadata, among 1,000 others", "the standard library's modules alone"

    def reason(result: Result, _target: Target) -> str:
        plain, floor = (result.difference(who, BARE).median for who in (theirs, library))
        return (
            f"the modules of the standard library that it imports take {floor:.0f} ms of it, and all of "
            f"`entry_points(group=...)` among 1,000 others {plain:.0f} ms"
        )

    return Case(
        "start-list",
        "The manager and a first list",
        "`from lollms_core import LollmsLLMBindingManager`, then the names of the bindings: a process that does just "
        "that, in an environment with the core and three plugins, and in one with a thousand distributions beside "
        "them; and Python's own `entry_points(group=...)` in that one. The floor: a process that only imports the "
        "modules of the standard library that the manager is written with.",
        (
            bare(CHECKOUT),
            process(few, CHECKOUT, "lollms-core", arguments=["-c", _LIST], says="ollama"),
            process(many, CROWDED, "lollms-core", arguments=["-c", _LIST], says="ollama"),
            process(library, CHECKOUT, arguments=["-c", f"import {_LIBRARY}"]),
            process(
                theirs,
                CROWDED,
                arguments=[
                    "-c",
                    "from importlib.metadata import entry_points; print(entry_points(group='lollms.llm_bindings'))",
                ],
                says="ollama",
            ),
        ),
        (TIME,),
        tuple(Target(who, "<=", 80, BARE, beyond=True) for who in (few, many)),
        rounds=5 if kit.quick else 20,
        reason=reason,
    )
