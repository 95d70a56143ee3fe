"""What runs in the process in which the plugins of one distribution, or of one folder, are imported and asked.

It may hang or die at any point, so all that is found is written down at once, a JSON object a line.
"""

from __future__ import annotations

import importlib
import json
import os
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lollms_core.cli.terminal import one_line
from lollms_core.discovery import reports
from lollms_core.errors import AuthenticationError, LollmsError
from lollms_core.findings import Finding
from lollms_core.manager import LollmsLLMBindingManager

if TYPE_CHECKING:
    from lollms_core.binding import LollmsLLMBinding

__all__ = ["main"]


class _Report:
    """The file that the parent reads."""

    def __init__(self, path: str) -> None:
        self._path = Path(path)
        self._lock = threading.Lock()

    def say(self, name: str, **facts: object) -> None:
        line = json.dumps({"name": name, **facts}, default=str)
        with self._lock, self._path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def found(self, name: str, finding: Finding) -> None:
        self.say(name, finding=_as_dict(finding))


def main(given: str) -> None:
    """Import and ask.

    Args:
        given: a JSON object: ``report``, the file to write to; ``directory`` and ``group`` of the manager;
            ``bindings``, names; ``others``, entry points of other groups as [name, module, attribute]; ``seconds``.
    """
    task = json.loads(given)
    end = time.monotonic() + task["seconds"]
    report = _Report(task["report"])
    manager = LollmsLLMBindingManager(task["directory"], entry_point_group=task["group"])
    # Here, in the main thread, as in any program: some modules set signal handlers when they are imported.
    classes = {name: cls for name in task["bindings"] if (cls := _imported(report, manager, name)) is not None}
    for name, module, attribute in task["others"]:
        _import_other(report, name, module, attribute)
    threads = [
        threading.Thread(target=_ask, args=(report, name, cls, end - time.monotonic()), daemon=True)
        for name, cls in classes.items()
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    os._exit(0)  # whatever threads the plugins have left


def _imported(report: _Report, manager: LollmsLLMBindingManager, name: str) -> type[LollmsLLMBinding] | None:
    report.say(name, step="import")
    try:
        cls = manager.binding_class(name)
    except KeyboardInterrupt:
        raise
    except BaseException as exc:  # noqa: BLE001 - a plugin may raise anything
        report.say(name, failed=_told(exc))
        return None
    report.say(name, step="imported")
    return cls


def _import_other(report: _Report, name: str, module: str, attribute: str | None) -> None:
    report.say(name, step="import")
    try:
        found = importlib.import_module(module)
        if attribute is not None:
            reduce(getattr, attribute.split("."), found)
    except KeyboardInterrupt:
        raise
    except BaseException as exc:  # noqa: BLE001 - as above
        report.say(name, failed=_told(exc))
        return
    report.say(name, step="done")


def _ask(report: _Report, name: str, cls: type[LollmsLLMBinding], seconds: float) -> None:
    reached = True
    try:
        for finding in cls.diagnose(seconds):
            if not isinstance(finding, Finding):
                raise TypeError(f"{cls.__name__}.diagnose gave a {type(finding).__name__}, not a Finding")
            report.found(name, finding)
            reached = reached and finding.state == "ok"
        if reached:
            for finding in _models(cls):
                report.found(name, finding)
    except BaseException as exc:  # noqa: BLE001 - as above
        text = f"asking it failed: {_told(exc)}"
        report.found(name, Finding("problem", text, "tell its author, with this line"))
    report.say(name, step="done")


def _models(cls: type[LollmsLLMBinding]) -> Iterator[Finding]:
    """How many models there are, by where they come from. A binding that needs arguments lists none here."""
    from lollms_core.cli.values import own_options

    options: dict[str, Any] = {"retries": 0} if "retries" in own_options(cls) else {}
    try:
        binding = cls(**options)
    except TypeError as exc:
        yield Finding("absent", f"its models are not counted, as it needs arguments: {_told(exc)}", about="models")
        return
    with binding:
        try:
            entries = binding.listModels()
        except AuthenticationError as exc:
            yield Finding("problem", _told(exc), "set another key: this one is refused", about="key")
        except LollmsError as exc:
            yield Finding("warning", f"its models cannot be listed: {_told(exc)}", about="models")
        else:
            yield _counted(entries)


def _counted(entries: Iterable[Any]) -> Finding:
    listed = [entry if isinstance(entry, Mapping) else {"model_name": entry} for entry in entries]
    broken = sum(1 for entry in listed if entry.get("error"))
    sources = Counter(str(entry["source"]) for entry in listed if entry.get("source"))
    by_source = ", ".join(f"{source} {count}" for source, count in sorted(sources.items()))
    text = f"{len(listed)} model{'' if len(listed) == 1 else 's'}" + (f" ({by_source})" if by_source else "")
    facts = {"count": len(listed), "sources": dict(sources), "broken": broken}
    if not listed:
        return Finding("absent", "no models", about="models", facts=facts)
    if broken:
        text = f"{text}, of which {broken} cannot be used"
        return Finding("warning", text, "lollms models says why", about="models", facts=facts)
    return Finding("ok", text, about="models", facts=facts)


def _as_dict(finding: Finding) -> dict[str, Any]:
    return {
        "state": finding.state,
        "text": reports.scrub(one_line(finding.text)),
        "remedy": None if finding.remedy is None else reports.scrub(one_line(finding.remedy)),
        "about": finding.about,
        "facts": dict(finding.facts),
    }


def _told(exc: BaseException) -> str:
    if isinstance(exc, (LollmsError, TypeError, ValueError)) and str(exc):
        return reports.bounded(reports.scrub(one_line(exc)))
    return reports.one_line(exc)
