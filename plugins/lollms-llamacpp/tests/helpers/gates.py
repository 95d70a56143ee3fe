"""A gate that holds an engine, so that a test can act in the midst of an answer."""

from __future__ import annotations

import threading

from lollms_llamacpp.context import Context


class Gate:
    """Holds the engine of the first context that computes, once so many of its steps are done."""

    def __init__(self, steps: int) -> None:
        self._left = steps
        self._context: Context | None = None
        self.reached = threading.Event()
        self.opened = threading.Event()

    def pass_through(self, context: Context) -> None:
        if self._context is None:
            self._context = context
        if context is self._context and not self.opened.is_set():
            self._left -= 1
            if self._left < 0:
                self.reached.set()
                assert self.opened.wait(60)
