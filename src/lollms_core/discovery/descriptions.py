"""``description.yaml``: what a folder says of itself, read without running it."""

from __future__ import annotations

import datetime as dt
import importlib
import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from lollms_core.discovery.records import BindingRecord
from lollms_core.discovery.reports import one_line, printable

__all__ = ["MAX_BYTES", "described"]

_log = logging.getLogger(__name__)

MAX_BYTES = 256 * 1024
"""A larger file is not read (256 KiB)."""


class _NoDescription(Exception):
    """The file does not hold one."""


def described(record: BindingRecord) -> BindingRecord:
    """`record` with what its ``description_file`` says, where PyYAML is installed and the file is good."""
    assert record.description_file is not None
    try:
        yaml: Any = importlib.import_module("yaml")
    except ImportError:
        return record
    try:
        return replace(record, description=_read(Path(record.description_file), yaml))
    except (_NoDescription, OSError, ValueError, RecursionError, yaml.YAMLError) as exc:
        _log.info("%s is no description: %s", printable(record.description_file), one_line(exc))
        return record


def _read(path: Path, yaml: Any) -> Mapping[str, Any]:
    with path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise _NoDescription(f"it has more than {MAX_BYTES} bytes")
    # An alias repeats what it names, and some lines of aliases of aliases are gigabytes when they are printed.
    if any(isinstance(event, yaml.events.AliasEvent) for event in yaml.parse(data, yaml.SafeLoader)):
        raise _NoDescription("it has aliases")
    found = _plain(yaml.safe_load(data))
    if not isinstance(found, dict):
        raise _NoDescription("it is no mapping")
    return found


def _plain(value: Any) -> Any:
    """`value` as JSON has it."""
    if isinstance(value, dict):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [_plain(item) for item in value]
    if isinstance(value, (dt.date, dt.datetime)):
        return value.isoformat()
    return value if isinstance(value, (str, int, float)) or value is None else str(value)
