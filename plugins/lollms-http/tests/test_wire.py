"""Requests as httpcore takes them, and bodies as servers send them though they were asked not to."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from http_examples import CompletionsBinding
from hypothesis import given
from hypothesis import strategies as st

from lollms_core import ProtocolError
from lollms_core.redaction import Secret
from lollms_core.testing import FaultServer, OpenAIDialect
from lollms_http import Call
from lollms_http.address import Server, base_url
from lollms_http.cookies import Cookies
from lollms_http.exchange import Exchange, Limits
from lollms_http.wire import headers_to, request_of

DIALECT = OpenAIDialect()
URLS = [
    "http://127.0.0.1:11434",
    "http://Example.COM/v1",
    "https://example.com:8443/a/b~c/d.e/f-g_h",
    "https://example.com/a:b@c/!$&'()*+,;=",
    "http://example.com/a/../b/./c",
    "http://example.com/.hidden/x",
    "http://example.com/a b",
    "http://example.com/100%/%41%zz",
    "http://example.com/ümlaut/☃",
    "http://müller.example/x",
    "http://[::1]:8080/x",
    "http://localhost:8000/x?y=1&z=/./",
    "http://my_host:1/x",
]


def request(url: str, method: str = "POST", body: Any = None, **server: Any) -> tuple[Any, dict[str, str]]:
    """What is sent to `url`, and its headers."""
    to = Server(url, **server)
    sent = request_of(Exchange(to, "acme", Call(method, "", body), Limits()), headers_to(to), Cookies())
    names = [name.lower() for name, _ in sent.headers]
    assert len(set(names)) == len(names), "a header is there twice"
    return sent, {name.decode(): value.decode() for name, value in sent.headers}


@pytest.mark.parametrize("url", URLS)
def test_addresses_are_those_of_httpx(url: str) -> None:
    expected = httpx.Request("POST", url)
    sent, headers = request(url)
    assert (sent.url.scheme, sent.url.host, sent.url.target) == (
        expected.url.raw_scheme,
        expected.url.raw_host,
        expected.url.raw_path,
    )
    assert sent.url.port == expected.url.port
    assert headers["Host"] == expected.headers["Host"]


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Zs"], exclude_characters="?#@\\"), max_size=20))
def test_any_path_is_that_of_httpx(path: str) -> None:
    try:
        url = base_url(f"http://example.com/{path}", "host_address")
        expected = httpx.URL(url)
    except (ValueError, httpx.InvalidURL):
        return
    sent, _ = request(url)
    assert (sent.url.host, sent.url.target) == (expected.raw_host, expected.raw_path)


def test_what_a_binding_says_of_itself_replaces_what_is_said_for_it() -> None:
    own = {"user-agent": "acme", "HOST": "virtual.example", "Accept": "text/plain", "X-API-Key": "other", "Acme": "2"}
    _, headers = request("http://h:1", headers=own, key=Secret("sk-1"), key_header="x-api-key: {key}")
    assert headers == {
        "HOST": "virtual.example",
        "Accept-Encoding": "identity",
        "Connection": "keep-alive",
        "user-agent": "acme",
        "Acme": "2",
        "Accept": "application/json",
        "Content-Length": "0",
        "x-api-key": "sk-1",
    }


def test_the_length_of_a_body() -> None:
    assert request("http://h", body={"a": "ü"})[1]["Content-Length"] == "10"
    assert request("http://h", body={"a": 1})[1]["Content-Type"] == "application/json"
    assert "Content-Length" not in request("http://h", "GET")[1]


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer() as server:
        yield server


@pytest.fixture
def binding(server: FaultServer) -> Iterator[CompletionsBinding]:
    with CompletionsBinding("acme", host_address=f"{server.url}/v1", model_name="m", retries=0) as binding:
        yield binding


def compressed(body: bytes, encoding: str) -> list[bytes]:
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Encoding: {encoding}\r\n"
    return [f"{head}Content-Length: {len(body)}\r\n\r\n".encode(), body]


@pytest.mark.parametrize(("encoding", "compress"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
async def test_a_server_that_compresses_all_the_same(
    server: FaultServer, binding: CompletionsBinding, encoding: str, compress: Callable[[bytes], bytes]
) -> None:
    choice = {"message": {"content": "Because."}, "finish_reason": "stop"}
    answer = json.dumps({"choices": [choice], "model": "m", "id": "1"}).encode()
    server.on(DIALECT.chat_path, compressed(compress(answer), encoding))
    for _ in range(2):
        assert binding.chat("Why?", stream=False).text == "Because."
        assert (await binding.achat("Why?", stream=False)).text == "Because."
    # Read to its end, so that its connection served the next.
    assert sorted(asked.connection for asked in server.asked_at(DIALECT.chat_path)) == [1, 1, 2, 2]


async def test_what_cannot_be_decompressed(server: FaultServer, binding: CompletionsBinding) -> None:
    server.on(DIALECT.chat_path, compressed(b"not gzip at all", "gzip"))
    with pytest.raises(ProtocolError, match=r"acme at .* cannot be decompressed"):
        binding.chat("Why?")
    with pytest.raises(ProtocolError, match=r"acme at .* cannot be decompressed"):
        await binding.achat("Why?")
