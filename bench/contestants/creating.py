"""Bindings of an installed plugin, made in different ways; its class is loaded."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

from bench.contestants.serving import Task, serve, versions
from lollms_core import LollmsLLMBinding, LollmsLLMBindingManager

_BLOCK: Final = 50


class Creating:
    """The contestant: the setting's ``how`` is the manager's method, or ``constructor``."""

    def __init__(self, setting: Task) -> None:
        self.versions = versions("lollms-core", setting["distribution"])
        name, how, given = setting["name"], setting["how"], setting["arguments"]
        manager = LollmsLLMBindingManager("no_folder_of_bindings")
        cls = manager.binding_class(name)
        self._make: Callable[[], Any]
        if how == "constructor":
            self._make = lambda: cls(**given)
        else:
            method = getattr(manager, how)
            self._make = lambda: method(name, **given)

    def do(self, task: Task) -> dict[str, Any]:
        """Seconds to make one, in the fastest block: what else the machine does only adds."""
        return {"seconds": min(self._seconds() for _ in range(task["blocks"]))}

    def _seconds(self) -> float:
        begun = time.perf_counter()
        made = [self._make() for _ in range(_BLOCK)]
        seconds = time.perf_counter() - begun
        for binding in made:
            if not isinstance(binding, LollmsLLMBinding):
                raise TypeError(f"{binding!r} was made, which is no binding")
            binding.close()
        return seconds / _BLOCK


@contextlib.contextmanager
def creating(setting: Task) -> Iterator[Creating]:
    """One that has looked at what is installed."""
    yield Creating(setting)


if __name__ == "__main__":
    serve(creating)
