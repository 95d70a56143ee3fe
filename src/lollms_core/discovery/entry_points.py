"""What installed distributions declare in some groups, read without importing any of them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from lollms_core.discovery.compatibility import requirement_problem
from lollms_core.discovery.distributions import Declaring, declaring
from lollms_core.discovery.lists import normalised
from lollms_core.discovery.records import origin_of

__all__ = ["Declared", "Scan", "scan"]

_VALUE = re.compile(r"(?P<module>\w+(?:\.\w+)*)\s*(?::\s*(?P<attribute>\w+(?:\.\w+)*)\s*)?(?:\[.*\]\s*)?")


@dataclass(frozen=True, slots=True)
class Declared:
    """One entry point.

    Attributes:
        group, name: as declared.
        module, attribute: the two sides of the colon; module is "" if the value cannot be read.
        distribution, version: of the distribution that declares it.
        broken: what is wrong with the declaration, else None.
        incompatible: what keeps the distribution from working with this lollms-core, else None.
        required: whether the operator wants nothing to run without it.
    """

    group: str
    name: str
    module: str
    attribute: str | None
    distribution: str
    version: str | None
    broken: str | None = None
    incompatible: str | None = None
    required: bool = False

    @property
    def origin(self) -> str:
        """``distribution NAME VERSION``, for messages."""
        return origin_of(self.distribution, self.version)


@dataclass(frozen=True, slots=True)
class Scan:
    """All entry points of some groups, in an order that is the same on every run, and what could not be read."""

    declared: tuple[Declared, ...]
    problems: tuple[str, ...]

    def group(self, group: str) -> tuple[Declared, ...]:
        """The entry points of one group."""
        return tuple(item for item in self.declared if item.group == group)


def scan(groups: Collection[str]) -> Scan:
    """The entry points in `groups`. Reads files only; no plugin code runs, and nothing raises."""
    declared: list[Declared] = []
    problems: list[str] = []
    for found in declaring(groups, problems):
        declared += _declared_by(found, groups, problems)
    declared.sort(key=lambda item: (item.group, item.name, normalised(item.distribution), item.version or ""))
    return Scan(tuple(declared), tuple(sorted(problems)))


def _declared_by(found: Declaring, groups: Collection[str], problems: list[str]) -> list[Declared]:
    origin = origin_of(found.name, found.version)
    broken = None
    if found.undecodable:
        broken = f"the entry_points.txt of {origin} is not UTF-8"
        problems.append(broken)
    if not found.has_metadata:
        problems.append(f"the METADATA of {origin} is missing or cannot be read")
    incompatible = requirement_problem(found.requires)
    declared: dict[tuple[str, str], Declared] = {}
    for group, name, value in _entries(found.text, groups, origin, problems):
        match = _VALUE.fullmatch(value)
        wrong = None if match else f"its entry point {name} = {value} names no module"
        module, attribute = (match["module"], match["attribute"]) if match else ("", None)
        entry = Declared(group, name, module, attribute, found.name, found.version, broken or wrong, incompatible)
        if (group, name) in declared:
            problems.append(f"{origin} declares {name} in [{group}] twice; the first one counts")
        declared.setdefault((group, name), entry)
    return list(declared.values())


def _entries(text: str, groups: Collection[str], origin: str, problems: list[str]) -> Iterator[tuple[str, str, str]]:
    """``(group, name, value)`` of the lines in `groups`; a line that is none is told and passed over."""
    group = ""
    for raw in text.removeprefix("\ufeff").splitlines():
        line = raw.strip()
        if not line or line[0] in "#;":
            continue
        if line.startswith("[") and line.endswith("]"):
            group = line[1:-1].strip()
        elif group in groups:
            name, _, value = (part.strip() for part in line.partition("="))
            if name and value:
                yield group, name, value
            else:
                problems.append(f"the entry_points.txt of {origin} has a line that is no entry point: {line[:80]!r}")
