"""Importing a plugin once, whatever the number of threads, and leaving nothing behind when it fails.

Python's own import locks already make an import happen once; they know when threads wait for each other
in a circle. A lock of ours around an import does not. So the rule here: a thread that is inside an import,
or holds one of our locks, never waits for one of them; it imports under Python's locks alone. All others
wait, so that a failing plugin is tried once and not once a thread.
"""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TypeVar

__all__ = ["being_imported", "forget_modules", "inside_import", "one_at_a_time", "undone_if_it_fails"]

_T = TypeVar("_T")
_held = threading.local()


def inside_import() -> bool:
    """Whether the calling code runs because some module is being imported in this thread."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        code = frame.f_code
        if code.co_name == "_find_and_load" and code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False


@contextmanager
def one_at_a_time(lock: threading.Lock) -> Iterator[None]:
    """Hold `lock`, unless waiting for it could be part of a circle (see above)."""
    if getattr(_held, "any", False) or inside_import():
        yield
        return
    with lock:
        _held.any = True
        try:
            yield
        finally:
            _held.any = False


def being_imported(module: str) -> bool:
    """Whether `module`, or a package that it lies in, has begun to be imported and is not done."""
    parts = module.split(".")
    return any(_unfinished(".".join(parts[:end])) for end in range(1, len(parts) + 1))


def undone_if_it_fails(module: str, use: Callable[[str], _T]) -> _T:
    """``use(module)``; if that raises, the modules of its package that it brought are forgotten again.

    Python forgets a module whose import fails, but not the submodules that it had imported before; they
    would be found, stale, by the next try.
    """
    before = set(sys.modules)
    try:
        return use(module)
    except BaseException:
        forget_modules(_own_package(module), keep=before)
        raise


def forget_modules(package: str, keep: set[str] | frozenset[str] = frozenset()) -> None:
    """Take `package` and what is in it out of ``sys.modules``, but for `keep` and what is being imported now."""
    names = [name for name in list(sys.modules) if name == package or name.startswith(f"{package}.")]
    # An unfinished import in another thread needs its module, and the packages that it lies in.
    unfinished = [f"{name}." for name in names if _unfinished(name)]
    for name in names:
        if name not in keep and not any(busy.startswith(f"{name}.") for busy in unfinished):
            sys.modules.pop(name, None)
    importlib.invalidate_caches()


def _unfinished(name: str) -> bool:
    return bool(getattr(getattr(sys.modules.get(name), "__spec__", None), "_initializing", False))


def _own_package(module: str) -> str:
    """The outermost package of `module` that is not a namespace shared with other distributions."""
    package, *inner = module.split(".")
    for part in inner:
        known = sys.modules.get(package)
        if known is None or getattr(known, "__file__", None) is not None:
            break
        package = f"{package}.{part}"
    return package
