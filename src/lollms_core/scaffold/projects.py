"""What is written for a new binding: a distribution, or a folder of the bindings directory."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from packaging.version import Version

from lollms_core import __version__
from lollms_core.scaffold.naming import Names
from lollms_core.scaffold.templating import licence, render, template, tree

__all__ = ["LICENCES", "SHAPES", "Shape", "distribution_files", "folder_files"]

LICENCES = ("Apache-2.0", "MIT", "BSD-3-Clause", "GPL-3.0-or-later")
"""SPDX identifiers of the licences whose text is here."""


@dataclass(frozen=True, slots=True)
class Shape:
    """One way to write a binding.

    Attributes:
        summary: what a binding of this shape is, in a few words for those who choose.
        model: what the one that is written answers with, for its README.
        requires: distributions that it needs beside lollms-core.
        stand_in: whether it answers only with a server, for which its ``tests/dialect.py`` stands in.
    """

    summary: str
    model: str
    requires: tuple[str, ...] = ()
    stand_in: bool = False


SHAPES: Mapping[str, Shape] = {
    "eight-methods": Shape("the eight methods of the contract, nothing else", "The words of the prompt, in any order"),
    "in-process": Shape(
        "a model in the process: one generator of events, typed options", "A Markov chain over letters"
    ),
    "http": Shape(
        "a server: what is sent to it and what its records mean",
        "The models of a server over HTTP",
        requires=("lollms-http>=0.1,<1",),
        stand_in=True,
    ),
}
"""The shapes, by the names that users give."""


def distribution_files(
    names: Names, shape: str, licence_id: str | None, author: str | None = None, email: str | None = None
) -> dict[str, str]:
    """The files of a distribution: path, with ``/``, to text.

    Args:
        names: the binding's names.
        shape: one of :data:`SHAPES`.
        licence_id: one of :data:`LICENCES`, None for no licence.
        author: who wrote it; None for "The lollms-NAME authors".
        email: the author's address.
    """
    holder = author or f"The {names.distribution} authors"
    values = {
        **_values(names, shape),
        "author": _author(holder, email),
        "dependencies": "\n    ".join(f'"{line}",' for line in sorted([_range(), *SHAPES[shape].requires])),
        "licence_metadata": f'license = "{licence_id}"\nlicense-files = ["LICENSE"]' if licence_id else "",
        "licence_line": f"Licence: {licence_id}."
        if licence_id
        else "No licence is chosen yet: until there is one, nobody else may copy or change it.",
    }
    templates = {**tree("distribution"), **tree(shape)}
    written = {_path(path, names): render(text, values) for path, text in templates.items()}
    if licence_id:
        written["LICENSE"] = render(licence(licence_id), {"year": str(datetime.now(UTC).year), "holder": holder})
    return dict(sorted(written.items()))


def folder_files(names: Names, shape: str) -> dict[str, str]:
    """The files of a folder in the bindings directory; as for :func:`distribution_files`."""
    package = "src/__package__/"
    of_shape = tree(shape)
    templates = {path.removeprefix(package): text for path, text in of_shape.items() if path.startswith(package)}
    templates |= tree("local")
    if SHAPES[shape].stand_in:
        templates |= {"tests/dialect.py": of_shape["tests/dialect.py"], **tree("local-http")}
    return {path: render(text, _values(names, shape)) for path, text in sorted(templates.items())}


def _values(names: Names, shape: str) -> dict[str, str]:
    model = SHAPES[shape].model
    values = {
        "name": names.name,
        "distribution": names.distribution,
        "package": names.package,
        "class": names.binding_class,
        "options": f"{names.stem}Options",
        "dialect": f"{names.stem}Dialect",
        "variable": names.name.upper(),
        "summary": model,
        "summary_inside": model[0].lower() + model[1:],
    }
    return {**values, "about": render(template(f"{shape}.md"), values).strip()}


def _path(path: str, names: Names) -> str:
    return path.replace("__package__", names.package)


def _author(name: str, email: str | None) -> str:
    """An entry of ``authors``, as TOML."""
    # Strings of JSON are strings of TOML too.
    fields = {"name": name, **({"email": email} if email else {})}
    return "{ " + ", ".join(f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in fields.items()) + " }"


def _range() -> str:
    """The versions of lollms-core that a binding written now works with: the contract only grows until the next major.

    A pre-release counts as itself, since ``>=0.2`` would not take ``0.2.0rc1``.
    """
    version = Version(__version__)
    least = version.public if version.is_prerelease else f"{version.major}.{version.minor}"
    return f"lollms-core>={least},<{version.major + 1}"
