"""The command line: from the shell's call to its end."""

from __future__ import annotations

from typing import Final, NamedTuple

from bench.cases import Case, Contestant, Kit, Target
from bench.environments import LLM_PLUGINS, among_others
from bench.figures import Result
from bench.start.processes import BARE, CROWDED, TIME, bare, process

__all__ = ["command_cases"]

_LLM: Final = among_others("llm")
_NAMES: Final = tuple(plugin.partition("==")[0] for plugin in LLM_PLUGINS)


class _Pair(NamedTuple):
    """Two commands that do the same, and what each says."""

    name: str
    title: str
    ours: str
    says: str
    theirs: str
    they_say: str
    most: float | None


_PAIRS: Final = (
    _Pair("start-version", "The command line: its version", "--version", "lollms ", "--version", "llm, version", 0.12),
    _Pair("start-bindings", "The command line: what is installed", "bindings", "ollama", "plugins", _NAMES[0], 0.25),
    _Pair("start-help", "The command line: its help", "--help", "generate", "--help", "prompt", None),
)


def command_cases(kit: Kit) -> list[Case]:
    """Of commands that need no model."""
    return [_case(kit, pair) for pair in _PAIRS]


def _case(kit: Kit, pair: _Pair) -> Case:
    mine, their = f"lollms {pair.ours}", f"llm {pair.theirs}"

    def reason(result: Result, _target: Target) -> str:
        floor = result.ratio(BARE, their).median
        return f"the interpreter alone takes {floor:.2f}x of `{their}`"

    return Case(
        pair.name,
        pair.title,
        f"`{mine}` and `{their}`, each from the start of its process to the end, in an environment with three plugins "
        f"(llm's are {', '.join(_NAMES)}) and a thousand other distributions. Nothing is configured.",
        (
            bare(CROWDED),
            _command(mine, CROWDED, "lollms", pair.ours, pair.says, "lollms-core"),
            _command(their, _LLM, "llm", pair.theirs, pair.they_say, "llm", *_NAMES),
        ),
        (TIME,),
        () if pair.most is None else (Target(mine, "<=", pair.most, their),),
        rounds=5 if kit.quick else 20,
        reason=reason,
    )


def _command(name: str, environment: str, script: str, argument: str, says: str, *distributions: str) -> Contestant:
    return process(name, environment, *distributions, script=script, arguments=[argument], says=says)
