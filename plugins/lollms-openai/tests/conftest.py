"""Fixtures: the server, bindings to it, both ways of calling them, and a check that nothing is left behind."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from openai_wire import Loopback

from lollms_openai import OpenAIBinding


@pytest.fixture
def server() -> Iterator[Loopback]:
    listener = socket.create_server(("127.0.0.1", 0), backlog=256)
    loopback = Loopback(listener)
    accepting = threading.Thread(target=loopback.serve, daemon=True)
    loopback.threads.append(accepting)
    accepting.start()
    yield loopback
    loopback.stop()


@pytest.fixture
def bind(server: Loopback, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., OpenAIBinding]]:
    """Makes bindings to the server: no retries and no names to look up unless a test wants them."""
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_CUSTOM_HEADERS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    made: list[OpenAIBinding] = []

    def make(cls: type[OpenAIBinding] = OpenAIBinding, **keywords: Any) -> OpenAIBinding:
        given = {"host_address": server.url, "model_name": "m1", "retries": 0, "connect_timeout": 5.0, **keywords}
        binding = cls(**{name: value for name, value in given.items() if value is not ...})
        made.append(binding)
        return binding

    yield make
    for binding in made:
        binding.close()


@pytest.fixture(params=["sync", "async"])
def ask(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Calls a binding's method, or its async twin in a loop of its own."""

    def call(binding: OpenAIBinding, method: str, *args: Any, **keywords: Any) -> Any:
        if request.param == "sync":
            if method == "stream":
                with binding.stream(*args, **keywords) as stream:
                    return list(stream)
            return getattr(binding, method)(*args, **keywords)

        async def run() -> Any:
            if method == "stream":
                async with binding.astream(*args, **keywords) as stream:
                    return [event async for event in stream]
            return await getattr(binding, f"a{method}")(*args, **keywords)

        return asyncio.run(run())

    return call


@pytest.fixture(autouse=True)
def nothing_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """Every test leaves the sockets and the threads that there were before it."""
    sockets, threads = _sockets(), set(threading.enumerate())
    yield
    assert _sockets() <= sockets
    left = [thread for thread in threading.enumerate() if thread not in threads]
    for thread in left:
        thread.join(10)
    assert not [thread.name for thread in left if thread.is_alive()]


def _sockets() -> set[str]:
    found = set()
    for link in Path("/proc/self/fd").iterdir() if Path("/proc/self/fd").exists() else ():
        with contextlib.suppress(OSError):
            target = str(link.readlink())
            if target.startswith("socket:"):
                found.add(target)
    return found
