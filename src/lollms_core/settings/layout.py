"""A TOML file as sections of text, so that a change touches its own lines and every comment stays where it is.

tomlkit takes a comment that stands above a table for the end of the table before: with that table it would go, and
what is added to it would come between the comment and what it is about. Here such lines are a tail of their own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Section", "edited", "sections"]

_LINE = re.compile(r"[^\n]*\n|[^\n]+")
_HEAD = re.compile(r"\s*\[(?!\[)(?P<key>.*)\]\s*(#.*)?$")
_ARRAY = re.compile(r"\s*\[\[.*\]\]\s*(#.*)?$")
_BARE = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(slots=True)
class Section:
    """A table as it stands in the file.

    Attributes:
        place: its name's parts; none for what stands before the first table.
        head: its line in brackets, with a blank line before it where the section is new.
        body: its values, with the comments among them.
        tail: blank lines and comments that belong to what comes next.
    """

    place: tuple[str, ...]
    head: str
    body: str
    tail: str


def edited(text: str, changes: Mapping[tuple[str, ...], Any], removed: object) -> str:
    """`text` with the changes, each of which is the new value of a place, or `removed`.

    A layout that is not one of plain tables may come out wrong: the caller compares.

    Raises:
        ValueError, KeyError, TypeError: what is there cannot be understood.
    """
    found = list(sections(text))
    for place, value in changes.items():
        if value is removed:
            _remove(found, place)
        else:
            _set(found, place, value)
    made = "".join(section.head + section.body + section.tail for section in found)
    if "\r\n" in text and not re.search(r"(?<!\r)\n", text):
        made = re.sub(r"(?<!\r)\n", "\r\n", made)
    return made


def sections(text: str) -> Iterator[Section]:
    """The sections of `text`, of which the first has no head."""
    place: tuple[str, ...] = ()
    head, lines = "", list[str]()
    for line in _LINE.findall(text):
        key = _HEAD.match(line.rstrip("\r\n"))
        if key or _ARRAY.match(line.rstrip("\r\n")):
            yield Section(place, head, *_parted(lines, first=not head))
            place, head, lines = _parts(key["key"]) if key else ("[[", line), line, []
        else:
            lines.append(line)
    yield Section(place, head, *_parted(lines, first=not head))


def _parts(key: str) -> tuple[str, ...]:
    import tomllib

    data = tomllib.loads(f"[{key}]")
    parts = []
    while data:
        [(name, data)] = data.items()
        parts.append(name)
    return tuple(parts)


def _parted(lines: list[str], *, first: bool) -> tuple[str, str]:
    """The lines of a section, and those at its end that belong to the next."""
    end = len(lines)
    while end and not _says(lines[end - 1]):
        end -= 1
    blanks = [index for index in range(end, len(lines)) if not lines[index].strip()]
    if first and end == 0:
        # The comment on top of the file stays on top; one that stands right above a table belongs to that.
        end = blanks[-1] + 1 if blanks else 0
    elif blanks:
        end = blanks[0]
    return "".join(lines[:end]), "".join(lines[end:])


def _says(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith("#")


def _remove(found: list[Section], place: tuple[str, ...]) -> None:
    kept = []
    for section in found:
        if section.head and section.place[: len(place)] == place:
            if "#" in section.tail:
                kept.append(Section(section.place, "", "", section.tail))
            continue
        kept.append(section)
        if section.place == place[:-1]:
            import tomlkit

            document = tomlkit.parse(section.body)
            if place[-1] in document:
                del document[place[-1]]
                section.body = tomlkit.dumps(document)
    found[:] = kept


def _set(found: list[Section], place: tuple[str, ...], value: Any) -> None:
    import tomlkit

    table = place[:-1]
    section = next((each for each in found if each.place == table and (each.head or not table)), None)
    if section is None:
        section = _new(found, table)
    if section.body and not section.body.endswith("\n"):
        section.body += "\n"
    document = tomlkit.parse(section.body)
    document[place[-1]] = value
    section.body = tomlkit.dumps(document)
    if not table and len(found) > 1 and not section.tail:
        section.tail = "\n"


def _new(found: list[Section], table: tuple[str, ...]) -> Section:
    """A section for `table`, behind its parent and what belongs to that, else at the end."""
    parent = table[:-1]
    family = [i for i, each in enumerate(found) if each.head and each.place[: len(parent)] == parent]
    family = family if len(parent) > 1 else []
    before = found[family[-1] if family else -1]
    name = ".".join(part if _BARE.fullmatch(part) else json.dumps(part, ensure_ascii=False) for part in table)
    section = Section(table, f"[{name}]\n", "", "")
    if family:
        section.tail, before.tail = before.tail, ""
    written = before.head + before.body + before.tail
    if written and not written.endswith("\n"):
        before.tail += "\n"
    if len(found) > 1 or written:
        section.head = "\n" + section.head
    found.insert((family[-1] if family else len(found) - 1) + 1, section)
    return section
