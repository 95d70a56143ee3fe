"""A server that behaves well: the :mod:`~lollms_core.testing.parrot` behind a dialect, for checks that need answers."""

from __future__ import annotations

from collections.abc import Callable

from lollms_core.testing import parrot
from lollms_core.testing.dialect import Dialect
from lollms_core.testing.fault_server import Asked, FaultServer, Step
from lollms_core.testing.wire import response

__all__ = ["behave"]


def behave(server: FaultServer, dialect: Dialect) -> None:
    """Have `server` answer every request of `dialect` as a server should, until it is told otherwise."""
    for path, body in dialect.places.items():
        server.on(path, (response(body),))
    for path, route in dialect.routes().items():
        server.on(path, _by(route))
    server.on(dialect.chat_path, _by(lambda asked: _generation(dialect, asked)))


def _by(route: Callable[[Asked], bytes]) -> Callable[[Asked], tuple[Step, ...]]:
    return lambda asked: (route(asked),)


def _generation(dialect: Dialect, asked: Asked) -> bytes:
    wanted = dialect.wanted(asked.body)
    if not dialect.knows(wanted.model):
        return response(dialect.refusal(f"model '{wanted.model}' not found"), "404 Not Found")
    return dialect.said(parrot.answer(wanted), stream=dialect.streams(asked.body))
