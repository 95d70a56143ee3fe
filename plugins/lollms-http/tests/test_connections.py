"""One binding serves all threads and event loops, straight or through a proxy, and keeps nothing when it is closed."""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from http_examples import CompletionsBinding

from lollms_core import BackendUnavailable
from lollms_core.testing import MARKER, Asked, FaultServer, Held, OpenAIDialect, SecretWatch, response
from lollms_http import HttpBinding
from lollms_http.client import LOGGERS

DIALECT = OpenAIDialect()
PATH = DIALECT.chat_path


def echo(asked: Asked) -> tuple[bytes, ...]:
    return (DIALECT.answer(asked.body, text=asked.json["messages"][-1]["content"]),)


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer() as server:
        server.on(PATH, echo)
        yield server


@pytest.fixture
def binding(server: FaultServer) -> Iterator[HttpBinding]:
    before = Held.now()
    binding = CompletionsBinding("acme", host_address=f"{server.url}/v1", model_name="m1", service_key=MARKER)
    yield binding
    binding.close()
    server.wait_closed()
    assert before.more() == ""


def test_many_threads(binding: HttpBinding) -> None:
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda number: binding.chat(f"n{number}", stream=bool(number % 2)).text, range(64)))
    assert found == [f"n{number}" for number in range(64)]


def test_many_event_loops(server: FaultServer, binding: HttpBinding) -> None:
    """Each loop has its own connections, which go with it."""

    async def several(number: int) -> list[str]:
        answers = await asyncio.gather(*(binding.achat(f"{number}.{one}") for one in range(3)))
        return [answer.text for answer in answers]

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda number: asyncio.run(several(number)), range(4)))
    assert found == [[f"{number}.{one}" for one in range(3)] for number in range(4)]
    server.wait_closed()
    assert asyncio.run(several(9)) == ["9.0", "9.1", "9.2"]
    assert binding.chat("sync").text == "sync"


def test_closed_from_outside_of_its_loop(server: FaultServer, binding: HttpBinding) -> None:
    """close() in a thread without a loop also closes the connections that a running loop keeps."""

    async def main() -> None:
        await binding.achat("x")
        await asyncio.to_thread(binding.close)
        await asyncio.to_thread(server.wait_closed)

    asyncio.run(main())


def test_other_packages_loggers_are_left_as_they_were(binding: HttpBinding) -> None:
    before = {name: list(logging.getLogger(name).filters) for name in LOGGERS}
    binding.chat("x")
    asyncio.run(_achat(binding))
    assert all(len(logging.getLogger(name).filters) == len(filters) + 1 for name, filters in before.items())
    binding.close()
    assert {name: logging.getLogger(name).filters for name in LOGGERS} == before


def test_a_binding_goes_with_its_last_name(server: FaultServer) -> None:
    """What it is made of does not hold it until the collector comes."""
    binding = CompletionsBinding("acme", host_address=f"{server.url}/v1", model_name="m1")
    assert binding.chat("x").text == "x"
    client, seen = binding._client, weakref.ref(binding)
    del binding
    assert seen() is None
    client.close()


async def _achat(binding: HttpBinding) -> Any:
    return await binding.achat("x")


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[HttpBinding]:
    for name in ("no_proxy", "NO_PROXY", "HTTP_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    with CompletionsBinding("acme", host_address="http://peer.invalid/v1", model_name="m1", retries=0) as binding:
        yield binding


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_through_a_proxy(
    server: FaultServer, elsewhere: HttpBinding, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    monkeypatch.setenv("http_proxy", f"http://user:{MARKER}@127.0.0.1:{server.port}")
    server.on(f"http://peer.invalid{PATH}", echo, (response({"error": MARKER}, "407 Who"),))
    ask = (lambda: elsewhere.chat("x")) if mode == "sync" else (lambda: asyncio.run(_achat(elsewhere)))
    with SecretWatch("lollms_http") as watch:
        assert ask().text == "x"
        with pytest.raises(Exception, match="407") as caught:
            ask()
    (asked, _) = server.asked_at(f"http://peer.invalid{PATH}")
    assert asked.headers["proxy-authorization"].startswith("Basic ")
    assert watch.found(caught.value, elsewhere) == []


@pytest.mark.parametrize("proxy", [f"socks9://u:{MARKER}@h:1", f"http://u:{MARKER}@h:port"])
@pytest.mark.parametrize("mode", ["sync", "async"])
def test_a_proxy_that_is_none(elsewhere: HttpBinding, monkeypatch: pytest.MonkeyPatch, proxy: str, mode: str) -> None:
    monkeypatch.setenv("http_proxy", proxy)
    with (
        SecretWatch("lollms_http") as watch,
        pytest.raises(BackendUnavailable, match=r"proxy.*cannot be used") as caught,
    ):
        _ = elsewhere.chat("x") if mode == "sync" else asyncio.run(_achat(elsewhere))
    assert watch.found(caught.value, elsewhere) == []
