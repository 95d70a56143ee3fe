"""A balancer that sticks by cookie gets it back; nothing else does."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest
from http_examples import CompletionsBinding
from hypothesis import given
from hypothesis import strategies as st

from lollms_core.testing import Asked, FaultServer, OpenAIDialect, response
from lollms_http import Call, HttpBinding
from lollms_http.address import Server
from lollms_http.cookies import Cookies
from lollms_http.exchange import Exchange, Limits
from lollms_http.http_async import AsyncHttp
from lollms_http.http_sync import SyncHttp
from lollms_http.wire import headers_to, request_of

DIALECT = OpenAIDialect()
URL = "http://balancer.example/v1/chat"


def sets(*cookies: str) -> Callable[[Asked], tuple[bytes, ...]]:
    """An answer that sets `cookies`, each in a header of its own."""

    def answer(asked: Asked) -> tuple[bytes, ...]:
        head, end, body = DIALECT.answer(asked.body, text="hello").partition(b"\r\n\r\n")
        return (b"\r\n".join([head, *(f"Set-Cookie: {cookie}".encode("ascii") for cookie in cookies)]) + end + body,)

    return answer


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer() as server:
        yield server


@pytest.fixture
def binding(server: FaultServer) -> Iterator[HttpBinding]:
    with CompletionsBinding("acme", host_address=f"{server.url}/v1", model_name="m1", retry_budget=5) as binding:
        yield binding


def cookies(asked: list[Asked]) -> list[str | None]:
    return [one.headers.get("cookie") for one in asked]


@pytest.mark.parametrize("mode", ["sync", "async"])
async def test_what_a_server_sets_comes_back_to_it(server: FaultServer, binding: HttpBinding, mode: str) -> None:
    server.on(DIALECT.chat_path, sets("node=a; HttpOnly", "zone=1; Path=/v1"), sets("node=b"), sets())
    for _ in range(3):
        assert (binding.chat("x") if mode == "sync" else await binding.achat("x")).text == "hello"
    first, *others = cookies(server.asked_at(DIALECT.chat_path))
    assert first is None
    assert [set((other or "").split("; ")) for other in others] == [{"node=a", "zone=1"}, {"node=b", "zone=1"}]


@pytest.mark.parametrize("mode", ["sync", "async"])
async def test_a_refusal_can_set_one_too(server: FaultServer, binding: HttpBinding, mode: str) -> None:
    busy = response({"error": "busy"}, "503 Busy", Retry_After="0", Set_Cookie="node=b")
    server.on(DIALECT.chat_path, (busy,), sets())
    assert (binding.chat("x") if mode == "sync" else await binding.achat("x")).text == "hello"
    assert cookies(server.asked_at(DIALECT.chat_path)) == [None, "node=b"]


def test_a_header_that_a_binding_sets_stays() -> None:
    kept = Cookies()
    kept.keep(URL, [(b"set-cookie", b"node=a")])
    to = Server("http://balancer.example", headers={"cookie": "mine=1"})
    sent = request_of(Exchange(to, "acme", Call("POST", "/v1/chat", {}), Limits()), headers_to(to), kept)
    assert [value for name, value in sent.headers if name.lower() == b"cookie"] == [b"mine=1"]


@pytest.mark.parametrize(
    "cookie",
    [
        "node=a; Domain=other.example",
        "node=a; Path=/elsewhere",
        "node=a; Secure",  # and this is not TLS
        "node=a; Max-Age=0",
        "node=" + "a" * 4096,
        "",
        "=;;=",
    ],
)
def test_what_is_not_sent(cookie: str) -> None:
    kept = Cookies()
    kept.keep(URL, [(b"Set-Cookie", cookie.encode("ascii"))])
    assert kept.header(URL) is None


def test_a_cookie_is_taken_back() -> None:
    kept = Cookies()
    kept.keep(URL, [(b"set-cookie", b"node=a"), (b"Set-Cookie", b"zone=1")])
    kept.keep(URL, [(b"set-cookie", b"node=; Expires=Thu, 01 Jan 1970 00:00:00 GMT")])
    assert kept.header(URL) == b"zone=1"


def test_there_is_room_for_so_many() -> None:
    kept = Cookies()
    for number in range(1000):
        kept.keep(URL, [(b"set-cookie", b"c%d=%d" % (number, number))])
    header = kept.header(URL)
    assert header is not None
    assert header.count(b"=") <= 50
    assert b"c999=999" in header
    kept.keep(URL, [(b"set-cookie", b"d%d=%d" % (number, number)) for number in range(1000)])
    header = kept.header(URL)
    assert header is not None
    assert header.count(b"=") == 50


# What h11 lets through in a header.
@given(st.lists(st.binary(max_size=40).map(lambda value: re.sub(rb"[\x00\r\n]", b"", value)), max_size=4))
def test_whatever_a_server_sets_requests_go_on(values: list[bytes]) -> None:
    kept = Cookies()
    for _ in range(2):
        kept.keep(URL, [(b"set-cookie", value) for value in values])
        header = kept.header(URL)
        assert header is None or re.fullmatch(rb"[^\x00\r\n]+", header)


@pytest.mark.parametrize("kind", [SyncHttp, AsyncHttp])
def test_a_child_of_this_process_begins_without(kind: type[SyncHttp | AsyncHttp]) -> None:
    """Another thread may have been writing them when the process forked."""
    transport = kind(Server("http://balancer.example"))
    transport._cookies.keep(URL, [(b"set-cookie", b"node=a")])
    transport.forget_connections()
    assert transport._cookies.header(URL) is None


def test_no_value_is_in_the_repr() -> None:
    kept = Cookies()
    kept.keep(URL, [(b"set-cookie", b"node=sk-secret")])
    assert repr(kept) == "Cookies(1)"
