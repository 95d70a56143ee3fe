"""Fixtures: the server, bindings to it, both ways of calling them, and a check that nothing is left behind."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ollama_wire import HELLO, SHOW, TAGS, WAIT, Chat, Server, sockets, streamed, whole

from lollms_core import Completion
from lollms_ollama import OllamaBinding


@pytest.fixture
def server() -> Iterator[Server]:
    """A server that knows the model llama3.2; afterwards no socket and no thread is left."""
    gc.collect()
    gc.freeze()  # what is there now is not this test's; else each collection walks over all that pytest holds
    before, threads = sockets(), set(threading.enumerate())
    server = Server()
    server.on("/api/show", whole(SHOW))
    server.on("/api/tags", whole(TAGS))
    server.on("/api/ps", whole({"models": []}))
    server.on("/api/version", whole({"version": "0.20.0"}))
    server.on("/api/chat", streamed(*HELLO))
    yield server
    server.stop()
    gc.collect()
    assert sockets() <= before
    left = [thread for thread in threading.enumerate() if thread not in threads]
    for thread in left:
        thread.join(10)  # it may be ending
    assert not [thread.name for thread in left if thread.is_alive()]


@pytest.fixture
def make(server: Server, tmp_path: Path) -> Iterator[Callable[..., OllamaBinding]]:
    """Makes bindings for the server, and closes them."""
    made = []

    def make(**keywords: Any) -> OllamaBinding:
        keywords = {
            "host_address": server.url,
            "model_name": "llama3.2",
            "cache_folder": tmp_path / "cache",
            "retries": 0,
            "timeout": WAIT,
            **keywords,
        }
        made.append(OllamaBinding(**keywords))
        return made[-1]

    yield make
    for binding in made:
        binding.close()


@pytest.fixture(params=["sync", "async"])
def chat(request: pytest.FixtureRequest) -> Chat:
    """``chat(binding, messages, **fields)``, by the blocking and by the asyncio transport."""
    if request.param == "sync":
        return lambda binding, *args, **fields: binding.chat(*args, **fields)

    def run(binding: OllamaBinding, *args: Any, **fields: Any) -> Completion:
        async def main() -> Completion:
            return await binding.achat(*args, **fields)

        return asyncio.run(main())

    return run
