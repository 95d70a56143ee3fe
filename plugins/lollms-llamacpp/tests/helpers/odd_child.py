"""Child processes that go wrong, in the place of lollms_llamacpp.isolated.child; ODD_CHILD names the way."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import struct
import sys
import threading
from collections.abc import Sequence

from lollms_llamacpp.isolated import child
from lollms_llamacpp.isolated.frames import packed
from lollms_llamacpp.native import ClosedError

WAYS = {
    "garbage": b"\xff\xfe not a message at all" * 8,
    "too long": struct.pack("<II", 2**31, 2**31),
    "no list": struct.pack("<II", 2, 0) + b"{}",
    "unknown": packed([["dance", 1, None]]),
    "no event": packed([["event", 1, ["Nothing"]]]),
    "no error": packed([["error", 1, 7]]),
}
"""What is sent instead of an answer."""


def main(arguments: Sequence[str]) -> None:
    way = os.environ["ODD_CHILD"]
    if way == "deaf":
        child.Service.end = _never  # type: ignore[method-assign]
        child.main(arguments)
    if way == "stuck":
        child.Service.end = _holding_the_lock  # type: ignore[method-assign]
        child.main(arguments)
    if way == "closed":
        child.Service._generate = _closed  # type: ignore[method-assign, assignment]
        child.main(arguments)
        return
    with socket.socket(fileno=int(arguments[0])) as connection:
        connection.recv(1 << 16)
        if way in WAYS:
            connection.sendall(WAYS[way])
            connection.recv(1 << 16)
        elif way == "exits":
            os.write(2, b"no more of this\n")
            sys.exit(3)
        elif way == "dies":
            os.kill(os.getpid(), signal.SIGSEGV)
        elif way == "waits":
            threading.Event().wait()


def _never(self: child.Service) -> None:
    threading.Event().wait()


def _holding_the_lock(self: child.Service) -> None:
    ctypes.PyDLL(None).sleep(1000)


def _closed(self: child.Service, *_: object) -> None:
    raise ClosedError
