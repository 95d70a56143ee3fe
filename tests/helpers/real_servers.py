"""Server programs as child processes on the loopback interface: started, waited for, stopped."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

HOST = "127.0.0.1"
START_LIMIT = 60.0
"""Seconds for a server to answer."""
STOP_LIMIT = 10.0
"""Seconds for a server to end when it is asked to."""
_POLL = 0.05
_TRIES = 3


def free_port() -> int:
    """A port that nothing listens on at this moment."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def server(
    command: Sequence[str], health: str, log: Path, environment: Mapping[str, str] | None = None
) -> Iterator[int]:
    """Run `command` until the block ends; the port that it answers at.

    Args:
        command: program and arguments; ``{port}`` in them stands for the port.
        health: a path that answers with less than status 500 once the server is ready.
        log: where its output goes.
        environment: variables beside this process's own; ``{port}`` as in `command`.

    Raises:
        RuntimeError: it does not answer in time; the text holds the end of its log.
    """
    # Between the choice of a port and the server's bind another program may take it; hence more than one try.
    for attempt in range(_TRIES):
        port = free_port()
        variables = {**os.environ, **(environment or {})}
        variables = {name: value.replace("{port}", str(port)) for name, value in variables.items()}
        with log.open("ab" if attempt else "wb") as output:
            process = subprocess.Popen(
                [part.replace("{port}", str(port)) for part in command],
                env=variables,
                cwd=log.parent,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a group of its own: its children end with it, and Ctrl-C does not reach it
            )
        problem: str | None = None
        try:
            problem = _wait(process, port, health)
            if problem is None:
                yield port
                return
        finally:
            stop(process)
        if attempt == _TRIES - 1 or not problem.startswith("exited"):
            raise RuntimeError(f"{command[0]} {problem}; its log {log} ends with:\n{_tail(log)}")


def _wait(process: subprocess.Popen[bytes], port: int, health: str) -> str | None:
    """None once the server answers, else why it does not."""
    deadline = time.monotonic() + START_LIMIT
    while time.monotonic() < deadline:
        code = process.poll()
        if code is not None:
            return f"exited with {code} before it answered"
        connection = http.client.HTTPConnection(HOST, port, timeout=5)
        try:
            connection.request("GET", health)
            if connection.getresponse().status < 500:
                return None
        except (OSError, http.client.HTTPException):
            pass
        finally:
            connection.close()
        time.sleep(_POLL)
    return f"did not answer at port {port} within {START_LIMIT:g} s"


def stop(process: subprocess.Popen[bytes]) -> None:
    """End the group that `process` leads: asked first, killed if it takes too long."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        try:
            process.wait(STOP_LIMIT)
        except subprocess.TimeoutExpired:
            continue
        break
    # The leader is gone; children that it left behind are still in its group.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _tail(log: Path) -> str:
    return "\n".join(log.read_text("utf-8", "replace").splitlines()[-20:])
