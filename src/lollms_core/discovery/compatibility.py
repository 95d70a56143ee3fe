"""Whether a plugin is made for this lollms-core, told from what it declares, without importing it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

__all__ = ["API", "api_problem", "requirement_problem"]

API = 1
"""The level that a folder's ``LOLLMS_API`` names."""

_RELEASE = re.compile(r"\d+(\.\d+)*")
_BOUND = r"(?:>=|<)\s*\d+(?:\.\d+)*"
_PLAIN = re.compile(rf"\s*lollms[-_.]+core\s*(?P<bounds>(?:{_BOUND}\s*(?:,\s*{_BOUND}\s*)*)?)", re.IGNORECASE)
_MENTIONS_CORE = re.compile(r"\s*lollms[-_.]+core(?![\w.-])", re.IGNORECASE)


def requirement_problem(requires: Iterable[str]) -> str | None:
    """What keeps a distribution with these requirements from working with this lollms-core, else None."""
    about_core = [text for text in requires if _MENTIONS_CORE.match(text)]
    if not about_core:
        return None
    import lollms_core

    if all(_surely_holds(text, lollms_core.__version__) for text in about_core):
        return None
    for text in about_core:
        try:
            if not _holds(text, lollms_core.__version__):
                return f"it requires {text.split(';')[0].strip()}, and this is lollms-core {lollms_core.__version__}"
        except ValueError:  # what all of packaging's errors are
            return f"its requirement {text!r} cannot be read"
    return None


def _holds(text: str, version: str) -> bool:
    from packaging.requirements import Requirement

    requirement = Requirement(text)
    # Requirements of an extra hold only if that extra was asked for, which metadata does not tell.
    if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
        return True
    return requirement.specifier.contains(version, prereleases=True)


def _surely_holds(requirement: str, version: str) -> bool:
    """Whether plain numbers alone say so, as nearly always: importing packaging takes longer than all the rest."""
    match = _PLAIN.fullmatch(requirement)
    if match is None or not _RELEASE.fullmatch(version):
        return False
    mine = _numbers(version)
    for bound in match["bounds"].split(",") if match["bounds"] else ():
        number = _numbers(bound.strip().lstrip("<>= "))
        if not (mine >= number if ">" in bound else mine < number):
            return False
    return True


def _numbers(version: str) -> list[int]:
    """For comparing: 1.0 and 1 are the same."""
    numbers = [int(part) for part in version.split(".")]
    while numbers and numbers[-1] == 0:
        del numbers[-1]
    return numbers


def api_problem(level: Any) -> str | None:
    """What is wrong with a folder's ``LOLLMS_API``, else None."""
    if isinstance(level, int) and level == API:
        return None
    return f"it is written for LOLLMS_API {level!r}, and this lollms-core has {API}"
