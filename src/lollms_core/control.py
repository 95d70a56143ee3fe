"""The switch that ends one request, from any thread."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

__all__ = ["Control"]

_log = logging.getLogger(__name__)


class Control:
    """Cancellation of one request: set once, never unset, callable from any thread."""

    __slots__ = ("_callbacks", "_lock", "cancelled")

    def __init__(self) -> None:
        self.cancelled = False
        self._lock = threading.Lock()
        self._callbacks: list[Callable[[], object]] = []

    def on_cancel(self, callback: Callable[[], object]) -> Callable[[], None]:
        """Have `callback` called when the request is cancelled, at once if it is already.

        It runs in the cancelling thread and must not block. Returns a function that takes it back.
        """
        with self._lock:
            if not self.cancelled:
                self._callbacks.append(callback)
                return lambda: self._forget(callback)
        self._call(callback)
        return lambda: None

    def cancel(self) -> None:
        """End the request; later calls do nothing."""
        with self._lock:
            if self.cancelled:
                return
            self.cancelled = True
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            self._call(callback)

    def _forget(self, callback: Callable[[], object]) -> None:
        with self._lock:
            if callback in self._callbacks:
                self._callbacks.remove(callback)

    @staticmethod
    def _call(callback: Callable[[], object]) -> None:
        try:
            callback()
        except Exception:  # noqa: BLE001
            # One binding's broken callback must not keep the others from hearing of the cancel.
            _log.exception("a callback registered with on_cancel failed")
