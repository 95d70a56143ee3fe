"""Templates: files whose ``<<name>>`` stand for values. Strict: a name without a value is an error."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable

__all__ = ["licence", "render", "template", "tree"]

_PLACE = re.compile(r"<<(\w+)>>")
_ALONE = re.compile(r"^ *<<(\w+)>>\n", re.MULTILINE)

SUFFIX = ".tmpl"


def render(text: str, values: Mapping[str, str]) -> str:
    """`text` with its values. A line that is nothing but the place of an empty value goes away.

    Raises:
        KeyError: a place has no value.
    """
    text = _ALONE.sub(lambda match: match[0] if values[match[1]] else "", text)
    return _PLACE.sub(lambda match: values[match[1]], text)


def tree(name: str) -> dict[str, str]:
    """The templates below ``templates/NAME``, by the path that each is for, with ``/``."""
    return dict(sorted(_below(_data("templates") / name)))


def template(name: str) -> str:
    """The text of one file in ``templates``."""
    return (_data("templates") / name).read_text("utf-8")


def licence(identifier: str) -> str:
    """The text of a licence, which is a template too."""
    return (_data("licences") / f"{identifier}.txt").read_text("utf-8")


def _data(name: str) -> Traversable:
    return files("lollms_core.scaffold") / name


def _below(folder: Traversable, path: str = "") -> Iterator[tuple[str, str]]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _below(entry, f"{path}{entry.name}/")
        elif entry.name.endswith(SUFFIX):
            yield path + entry.name.removesuffix(SUFFIX), entry.read_text("utf-8")
