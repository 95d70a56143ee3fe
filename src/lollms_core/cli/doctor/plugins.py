"""Bindings, and what they find of their servers, models and keys; hooks and commands of other distributions."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace

from lollms_core.cli.doctor.asking import Answer, Inquiry, ask
from lollms_core.cli.doctor.packages import Package
from lollms_core.discovery.entry_points import Declared
from lollms_core.discovery.lists import Lists
from lollms_core.discovery.records import BindingRecord
from lollms_core.findings import Finding
from lollms_core.manager import LollmsLLMBindingManager

__all__ = ["plugins"]

_USABLE = ("found", "loaded")
NOTHING = 'pip install "lollms-llamacpp[smollm2]", or pip install lollms-ollama, or lollms-openai'


def plugins(
    manager: LollmsLLMBindingManager, found: Iterable[Package], lists: Lists, seconds: float
) -> Iterator[Finding]:
    """How each binding stands, then what it says of itself; then the hooks and commands that cannot be imported."""
    records = manager.records()
    others = [entry for package in found for entry in package.entries if _is_tried(entry, manager, lists)]
    inquiries = [*_inquiries(records, others)]
    answers: dict[str, Answer] = {}
    place = manager.llm_bindings_dir.absolute()
    try:
        for answered in ask(inquiries, directory=place, group=manager.entry_point_group, seconds=seconds):
            answers |= answered
    except OSError as exc:
        text = f"bindings, hooks and commands were not tried, as no process can be started for them: {exc}"
        yield Finding("warning", text, f"see that {sys.executable or 'a Python interpreter'} can be run")
    for record in records:
        answer = answers.get(record.name) if record.state in _USABLE else None
        yield _binding(record, answer, lists)
        for finding in answer.findings if answer is not None else ():
            yield replace(
                finding, text=f"{record.name}: {finding.text}", facts={**finding.facts, "binding": record.name}
            )
    for entry in others:
        answer = answers.get(_key(entry))
        if answer is not None and answer.error is not None:
            text = f"{entry.name} ({entry.origin}, {entry.group}): {answer.error}"
            yield Finding("problem", text, _remedy(entry.name, entry.distribution, None))
    if not any(record.state in (*_USABLE, "blocked") for record in records):
        yield Finding("warning", "no binding can be used", NOTHING)


def _is_tried(entry: Declared, manager: LollmsLLMBindingManager, lists: Lists) -> bool:
    known = entry.group == manager.entry_point_group or entry.broken or entry.incompatible
    return not known and lists.reason(entry.name, entry.distribution) is None


def _inquiries(records: Iterable[BindingRecord], others: Iterable[Declared]) -> Iterator[Inquiry]:
    """One for each distribution and each folder; of several names for the same class, the first is asked."""
    bindings: dict[tuple[str | None, str | None], dict[object, str]] = {}
    for record in records:
        if record.state in _USABLE:
            targets = bindings.setdefault((record.distribution, record.path), {})
            targets.setdefault((record.module, record.attribute), record.name)
    further: dict[tuple[str | None, str | None], list[tuple[str, str, str | None]]] = {}
    for entry in others:
        further.setdefault((entry.distribution, None), []).append((_key(entry), entry.module, entry.attribute))
    for place in [*bindings, *(place for place in further if place not in bindings)]:
        yield Inquiry(tuple(bindings.get(place, {}).values()), tuple(further.get(place, ())))


def _key(entry: Declared) -> str:
    return f"{entry.group}:{entry.distribution}:{entry.name}"


def _binding(record: BindingRecord, answer: Answer | None, lists: Lists) -> Finding:
    facts = {"binding": record.name, "state": record.state, "distribution": record.distribution, "path": record.path}
    shown = f"{record.name} ({record.origin})"
    if record.state in ("failed", "incompatible"):
        return Finding("problem", f"{shown}: {record.error}", _remedy_of(record), facts=facts)
    if record.state not in _USABLE:
        by_wish = record.state == "blocked" and lists.reason(record.name, record.distribution) is not None
        text = f"{shown} is {record.state}: {record.error}"
        return Finding("absent" if by_wish else "warning", text, None if by_wish else _remedy_of(record), facts=facts)
    if answer is not None and answer.error is not None:
        facts["state"] = "failed"
        return Finding("problem", f"{shown}: {answer.error}", _remedy_of(record), facts=facts)
    return Finding("ok", shown, facts=facts)


def _remedy_of(record: BindingRecord) -> str:
    if record.state == "incompatible" and record.distribution is not None:
        return f"pip install --upgrade lollms-core {record.distribution}"
    if record.state == "shadowed" and record.path is None:
        return f"pip uninstall {record.distribution}"
    return _remedy(record.name, record.distribution, record.path)


def _remedy(name: str, distribution: str | None, path: str | None) -> str:
    if path is not None:
        return f"correct, rename or remove the folder {path}"
    block = f"LOLLMS_DISABLE_PLUGINS={distribution or name}"
    return f"pip install --force-reinstall {distribution}; or leave it out with {block}"
