"""What ends a request at its deadline while its backend is silent; nothing runs where no deadline is set."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeAlias

__all__ = ["Alarm", "alarm_in_thread"]

Alarm: TypeAlias = Callable[[float, Callable[[], object]], Callable[[], None]]
"""``alarm(seconds, ring)`` has `ring` called after that time and returns what takes that back.

After it was taken back `ring` neither runs nor will.
"""


def alarm_in_thread(seconds: float, ring: Callable[[], object]) -> Callable[[], None]:
    """An alarm in a thread of its own, which is gone once the alarm is taken back."""
    timer = threading.Timer(min(seconds, threading.TIMEOUT_MAX), ring)
    timer.name = "lollms-deadline"
    timer.daemon = True
    timer.start()

    def take_back() -> None:
        timer.cancel()
        if timer is not threading.current_thread():  # what it rings may end the request right there
            timer.join()

    return take_back
