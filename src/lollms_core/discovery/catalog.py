"""All that was found, and who gets which name."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from lollms_core.discovery.candidates import Candidate, FromEntryPoint, FromFolder
from lollms_core.discovery.directory import Folder, scan_directory
from lollms_core.discovery.entry_points import Declared, scan
from lollms_core.discovery.lists import REQUIRED_HOOKS_VARIABLE, Lists, is_named, normalised
from lollms_core.discovery.records import BindingRecord

__all__ = ["HOOK_GROUP", "PACKAGES", "Catalog", "HookEntries", "discover", "hook_entries"]

_log = logging.getLogger(__name__)

HOOK_GROUP = "lollms.hooks"

PACKAGES = {
    "llamacpp": "lollms-llamacpp",
    "pythonllamacpp": "lollms-llamacpp",
    "ollama": "lollms-ollama",
    **dict.fromkeys(
        (
            *("openai", "openrouter", "groq", "together", "mistral"),
            *("deepseek", "vllm", "lmstudio", "llamaserver"),
        ),
        "lollms-openai",
    ),
}
"""The distribution that a known name belongs to."""


@dataclass(frozen=True, slots=True)
class HookEntries:
    """The entry points in the hook group.

    Attributes:
        usable: those that the operator's lists allow and that fit this lollms-core.
        lacking: of each hook that the operator requires and that is not among them, one line on why.
    """

    usable: tuple[Declared, ...] = ()
    lacking: tuple[str, ...] = ()


class Catalog:
    """The outcome of one look at what is installed and what lies in the directory.

    Attributes:
        candidates: all places found, sorted by name; of one name, the one that has it first.
        by_name: the one that has the name.
        available: the sorted names that are not blocked.
        hooks: what is declared in the hook group.
        problems: what could not be read, one line each.
    """

    def __init__(self, candidates: list[Candidate], hooks: HookEntries, problems: tuple[str, ...]) -> None:
        self.candidates = candidates
        self.by_name: dict[str, Candidate] = {}
        for candidate in candidates:
            self.by_name.setdefault(candidate.record.name, candidate)
        self.available = [name for name, candidate in self.by_name.items() if candidate.record.state != "blocked"]
        self.hooks = hooks
        self.problems = problems

    def keep_loaded(self, earlier: Catalog) -> None:
        """Take over what `earlier` has loaded and what has not changed since."""
        for number, candidate in enumerate(self.candidates):
            name = candidate.record.name
            before = earlier.by_name.get(name)
            if before is not None and before.cls is not None and before.same_as(candidate):
                self.candidates[number] = before
                if self.by_name[name] is candidate:
                    self.by_name[name] = before


def discover(directory: Path, group: str, lists: Lists) -> Catalog:
    """Look at the installed distributions, then at `directory`. Nothing of what is found is imported.

    A name that several distributions claim goes to the one that is usable, then to the one that a
    well-known name belongs to (:data:`PACKAGES`), then to the first in alphabetical order. A folder never
    gets a name that a distribution claims, not even a blocked one. Every such decision is logged and recorded.
    """
    # What is found now is what is loaded later, wherever the process has moved to by then.
    directory = directory.absolute()
    found = scan({group, HOOK_GROUP})
    claims: dict[str, list[Candidate]] = {}
    for declared in found.group(group):
        claims.setdefault(declared.name, []).append(_installed(declared, lists))
    installed = {name: _settled(rivals) for name, rivals in claims.items()}
    candidates = [candidate for rivals in installed.values() for candidate in rivals]
    candidates += _folders(scan_directory(directory), directory, lists, installed)
    candidates.sort(key=lambda candidate: candidate.record.name)  # stable: of one name, who has it stays first
    _report(found.problems, candidates, lists)
    return Catalog(candidates, hook_entries(found.group(HOOK_GROUP), lists), found.problems)


def _installed(declared: Declared, lists: Lists) -> Candidate:
    candidate = FromEntryPoint(
        BindingRecord(
            name=declared.name,
            source="entry point",
            distribution=declared.distribution,
            version=declared.version,
            module=declared.module or None,
            attribute=declared.attribute,
        )
    )
    blocked = lists.reason(declared.name, declared.distribution)
    if blocked is None and not declared.name.replace("-", "_").isidentifier():
        blocked = "its name is not a plain identifier"
    if blocked is not None:
        candidate.refused("blocked", blocked)
    elif declared.broken is not None:
        candidate.refused("failed", declared.broken)
    elif declared.incompatible is not None:
        candidate.refused("incompatible", declared.incompatible)
    return candidate


def _settled(rivals: list[Candidate]) -> list[Candidate]:
    """The claimants of one name, the one that gets it first."""

    def rank(candidate: Candidate) -> tuple[bool, bool, str]:
        record = candidate.record
        distribution = normalised(record.distribution or "")
        return (record.state != "found", distribution != PACKAGES.get(record.name), distribution)

    winner, *others = sorted(rivals, key=rank)
    for other in others:
        if other.record.state == "found":
            other.refused("shadowed", f"{other.record.origin} claims this name too; {winner.record.origin} has it")
    return [winner, *others]


def _folders(
    folders: Iterable[Folder], directory: Path, lists: Lists, installed: dict[str, list[Candidate]]
) -> list[Candidate]:
    candidates: list[Candidate] = []
    for folder in folders:
        candidate = FromFolder(
            BindingRecord(
                name=folder.name,
                source="directory",
                path=str(folder.path),
                attribute=folder.attribute,
                description_file=None if folder.description_file is None else str(folder.description_file),
            ),
            directory,
        )
        record = candidate.record
        rivals = installed.get(folder.name)
        blocked = lists.reason(folder.name, None) or folder.blocked
        if blocked is not None:
            candidate.refused("blocked", blocked)
        elif rivals is not None:
            owner = rivals[0].record.origin
            candidate.refused("shadowed", f"{record.origin} is hidden by {owner}, which is installed")
        elif folder.incompatible is not None:
            candidate.refused("incompatible", folder.incompatible)
        candidates.append(candidate)
    return candidates


def hook_entries(declared: Iterable[Declared], lists: Lists) -> HookEntries:
    """What of the entry points `declared` in the hook group may be used. What may not is logged."""
    usable = []
    lacking = []
    unmet = set(lists.required_hooks)
    for found in declared:
        claims = {entry for entry in lists.required_hooks if is_named([entry], found.name, found.distribution)}
        unmet -= claims
        hook = replace(found, required=bool(claims))
        blocked = lists.reason(hook.name, hook.distribution)
        problem = hook.broken or hook.incompatible
        if blocked is not None:
            line = f"the hooks of {hook.origin} are blocked: {blocked}"
            _log.info("%s", line)
        elif problem is not None:
            line = f"the hooks of {hook.origin} cannot be used: {problem}"
            _log.warning("%s", line)
        else:
            usable.append(hook)
            continue
        if hook.required:
            lacking.append(line)
    lacking += [f"no installed distribution has hooks named {name!r} ({REQUIRED_HOOKS_VARIABLE})" for name in unmet]
    return HookEntries(tuple(usable), tuple(sorted(lacking)))


def _report(problems: Iterable[str], candidates: Iterable[Candidate], lists: Lists) -> None:
    for problem in problems:
        _log.warning("%s", problem)
    for candidate in candidates:
        record = candidate.record
        if record.error is not None:
            # What the operator's own lists block is no news; the rest of what cannot be used is.
            level = logging.WARNING if lists.reason(record.name, record.distribution) is None else logging.INFO
            _log.log(level, "the binding %r (%s) is %s: %s", record.name, record.origin, record.state, record.error)
