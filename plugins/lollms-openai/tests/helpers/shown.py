"""What a user can see of an object: its repr and, of our packages' objects, that of all that they hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lollms_core.redaction import Redaction, Secret

_PACKAGES = {"lollms_core", "lollms_http", "lollms_openai", "lollms_ollama"}


def shown(thing: object, seen: set[int] | None = None) -> Iterator[str]:
    """The reprs of `thing` and of what it holds, as far as it is ours."""
    seen = set() if seen is None else seen
    if id(thing) in seen:
        return
    seen.add(id(thing))
    yield repr(thing)
    if isinstance(thing, Mapping):
        for item in [*thing.keys(), *thing.values()]:
            yield from shown(item, seen)
    elif isinstance(thing, (list, tuple, set, frozenset)):
        for item in thing:
            yield from shown(item, seen)
    elif type(thing).__module__.partition(".")[0] in _PACKAGES and not isinstance(thing, (Secret, Redaction, type)):
        # A Secret's own value is what it is for: it gives it to whoever calls reveal().
        for value in _held(thing):
            yield from shown(value, seen)


def _held(thing: Any) -> Iterator[Any]:
    yield from getattr(thing, "__dict__", {}).values()
    for cls in type(thing).__mro__:
        slots = cls.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if hasattr(thing, name):
                yield getattr(thing, name)
