"""What is installed, found without a library: nearly all of it lies in directories on ``sys.path``.

importlib_metadata finds the same, and also what lies in zip files and eggs; it is imported for those, and for the
finders that other packages have put on ``sys.meta_path``. Importing it takes as long as walking a thousand
distributions, making its objects takes twice as long again, and it takes Python's own finder out of the process.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

from lollms_core.discovery.lists import normalised
from lollms_core.discovery.reports import one_line

__all__ = ["Distribution", "Installed", "OnDisk"]

_MISSING = (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError)


class Distribution(Protocol):
    """What is used of distributions: those found here, importlib_metadata's, and those that other finders make."""

    @property
    def metadata(self) -> Any: ...

    @property
    def requires(self) -> list[str] | None: ...

    def read_text(self, filename: str, /) -> str | None: ...

    def locate_file(self, path: str, /) -> Any: ...


class OnDisk:
    """A metadata folder, such as ``NAME-VERSION.dist-info``.

    Attributes:
        folder: its path.
    """

    __slots__ = ("folder",)

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def read_text(self, filename: str, /) -> str | None:
        """The text of a file in it, None where there is none.

        Raises:
            UnicodeDecodeError: it is not UTF-8.
            OSError: it cannot be read.
        """
        try:
            return Path(self.folder, filename).read_text("utf-8")
        except _MISSING:
            return None

    def mentions_none(self, groups: list[bytes]) -> bool:
        """Whether none of `groups` stands anywhere in its entry points: nearly all distributions end here."""
        try:
            with open(f"{self.folder}{os.sep}entry_points.txt", "rb", 0) as file:  # noqa: PTH123 - Path is slow
                content = file.read()
        except OSError:
            return True
        return not any(group in content for group in groups)

    def locate_file(self, path: str, /) -> Path:
        """Where a file of the distribution lies."""
        return Path(self.folder).parent / path

    @property
    def metadata(self) -> Any:
        """The headers, as importlib_metadata reads them."""
        return self._read_by_library().metadata

    @property
    def requires(self) -> list[str] | None:
        """The requirements, likewise: older ways to write them down need a parser."""
        requires: list[str] | None = self._read_by_library().requires
        return requires

    def _read_by_library(self) -> Any:
        from importlib_metadata import PathDistribution

        return PathDistribution(Path(self.folder))


class Installed:
    """One look at what is installed; directories are listed once.

    Args:
        problems: gets a line for each finder that fails.
    """

    def __init__(self, problems: list[str]) -> None:
        self._problems = problems
        self._listed: dict[str, list[str] | None] = {}

    def all(self) -> Iterator[Distribution]:
        """All distributions: what other finders have, then what lies on ``sys.path``, in its order."""
        return self._found(lambda _: True, {})

    def named(self, name: str) -> Iterator[Distribution]:
        """Those of that name, however it is spelled."""
        wanted = normalised(name)

        def fits(folder: str) -> bool:
            # Names begin with a letter or a digit, which spares nearly all the longer look.
            return folder[:1].lower() == wanted[:1] and normalised(_stem(folder)) == wanted

        return self._found(fits, {"name": name})

    def _found(self, fits: Callable[[str], bool], context: dict[str, Any]) -> Iterator[Distribution]:
        for finder in list(sys.meta_path):
            find = getattr(finder, "find_distributions", None)
            if find is not None and not _looks_on_the_path(finder):
                yield from self._guarded(find, context)
        path: list[object] = [*sys.path]
        for entry in path:
            if not isinstance(entry, str):
                continue  # nothing can be imported from there
            names = self._names(entry)
            if names is None:
                yield from self._guarded(_on_the_path, {**context, "path": [entry]})
            else:
                yield from (OnDisk(os.path.join(entry, name)) for name in names if fits(name))  # noqa: PTH118

    def _guarded(self, find: Callable[[Any], Any], context: dict[str, Any]) -> Iterator[Distribution]:
        from importlib_metadata import DistributionFinder

        try:
            yield from find(DistributionFinder.Context(**context))  # type: ignore[no-untyped-call]
        except Exception as exc:  # noqa: BLE001 - a finder that another package has put there
            self._problems.append(f"the search for installed distributions broke off: {one_line(exc)}")

    def _names(self, entry: str) -> list[str] | None:
        """The names of the metadata folders there; None for a zip file or an egg."""
        if entry not in self._listed:
            self._listed[entry] = None if entry.lower().endswith(".egg") else _metadata_folders(entry)
        return self._listed[entry]


def _metadata_folders(directory: str) -> list[str] | None:
    try:
        names = os.listdir(directory or ".")  # noqa: PTH208 - names are all that is wanted
    except NotADirectoryError:
        return None
    except OSError:
        return []
    return [name for name in names if name.lower().endswith((".dist-info", ".egg-info"))]


def _on_the_path(context: Any) -> Any:
    from importlib_metadata import MetadataPathFinder

    return MetadataPathFinder.find_distributions(context)


def _looks_on_the_path(finder: object) -> bool:
    """Whether it finds what lies on ``sys.path`` and nothing else: Python's own finder, or importlib_metadata's."""
    kind = finder if isinstance(finder, type) else type(finder)
    module = kind.__module__.rpartition(".")[2]
    return module in {"_frozen_importlib_external", "importlib_metadata"} and kind.__name__.endswith("PathFinder")


def _stem(folder: str) -> str:
    """The name in ``NAME-VERSION.dist-info``."""
    return folder.rpartition(".")[0].partition("-")[0]
