"""What a folder wants installed. It is looked up and told, never installed."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from lollms_core.discovery.reports import scrub

if TYPE_CHECKING:
    from packaging.requirements import Requirement

__all__ = ["Requirements", "installed_version", "wanted_of"]


_CAME_ALONG = {
    **{name: name for name in ("filelock", "httpx", "jsonschema", "numpy", "pydantic", "requests", "sqlalchemy")},
    "PIL": "pillow",
    "tiktoken": "tiktoken",
    "yaml": "pyyaml",
}
"""Modules that lollms_client brought along, so that folders import them without asking; their distributions."""


class Requirements:
    """What a folder asked for and is not there, each distribution once."""

    def __init__(self) -> None:
        self._missing: dict[str, str] = {}

    def need(self, wanted: str) -> bool:
        """Whether `wanted` (a requirement as pip takes it, or the URL of an archive) is there; if not, it is kept."""
        there = _is_met(wanted)
        if not there:
            self._missing.setdefault(_name_of(wanted), wanted)
        return there

    def note(self, exc: BaseException) -> None:
        """Keep what `exc` misses, if it is a module that came along with lollms_client."""
        if isinstance(exc, ModuleNotFoundError):
            distribution = _CAME_ALONG.get((exc.name or "").partition(".")[0])
            if distribution is not None:
                self.need(distribution)

    def __bool__(self) -> bool:
        return bool(self._missing)

    def __str__(self) -> str:
        """One line with the names and the command that installs them, "" if nothing is missing."""
        if not self._missing:
            return ""
        command = shlex.join(["pip", "install", *map(scrub, self._missing.values())])
        return f"missing requirements: {', '.join(self._missing)}; install them with: {command}"

    def some_arrived(self) -> bool:
        """Whether one of them has been installed since."""
        return any(map(_is_met, list(self._missing.values())))


def wanted_of(given: Any) -> Iterator[str]:
    """The requirements that `given` stands for: one, several, or a mapping of names to version specifiers."""
    if isinstance(given, str):
        yield from [given] if given.strip() else []
    elif isinstance(given, Mapping):
        for name, version in given.items():
            if isinstance(version, Mapping):  # {"vcs": where from, "condition": version}
                yield f"{name} @ {version['vcs']}" if version.get("vcs") else f"{name}{version.get('condition') or ''}"
            else:
                yield f"{name}{'' if version in (None, 'latest') else version}"
    else:
        for one in given:
            yield from wanted_of(one)


def installed_version(name: str) -> str | None:
    """The version of an installed distribution; "" where its metadata does not tell, None if it is not there."""
    try:
        return metadata.version(name) or ""
    except KeyError:  # a distribution whose METADATA lacks the version
        return ""
    except (metadata.PackageNotFoundError, ValueError):
        return None


def _is_met(wanted: str) -> bool:
    requirement = _parsed(wanted)
    version = installed_version(requirement.name if requirement else _name_of(wanted))
    if version is None or requirement is None or not version:
        return version is not None
    return requirement.specifier.contains(version, prereleases=True)


def _parsed(wanted: str) -> Requirement | None:
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        return Requirement(wanted)
    except InvalidRequirement:
        return None


def _name_of(wanted: str) -> str:
    """The distribution's name; of a URL or path, what its last part begins with (PEP 427)."""
    requirement = _parsed(wanted)
    if requirement is not None:
        return requirement.name
    last = PurePosixPath(urlsplit(wanted).path.rstrip("/")).name.removesuffix(".git")
    return last.partition("-")[0].replace("_", "-") or wanted
