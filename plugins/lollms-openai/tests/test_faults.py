"""What servers and networks do wrong, and what the caller gets then, sync and async."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import pytest
from openai_wire import MARKER, STREAM, TEXT, Loopback, Reply, chunk, chunked, completion, http, sse, until_close

from lollms_core import (
    AuthenticationError,
    BackendError,
    BackendTimeout,
    BackendUnavailable,
    BadRequest,
    CapabilityNotSupported,
    ContextOverflow,
    LollmsError,
    ModelNotFound,
    Overloaded,
    ProtocolError,
    RateLimited,
    StreamInterrupted,
)
from lollms_openai import OpenAIBinding

Bind = Callable[..., OpenAIBinding]
Ask = Callable[..., Any]
CHAT = "/v1/chat/completions"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(16)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def test_nobody_listens(bind: Bind, ask: Ask) -> None:
    url = f"http://127.0.0.1:{free_port()}/v1"
    binding = bind(host_address=url)
    with pytest.raises(BackendUnavailable, match=f"{url}, model 'm1' cannot be reached"):
        ask(binding, "chat", "x")
    result = ask(binding, "generate_text", "x")
    assert (result["status"], result["error_type"]) == (False, "BackendUnavailable")


@pytest.mark.parametrize(
    ("greeting", "reply"),
    [
        (b"SSH-2.0-OpenSSH_9.6\r\n", b""),
        (b"\x00\x01\x02\xff" * 20 + b"\r\n\r\n", b""),
        (b"", b"220 mail.example ESMTP\r\n"),
    ],
)
def test_something_else_than_http(server: Loopback, bind: Bind, ask: Ask, greeting: bytes, reply: bytes) -> None:
    server.greeting = greeting
    server.on(CHAT, Reply(reply, "close"))
    with pytest.raises(ProtocolError, match=r"127\.0\.0\.1.*'m1'.*is it the right port"):
        ask(bind(), "chat", "x")


@pytest.mark.parametrize("stream", [True, False])
def test_a_web_page(server: Loopback, bind: Bind, ask: Ask, stream: bool) -> None:
    server.on(CHAT, http("<html>It works!</html>", kind="text/html; charset=utf-8"))
    with pytest.raises(ProtocolError, match=r"127\.0\.0\.1.*text/html"):
        ask(bind(), "stream" if stream else "chat", "x")


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"x"', b"\xff", b"{}", b'{"choices": []}', b"[" * 100_000])
def test_a_whole_answer_that_is_none(server: Loopback, bind: Bind, ask: Ask, body: bytes) -> None:
    server.on(CHAT, http(body))
    with pytest.raises(ProtocolError):
        ask(bind(), "chat", "x")


@pytest.mark.parametrize(
    ("status", "body", "error", "words"),
    [
        ("400 Bad Request", {"error": {"message": "no such thing"}}, BadRequest, "no such thing"),
        ("401 Unauthorized", {"error": {"message": f"Incorrect key: {MARKER}"}}, AuthenticationError, "Incorrect key"),
        ("403 Forbidden", {"error": "no"}, AuthenticationError, "no"),
        ("404 Not Found", {"error": {"message": "gone", "code": "model_not_found"}}, ModelNotFound, "'m1'.*gone"),
        ("422 Unprocessable", {"detail": [{"msg": "field required"}]}, BadRequest, "field required"),
        (
            "400 Bad Request",
            {"error": {"message": "This model's maximum context length is 8", "code": "context_length_exceeded"}},
            ContextOverflow,
            "maximum context",
        ),
        (
            "400 Bad Request",
            {"error": {"code": 400, "message": "too long", "type": "exceed_context_size_error"}},
            ContextOverflow,
            "too long",
        ),
        ("429 Too Many", {"error": {"message": "slow down"}}, RateLimited, "slow down"),
        ("500 Oops", {"error": {"message": "boom"}}, BackendError, "boom"),
        ("503 Loading", {"error": {"message": "Loading model", "type": "unavailable_error"}}, Overloaded, "Loading"),
        ("302 Found", "", BackendError, "has moved"),
        ("502 Bad Gateway", "<html>nginx</html>", BackendError, "502"),
    ],
)
def test_refusals(
    server: Loopback, bind: Bind, ask: Ask, status: str, body: Any, error: type[LollmsError], words: str
) -> None:
    server.on(CHAT, http(body, status, Location="http://other.invalid/v1"))
    binding = bind(service_key=MARKER)
    for method in ("chat", "stream"):
        with pytest.raises(error, match=f"(?s)openai at http://127.*{words}") as caught:
            ask(binding, method, "x")
        assert type(caught.value) is error
        assert MARKER not in str(caught.value)
        assert "m1" in str(caught.value) or "moved" in str(caught.value)
    assert len(server.seen) == 2


@pytest.mark.parametrize("status", ["408 Timeout", "409 Conflict", "429 Too Many", "500 Oops", "503 Busy"])
def test_a_passing_fault_is_asked_again(server: Loopback, bind: Bind, ask: Ask, status: str) -> None:
    server.on(CHAT, http("", status, Retry_After="0"), http("", status, Retry_After="0"), chunked(STREAM))
    assert ask(bind(retries=2), "generate_text", "x", stream=True) == TEXT
    assert len(server.seen) == 3


@pytest.mark.parametrize("status", ["400 Bad", "401 No", "404 Not Found", "422 Odd", "501 Never"])
def test_a_lasting_one_is_not(server: Loopback, bind: Bind, ask: Ask, status: str) -> None:
    server.on(CHAT, http("", status, Retry_After="0"))
    with pytest.raises(LollmsError):
        ask(bind(retries=2), "chat", "x")
    assert len(server.seen) == 1


def test_a_wait_that_is_too_long_is_an_error_now(server: Loopback, bind: Bind, ask: Ask) -> None:
    server.on(CHAT, http("", "429 Too Many", Retry_After="121"))
    with pytest.raises(RateLimited) as caught:
        ask(bind(retries=2), "chat", "x")
    assert caught.value.retry_after == 121
    assert len(server.seen) == 1


def test_a_connection_that_closes_unanswered_is_tried_again(server: Loopback, bind: Bind, ask: Ask) -> None:
    server.on(CHAT, Reply(b"", "close"), Reply(b"", "reset"), http(completion()))
    assert ask(bind(retries=2), "generate_text", "x") == TEXT


def test_a_connection_closed_while_idle_is_replaced(server: Loopback, bind: Bind) -> None:
    server.on(CHAT, Reply(http(completion()), "close"))
    binding = bind(retries=1)
    for _ in range(5):
        assert binding.generate_text("x") == TEXT

    async def thrice() -> list[Any]:
        return [await binding.agenerate_text("x") for _ in range(3)]

    assert asyncio.run(thrice()) == [TEXT] * 3


def test_one_that_closes_in_the_middle_is_not(server: Loopback, bind: Bind, ask: Ask) -> None:
    server.on(CHAT, Reply(chunked(sse(chunk("The "), done=False), end=False), "close"))
    with pytest.raises(StreamInterrupted, match="m1") as caught:
        ask(bind(retries=2), "stream", "x")
    assert caught.value.partial == "The "
    assert len(server.seen) == 1


@pytest.mark.parametrize("then", ["close", "reset"])
def test_a_whole_answer_cut_short(server: Loopback, bind: Bind, ask: Ask, then: Any) -> None:
    server.on(CHAT, Reply(http(completion())[:-20], then))
    with pytest.raises(StreamInterrupted):
        ask(bind(), "chat", "x")


@pytest.mark.parametrize("wrap", [until_close, lambda body: chunked(body, end=False)])
def test_a_stream_cut_at_every_byte(server: Loopback, bind: Bind, ask: Ask, wrap: Callable[[bytes], bytes]) -> None:
    body = sse(chunk("Thé "), chunk("sky"), chunk(finish="stop"))
    ends = body.index(b'"finish_reason": "stop"')
    # All that is needed is the record with the reason, without the empty line after it.
    complete = body.index(b"\n", ends)
    cuts = [*range(0, complete - 40, 7), *range(complete - 40, len(body) + 1)]
    server.on(CHAT, *(Reply(wrap(body[:cut]), "close") for cut in cuts))
    binding = bind()
    for cut in cuts:
        if cut >= complete:
            assert "".join(map(str, ask(binding, "stream", "x")[:-1])) == "Thé sky", cut
            continue
        result = ask(binding, "generate_text", "x", stream=True)
        assert isinstance(result, dict), cut
        assert result["error_type"] == "StreamInterrupted", cut
        assert "Thé sky".startswith(result["partial"])


@pytest.mark.parametrize(
    "bad",
    [
        b'data: {"error": {"message": "boom", "code": 500}}\n\n',
        b'error: {"message": "boom"}\n\n',
        b'event: error\ndata: {"message": "boom"}\n\n',
        b"event: error\ndata: boom\n\n",
        b'data: {"object": "error", "message": "boom", "code": 500}\n\n',
        b'data: {"choices": [{"index": 0, "delta": {}, "finish_reason": "error"}], "error": {"message": "boom"}}\n\n',
    ],
)
def test_an_error_in_the_middle_of_a_stream(server: Loopback, bind: Bind, ask: Ask, bad: bytes) -> None:
    server.on(CHAT, chunked(sse(chunk("The "), done=False) + bad.replace(b"boom", b"boom " + MARKER.encode()) + STREAM))
    with pytest.raises(BackendError, match=r"m1.*boom \*\*\*") as caught:
        ask(bind(service_key=MARKER), "stream", "x")
    assert caught.value.partial == "The "


@pytest.mark.parametrize("bad", [b"data: \xff\xfe\n\n", b"data: {\n\n", b"data: [1]\n\n", b"data: 7\n\n"])
def test_a_stream_that_is_no_stream_of_records(server: Loopback, bind: Bind, ask: Ask, bad: bytes) -> None:
    server.on(CHAT, chunked(sse(chunk("The "), done=False) + bad))
    with pytest.raises(ProtocolError):
        ask(bind(), "stream", "x")


def test_a_stream_of_something_else(server: Loopback, bind: Bind, ask: Ask) -> None:
    server.on(CHAT, http("hello", kind="application/octet-stream"))
    with pytest.raises(ProtocolError, match="application/octet-stream"):
        ask(bind(), "stream", "x")


def test_what_is_no_event_is_passed_over(server: Loopback, bind: Bind, ask: Ask) -> None:
    noise = b"\xef\xbb\xbf: ping\n\n\nevent: ping\n\n: OPENROUTER PROCESSING\n\nretry: 3\nid: 7\n"
    server.on(CHAT, chunked(noise + STREAM.replace(b"\n", b"\r\n")))
    assert ask(bind(), "generate_text", "x", stream=True) == TEXT


def test_a_reset_after_the_reason_leaves_a_whole_answer(server: Loopback, bind: Bind, ask: Ask) -> None:
    body = sse(chunk("The sky"), chunk(finish="length"), done=False)
    server.on(CHAT, Reply(chunked(body, end=False), "reset"), Reply(chunked(body, end=False), "close"))
    for _ in range(2):
        assert ask(bind(), "generate_text", "x", stream=True) == "The sky"


def test_a_server_that_falls_silent(server: Loopback, bind: Bind, ask: Ask) -> None:
    server.on(CHAT, Reply(b"", "hold"), Reply(chunked(sse(chunk("The "), done=False), end=False), "hold"))
    binding = bind(timeout=0.2, retries=2)
    with pytest.raises(BackendTimeout, match=r"no sign of life for 0\.2 s"):
        ask(binding, "stream", "x")
    with pytest.raises(BackendTimeout, match=r"no sign of life for 0\.2 s") as caught:
        ask(binding, "stream", "x")
    assert caught.value.partial == "The "
    assert len(server.seen) == 2
    assert server.gone.acquire(timeout=10)
    assert server.gone.acquire(timeout=10)


def test_the_deadline_ends_a_silent_server_too(server: Loopback, bind: Bind, ask: Ask) -> None:
    server.on(CHAT, Reply(b"", "hold"), Reply(chunked(sse(chunk("The "), done=False), end=False), "hold"))
    for _ in range(2):
        with pytest.raises(BackendTimeout, match=r"deadline of 0\.2 s"):
            ask(bind(), "stream", "x", deadline=0.2)


def test_a_complete_answer_does_not_wait_for_a_server_that_holds_on(server: Loopback, bind: Bind, ask: Ask) -> None:
    server.on(CHAT, Reply(chunked(STREAM, end=False), "hold"))
    assert ask(bind(), "generate_text", "x", stream=True) == TEXT
    assert server.gone.acquire(timeout=10)


def test_an_endless_error_page_is_cut(server: Loopback, bind: Bind, ask: Ask) -> None:
    head = b"HTTP/1.1 500 Oops\r\nContent-Type: text/plain\r\nContent-Length: 900000000\r\n\r\n"
    server.on(CHAT, Reply(head + b"x" * 400_000, "hold"))
    with pytest.raises(BackendError, match="xxx"):
        ask(bind(), "chat", "x")
    assert server.gone.acquire(timeout=10)


def test_an_answer_without_limits_is_cut(server: Loopback, bind: Bind, ask: Ask) -> None:
    server.on(CHAT, http(completion("x" * 2000)), chunked(sse(*[chunk("x" * 100)] * 20)))
    for _ in range(2):
        with pytest.raises(ProtocolError, match=r"more than 1000 bytes \(max_response_bytes\)"):
            ask(bind(), "chat", "x", max_response_bytes=1000)


def test_broken_compression(server: Loopback, bind: Bind, ask: Ask) -> None:
    server.on(CHAT, http(b"not gzip at all", Content_Encoding="gzip"))
    with pytest.raises(ProtocolError, match="decompressed"):
        ask(bind(), "chat", "x")


def test_a_redirect_is_not_followed(server: Loopback, bind: Bind, ask: Ask) -> None:
    server.on(CHAT, http("", "307 Temporary Redirect", Location=server.url + "/elsewhere"))
    with pytest.raises(BackendError, match="has moved to"):
        ask(bind(service_key=MARKER), "chat", "x")
    assert [seen.path for seen in server.seen] == [CHAT]


def test_a_model_that_cannot_see_is_misuse(server: Loopback, bind: Bind, ask: Ask) -> None:
    server.on("/props", http({"modalities": {"vision": False, "audio": False}}))
    for _ in range(2):
        with pytest.raises(CapabilityNotSupported, match=r"127\.0\.0\.1.*m1.*vision"):
            ask(bind(), "generate_text", "What is it?", images=[PNG])
    assert {seen.path for seen in server.seen} == {"/props"}


def test_so_it_is_if_only_its_refusal_says_so(server: Loopback, bind: Bind, ask: Ask) -> None:
    message = "image input is not supported - hint: if this is unexpected, you may need to provide the mmproj"
    server.on(CHAT, http({"error": {"code": 500, "message": message, "type": "server_error"}}, "500 Oops"))
    with pytest.raises(CapabilityNotSupported, match=r"127\.0\.0\.1.*m1.*cannot take images"):
        ask(bind(retries=2), "generate_text", "What is it?", images=[PNG])


def test_the_next_request_works_after_each_fault(server: Loopback, bind: Bind, ask: Ask) -> None:
    faults = [
        Reply(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "close"
        ),
        Reply(b"HTTP/1.1 200 OK\r\nContent-Length: nonsense\r\n\r\n", "close"),
        Reply(b"\x16\x03\x01", "close"),
        Reply(b"HTTP/1.1 999 What\r\nContent-Length: 0\r\n\r\n"),
        Reply(chunked(sse(chunk("x"), done=False)[:-30], end=False), "reset"),
    ]
    binding = bind()
    for fault in faults:
        server.on(CHAT, fault, chunked(STREAM))
        assert isinstance(ask(binding, "generate_text", "x", stream=True), dict)
        assert ask(binding, "generate_text", "x", stream=True) == TEXT
