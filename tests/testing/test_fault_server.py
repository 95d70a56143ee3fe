"""The fault server's end: every connection is closed, at whatever moment it came."""

from __future__ import annotations

import gc
import socket
import ssl
import threading
from collections.abc import Callable

import pytest
import trustme

from lollms_core.testing import HOLD, FaultServer
from lollms_core.testing.fault_server import WAIT


@pytest.fixture(params=["plain", "TLS"])
def tls(request: pytest.FixtureRequest) -> ssl.SSLContext | None:
    if request.param == "plain":
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    return context


@pytest.mark.parametrize("turns", range(6))
def test_a_connection_that_comes_just_before_the_end_is_closed(tls: ssl.SSLContext | None, turns: int) -> None:
    """So many turns of the server's loop before: accepted, wrapped, told to the server, served."""
    clients: list[socket.socket] = []
    server = FaultServer(tls=tls)
    where = ("127.0.0.1", server.port)
    _stop_after(server, lambda: clients.append(socket.create_connection(where, WAIT)), turns)
    with clients[0] as client:
        assert _rest(client) == b""
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(where, WAIT)
    del server
    gc.collect()  # what was left open says so now, in this test


def test_a_connection_that_is_held_is_closed() -> None:
    with FaultServer() as server:
        server.on("/", [b"HTTP/1.1 200 OK\r\n", HOLD])
        client = socket.create_connection(("127.0.0.1", server.port), WAIT)
        client.sendall(b"GET / HTTP/1.1\r\n\r\n")
        server.wait_asked()
    with client:
        assert _rest(client) == b"HTTP/1.1 200 OK\r\n"
    del server
    gc.collect()


def _stop_after(server: FaultServer, first: Callable[[], None], turns: int) -> None:
    """Do `first` in the server's loop, and stop the server that many turns later."""
    stopped = threading.Event()
    loop = server._loop

    def turn(left: int) -> None:
        if left:
            loop.call_soon(turn, left - 1)
        else:
            loop.stop()
            stopped.set()

    def begin() -> None:
        first()
        turn(turns)

    loop.call_soon_threadsafe(begin)
    assert stopped.wait(WAIT)
    server._thread.join(WAIT)
    assert not server._thread.is_alive()


def _rest(client: socket.socket) -> bytes:
    """What comes until the connection ends, in good order or by a reset."""
    found = b""
    try:
        while got := client.recv(1000):
            found += got
    except ConnectionResetError:
        pass
    return found
