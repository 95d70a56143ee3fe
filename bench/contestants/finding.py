"""A process that looks for entry points: how long the first look takes, imports included, and how long another."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

_AGAIN = 20


def with_lollms() -> Callable[[], int]:
    """The manager's list of bindings; it keeps what it has found until it is told to look anew."""
    from lollms_core import LollmsLLMBindingManager

    manager = LollmsLLMBindingManager("no_folder_of_bindings")
    return lambda: len(manager.get_available_bindings())


def plainly() -> Callable[[], int]:
    """What Python has for it."""
    from importlib.metadata import entry_points

    return lambda: len(entry_points(group="lollms.llm_bindings"))


def with_stevedore() -> Callable[[], int]:
    """The manager of stevedore; it imports the plugins, and keeps what it has found in a file for the next process."""
    # By name, because its types are not checked.
    manager = __import__("stevedore.extension", fromlist=["ExtensionManager"]).ExtensionManager
    return lambda: len(manager("bench.plugins").names())


def main(how: str) -> None:
    """Look, and print what it took, in seconds."""
    begun = time.perf_counter()
    look = {"lollms": with_lollms, "plain": plainly, "stevedore": with_stevedore}[how]()
    imported = time.perf_counter()
    found = look()
    cold = time.perf_counter() - begun
    again = []
    for _ in range(_AGAIN):
        before = time.perf_counter()
        look()
        again.append(time.perf_counter() - before)
    imports, warm = imported - begun, sorted(again)[_AGAIN // 2]
    print(f'{{"cold": {cold}, "imports": {imports}, "again": {warm}, "found": {found}}}')


if __name__ == "__main__":
    main(sys.argv[1])
