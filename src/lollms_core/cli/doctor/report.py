"""How findings are shown: a section for each subject, a mark and a colour for each state, remedies below."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any, NamedTuple

import click

from lollms_core.cli.terminal import colours, one_line, standard_output
from lollms_core.findings import Finding

__all__ = ["Section", "document", "write"]

_MARKS = {"ok": ("ok", "green"), "absent": ("-", None), "warning": ("warning", "yellow"), "problem": ("PROBLEM", "red")}
_INDENT = 11


class Section(NamedTuple):
    """A title and what stands below it."""

    title: str
    findings: list[Finding]


def document(sections: Iterable[Section]) -> dict[str, Any]:
    """All of it for ``--json``."""
    found = [{"section": section.title, **asdict(finding)} for section in sections for finding in section.findings]
    count = {state: sum(finding["state"] == state for finding in found) for state in ("problem", "warning")}
    return {"ok": not count["problem"], "problems": count["problem"], "warnings": count["warning"], "findings": found}


def write(section: Section) -> None:
    """One section on stdout: as wide as the terminal, in a pipe a line for each finding."""
    out = standard_output()
    out.write(f"{section.title}\n")
    for finding in section.findings:
        mark, colour = _MARKS[finding.state]
        lines = _wrapped(one_line(finding.text))
        if finding.remedy and finding.state != "ok":
            lines += _wrapped(f"-> {one_line(finding.remedy)}")
        shown = click.style(mark, fg=colour, bold=colour == "red") if colours() and colour else mark
        out.write(f"  {shown}{' ' * (_INDENT - 2 - len(mark))}{lines[0]}\n")
        out.writelines(f"{' ' * _INDENT}{line}\n" for line in lines[1:])
    out.flush()


def _wrapped(text: str) -> list[str]:
    if not sys.stdout.isatty():
        return [text]
    width = max(shutil.get_terminal_size().columns - _INDENT, 20)
    # Paths and commands stay whole where they can, so that they can be copied.
    return textwrap.wrap(text, width, break_on_hyphens=False) or [""]
