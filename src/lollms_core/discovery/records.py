"""What is known of a binding without importing it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from lollms_core.discovery.reports import printable

__all__ = ["BindingRecord", "Source", "State"]

Source: TypeAlias = Literal["entry point", "directory"]

State: TypeAlias = Literal["found", "loaded", "failed", "blocked", "shadowed", "incompatible"]
"""found: not used yet; loaded: its class is imported; failed: it could not be; blocked: the operator's lists or
the state of its folder forbid it; shadowed: another place has the name; incompatible: it is made for another
lollms-core."""


@dataclass(frozen=True, slots=True)
class BindingRecord:
    """One place that a binding's name comes from.

    Attributes:
        name: as given to ``create_binding``.
        source: an installed distribution's entry point, or the bindings directory.
        state: see :data:`State`.
        distribution: the distribution's name, None for a folder.
        version: the distribution's version, None for a folder or where it is not known.
        module: the module that the entry point names, None for a folder.
        path: the folder, None for an entry point.
        attribute: the class's name as it is written down; None where the module says it only when it runs.
        description_file: the folder's ``description.yaml``, None where there is none.
        description: what stands in that file (title, author, input_parameters, ...) as plain data; None without
            PyYAML, or where the file is no description.
        error: one line on why the binding cannot be used, None if it can.
    """

    name: str
    source: Source
    state: State = "found"
    distribution: str | None = None
    version: str | None = None
    module: str | None = None
    path: str | None = None
    attribute: str | None = None
    description_file: str | None = None
    description: Mapping[str, Any] | None = field(default=None, hash=False)
    error: str | None = None

    @property
    def origin(self) -> str:
        """Who supplies it, as messages say it (``distribution lollms-ollama 0.1.0`` or ``folder /.../my_custom``)."""
        return (
            f"folder {printable(self.path or '')}"
            if self.source == "directory"
            else origin_of(self.distribution, self.version)
        )


def origin_of(distribution: str | None, version: str | None) -> str:
    """A distribution as messages name it."""
    return printable(f"distribution {distribution or 'of unknown name'}{f' {version}' if version else ''}")
