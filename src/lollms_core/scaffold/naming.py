"""The names of a new binding, and those that it can't have."""

from __future__ import annotations

import keyword
import re
from dataclasses import dataclass
from typing import Self

from lollms_core.discovery.catalog import PACKAGES

__all__ = ["Names"]

MAX_LENGTH = 30
"""Most letters of a name; the lines of what is written are short enough with it."""

_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")

_RESERVED = {
    "client": "lollms-client is another project",
    "core": "lollms-core is the core itself",
    "event": "EventBinding is a class of lollms-core",
    "http": "lollms-http is what bindings over HTTP are built on",
    "ndjson": "NdjsonDialect is a class of lollms-core",
}


@dataclass(frozen=True, slots=True)
class Names:
    """The name of a binding, and those that follow from it.

    Attributes:
        name: what users write: ``my_engine``.
    """

    name: str

    @classmethod
    def of(cls, name: str) -> Self:
        """The names that belong to `name`.

        Raises:
            ValueError: no new binding can have it; the text says why.
        """
        if not _NAME.fullmatch(name) or keyword.iskeyword(name) or len(name) > MAX_LENGTH:
            raise ValueError(
                f"{name!r} can't be the name of a binding: it takes small letters, digits and single underscores, "
                f"a letter first, at most {MAX_LENGTH}, and no keyword of Python{_proposed(name)}"
            )
        if name in PACKAGES:
            raise ValueError(f"the name {name!r} is taken: it is a binding of {PACKAGES[name]}")
        if name in _RESERVED:
            raise ValueError(f"the name {name!r} is taken: {_RESERVED[name]}")
        return cls(name)

    @property
    def distribution(self) -> str:
        """``lollms-my-engine``."""
        return "lollms-" + self.name.replace("_", "-")

    @property
    def package(self) -> str:
        """``lollms_my_engine``."""
        return f"lollms_{self.name}"

    @property
    def stem(self) -> str:
        """``MyEngine``, which the names of classes begin with."""
        return "".join(part.capitalize() for part in self.name.split("_"))

    @property
    def binding_class(self) -> str:
        """``MyEngineBinding``."""
        return f"{self.stem}Binding"


def _proposed(name: str) -> str:
    """``: my_engine, say``, where `name` can be made a name so easily."""
    proposal = re.sub(r"[^a-z0-9]+", "_", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower())
    proposal = proposal.strip("_").removeprefix("lollms_")[:MAX_LENGTH].strip("_")
    good = _NAME.fullmatch(proposal) and not keyword.iskeyword(proposal)
    return f": {proposal}, say" if good else ""
