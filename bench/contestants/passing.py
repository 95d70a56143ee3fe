"""Generations of a binding that has its events ready, so that what is measured is the core's own work."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from bench.contestants.serving import Task, serve, versions
from lollms_core import Event, Finish, LollmsLLMBinding, LollmsLLMBindingManager, Middleware, TextDelta, hookimpl

_FOLDER: Final = """
from lollms_core import EventBinding

BindingName = "Ready"


class Ready(EventBinding):
    events = ()

    def _events(self, request):
        return iter(self.events)
"""
_BLOCKS: Final = 25


class PassThrough(Middleware):
    """Changes nothing, in the fewest words in which a middleware says so for each event."""

    def on_event(self, event: Event) -> tuple[Event]:
        return (event,)


class Hook:
    """Puts it around every request."""

    @hookimpl
    def lollms_middleware(self, name: str, request: object) -> Middleware:
        return PassThrough()


class Passing:
    """The contestant; of the setting, ``manager`` is whether one makes the binding, ``hook`` whether it has a hook."""

    def __init__(self, setting: Task, folder: Path) -> None:
        self.versions = versions("lollms-core")
        (folder / "ready").mkdir()
        (folder / "ready" / "__init__.py").write_text(_FOLDER, "utf-8")
        manager = LollmsLLMBindingManager(folder, hooks=[Hook()] if setting["hook"] else [])
        made = manager.open_binding("ready") if setting["manager"] else manager.binding_class("ready")()
        assert isinstance(made, LollmsLLMBinding)
        # What a hook costs is a small part of a generation, so both are measured in one process, block by block.
        without = LollmsLLMBindingManager(folder, hooks=[]).open_binding("ready") if setting["hook"] else None
        self._bindings: list[Any] = [made] if without is None else [made, without]

    def do(self, task: Task) -> dict[str, Any]:
        """Seconds of a generation with one piece of text, of an event in one with many, and of the middleware alone."""
        generations = self._seconds(1, task["generations"])
        events = [seconds / task["events"] for seconds in self._seconds(task["events"], 1)]
        hooked = len(self._bindings) > 1
        return {
            "generation": generations[0],
            "event": events[0],
            "generation_more": generations[0] - generations[1] if hooked else None,
            "event_more": events[0] - events[1] if hooked else None,
            "own": self._own_seconds(task["events"]) if hooked else None,
        }

    @staticmethod
    def _own_seconds(count: int) -> float:
        """Of a call of the middleware's method, in the fastest block, the loop around it included."""
        on_event, event = PassThrough().on_event, TextDelta("word ")
        blocks = []
        for _ in range(_BLOCKS):
            begun = time.perf_counter()
            for _ in range(count):
                on_event(event)
            blocks.append((time.perf_counter() - begun) / count)
        return min(blocks)

    def _seconds(self, pieces: int, count: int) -> list[float]:
        """Of one generation of each binding, in the fastest block of `count`: what else the machine does only adds."""
        events = (*(TextDelta("word ") for _ in range(pieces)), Finish("stop"))
        for binding in self._bindings:
            binding.events = events
        blocks: list[list[float]] = [[] for _ in self._bindings]
        for _ in range(_BLOCKS):
            for binding, seconds in zip(self._bindings, blocks, strict=True):
                begun = time.perf_counter()
                for _ in range(count):
                    for _ in binding.stream("A question"):
                        pass
                seconds.append((time.perf_counter() - begun) / count)
        return [min(seconds) for seconds in blocks]


@contextlib.contextmanager
def passing(setting: Task) -> Iterator[Passing]:
    """One whose binding lies in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="lollms-bench-") as folder:
        yield Passing(setting, Path(folder))


if __name__ == "__main__":
    serve(passing)
