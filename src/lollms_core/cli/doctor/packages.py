"""Distributions that declare bindings, hooks, commands or dialects: versions and whether they fit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from lollms_core.cli.check import DIALECTS
from lollms_core.cli.external import GROUP as COMMANDS
from lollms_core.discovery.catalog import HOOK_GROUP, hook_entries
from lollms_core.discovery.entry_points import Declared, Scan
from lollms_core.discovery.lists import REQUIRED_HOOKS_VARIABLE, Lists
from lollms_core.findings import Finding

__all__ = ["Package", "groups", "packages", "packages_of", "required_hooks"]

_KINDS = {HOOK_GROUP: ("hook", "hooks"), COMMANDS: ("command", "commands"), DIALECTS: ("dialect", "dialects")}


@dataclass(frozen=True, slots=True)
class Package:
    """A distribution and what it declares."""

    name: str
    version: str | None
    entries: tuple[Declared, ...]

    @property
    def title(self) -> str:
        """Its name and version."""
        return f"{self.name} {self.version or 'of unknown version'}"


def groups(bindings: str) -> tuple[str, ...]:
    """The entry-point groups that make a distribution one of ours; `bindings` is that of the bindings."""
    return (bindings, *_KINDS)


def packages_of(scan: Scan) -> list[Package]:
    """The distributions that were found, in alphabetical order."""
    found: dict[tuple[str, str | None], list[Declared]] = {}
    for declared in scan.declared:
        found.setdefault((declared.distribution, declared.version), []).append(declared)
    return [Package(*key, tuple(entries)) for key, entries in sorted(found.items(), key=lambda item: str(item[0]))]


def packages(found: Iterable[Package], problems: Iterable[str], lists: Lists) -> Iterator[Finding]:
    """A finding for each distribution, and one for each thing that could not be read."""
    for package in found:
        yield _finding(package, lists)
    for problem in problems:
        yield Finding("warning", problem, "install that distribution anew: pip install --force-reinstall NAME")


def required_hooks(scan: Scan, lists: Lists) -> Iterator[Finding]:
    """The hooks that the operator requires and that are not in force: without them no binding is created."""
    for line in hook_entries(scan.group(HOOK_GROUP), lists).lacking:
        text = f"no binding is created, because a required hook is not in force: {line}"
        remedy = f"install or repair its package, or take its name out of {REQUIRED_HOOKS_VARIABLE}"
        yield Finding("problem", text, remedy)


def _finding(package: Package, lists: Lists) -> Finding:
    facts = {
        "name": package.name,
        "version": package.version,
        "declares": [f"{entry.group}:{entry.name}" for entry in package.entries],
    }
    blocked = [lists.reason(entry.name, entry.distribution) for entry in package.entries]
    broken = next((entry.broken for entry in package.entries if entry.broken), None)
    incompatible = next((entry.incompatible for entry in package.entries if entry.incompatible), None)
    if all(blocked):
        return Finding("absent", f"{package.title} is blocked: {blocked[0]}", facts=facts)
    if broken is not None:
        remedy = f"pip install --force-reinstall {package.name}"
        return Finding("problem", f"{package.title}: {broken}", remedy, facts=facts)
    if incompatible is not None:
        remedy = f"pip install --upgrade lollms-core {package.name}"
        return Finding("problem", f"{package.title}: {incompatible}", remedy, facts=facts)
    return Finding("ok", f"{package.title}: {_declares(package)}", facts=facts)


def _declares(package: Package) -> str:
    kinds: dict[tuple[str, str], list[str]] = {}
    for entry in package.entries:
        kinds.setdefault(_KINDS.get(entry.group, ("binding", "bindings")), []).append(entry.name)
    return "; ".join(f"{one if len(names) == 1 else many} {', '.join(names)}" for (one, many), names in kinds.items())
