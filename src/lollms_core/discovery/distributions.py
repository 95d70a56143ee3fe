"""Walking the installed distributions, each guarded by itself.

Only the entry points' text is read of all of them, and the metadata of those alone that mention a wanted
group: a thousand others cost one small read each.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lollms_core.discovery.installed import Distribution, Installed, OnDisk
from lollms_core.discovery.lists import normalised
from lollms_core.discovery.reports import one_line

__all__ = ["Declaring", "declaring"]


@dataclass(frozen=True, slots=True)
class Declaring:
    """A distribution whose entry points mention a wanted group.

    Attributes:
        name, version: from its METADATA, or, where that is missing or corrupt, from its folder's name.
        text: its entry_points.txt.
        undecodable: whether that is not UTF-8; `text` has replacement characters then.
        has_metadata: whether its METADATA is there and can be read.
        requires: its requirements.
        place: the directory that it is installed in, None if it does not say.
    """

    name: str
    version: str | None
    text: str
    undecodable: bool
    has_metadata: bool
    requires: tuple[str, ...]
    place: str | None


def declaring(groups: Collection[str], problems: list[str]) -> list[Declaring]:
    """The distributions that mention one of `groups`; what cannot be read is added to `problems`.

    Of a distribution that is found twice, the first on ``sys.path`` counts, as for imports; of two versions
    in one directory, the newer.
    """
    by_name: dict[str, list[Declaring]] = {}
    installed = Installed(problems)
    for found in _mentioning(installed, groups, problems):
        rivals = by_name.setdefault(normalised(found.name), [])
        if found not in rivals:  # a directory may stand on sys.path twice
            rivals.append(found)
    chosen = []
    for name, rivals in by_name.items():
        first = _first_place(name, installed)
        there = [found for found in rivals if first is None or found.place in {first, None}]
        if there:
            chosen.append(_newest(there, problems))
    return chosen


def _mentioning(installed: Installed, groups: Collection[str], problems: list[str]) -> Iterator[Declaring]:
    wanted = [group.encode() for group in groups]
    for distribution in installed.all():
        undecodable = False
        try:
            if isinstance(distribution, OnDisk) and distribution.mentions_none(wanted):
                continue
            text = distribution.read_text("entry_points.txt")
        except UnicodeDecodeError as exc:
            text, undecodable = bytes(exc.object).decode("utf-8", "replace"), True
        except Exception as exc:  # noqa: BLE001 - whatever is wrong with one distribution, the others are read
            problems.append(f"the entry points of {_stem(distribution)[0]} cannot be read: {one_line(exc)}")
            continue
        if text and any(group in text for group in groups):
            yield _identified(distribution, text, undecodable)


def _identified(distribution: Distribution, text: str, undecodable: bool) -> Declaring:
    name, version = _stem(distribution)
    requires: tuple[str, ...] = ()
    has_metadata = True
    try:
        headers = _headers(distribution)
        if headers is not None and "name" in headers:
            name, version = headers["name"][0], headers.get("version", [version])[0]
            requires = tuple(headers.get("requires-dist", ()))
        else:
            # An egg, or what another finder makes.
            name, version = str(distribution.metadata["Name"]), str(distribution.metadata["Version"])
            requires = tuple(distribution.requires or ())
    except Exception:  # noqa: BLE001 - told by whoever sees has_metadata
        has_metadata = False
    return Declaring(name, version, text, undecodable, has_metadata, requires, _place(distribution))


def _headers(distribution: Distribution) -> dict[str, list[str]] | None:
    """The headers of METADATA in lower case, None if there is none.

    Read by hand because importing the email package takes as long as walking a few hundred distributions.
    """
    text = distribution.read_text("METADATA")
    if text is None:
        return None
    headers: dict[str, list[str]] = {}
    for line in text.splitlines():
        if not line:
            break
        name, colon, value = line.partition(":")
        if colon and not name[:1].isspace():
            headers.setdefault(name.strip().lower(), []).append(value.strip())
    return headers


def _stem(distribution: Distribution) -> tuple[str, str | None]:
    """Name and version in ``NAME-VERSION.dist-info``."""
    folder = Path(distribution.folder).name if isinstance(distribution, OnDisk) else ""
    folder = folder or getattr(getattr(distribution, "_path", None), "name", "")
    name, _, version = re.sub(r"\.(dist|egg)-info$", "", folder).partition("-")
    return name or "a distribution of unknown name", version or None


def _place(distribution: Distribution) -> str | None:
    try:
        return str(distribution.locate_file(""))
    except Exception:  # noqa: BLE001 - allowed to those who keep no files
        return None


def _first_place(name: str, installed: Installed) -> str | None:
    """Where the first distribution of that name on ``sys.path`` lies; remains without metadata don't count."""
    return next((_place(other) for other in installed.named(name) if _has_metadata(other)), None)


def _has_metadata(distribution: Distribution) -> bool:
    try:
        return bool(distribution.read_text("METADATA") or distribution.read_text("PKG-INFO"))
    except UnicodeDecodeError:
        return True  # it is there, if not readable
    except Exception:  # noqa: BLE001 - one that cannot be read hides nobody
        return False


def _newest(rivals: Iterable[Declaring], problems: list[str]) -> Declaring:
    first, *others = rivals
    if not others:
        return first
    # An interrupted upgrade leaves the older metadata beside the newer code.
    best = max(first, *others, key=lambda found: (found.has_metadata, _version_key(found.version)))
    versions = ", ".join(sorted(found.version or "of unknown version" for found in (first, *others)))
    problems.append(f"the distribution {best.name} is installed more than once ({versions}); {best.version} is used")
    return best


def _version_key(version: str | None) -> tuple[Any, ...]:
    from packaging.version import InvalidVersion, Version

    try:
        return (1, Version(version or ""), "")
    except InvalidVersion:
        return (0, Version("0"), version or "")
