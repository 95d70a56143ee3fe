"""A key shows nowhere, whatever a server echoes: not in logs, errors, tracebacks with locals, reprs or data."""

from __future__ import annotations

import asyncio
import copy
import json
import logging
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from openai_wire import STREAM, Loopback, Reply, chunk, chunked, completion, http, sse
from shown import shown

from lollms_core import LollmsError
from lollms_core.testing import MARKER, SecretWatch
from lollms_openai import OpenAIBinding
from lollms_openai.clients import _LOGGERS
from lollms_openai.presets import vllm

Bind = Callable[..., OpenAIBinding]

HEADER = f"{MARKER}-header"
ECHO = {"error": {"message": f"Incorrect API key provided: {MARKER}, {HEADER}", "code": f"bad {MARKER}"}}
ESCAPED = "".join(f"\\u{ord(character):04x}" for character in MARKER)
LONG = "x" * (500 - len("***") - 4) + MARKER  # cut in two where words are cut

FAULTS: dict[str, bytes | Reply] = {
    "an answer": http(completion(), X_Key=MARKER, Set_Cookie=f"key={MARKER}"),
    "a stream": chunked(STREAM),
    "data of the answer": http(completion() | {"id": MARKER, "model": MARKER, "system_fingerprint": HEADER}),
    "data of a stream": chunked(
        sse(chunk("x"), chunk(finish="stop") | {"id": MARKER, "model": MARKER, MARKER: MARKER, "usage": {"x": MARKER}})
    ),
    "401": http(ECHO, "401 Unauthorized", WWW_Authenticate=f'Bearer realm="{MARKER}"'),
    "401 in the reason": http(ECHO, f"401 no {MARKER}"),
    "401 in a field's name": http({MARKER: {MARKER: "no"}, "message": {MARKER: MARKER}}, "401 Unauthorized"),
    "401 cut in two": http({"error": LONG}, "401 Unauthorized"),
    "401 escaped": http(f'{{"error": "bad {ESCAPED}"}}', "401 Unauthorized"),
    "401 as text": http(f"{'x ' * 240}{MARKER}", "401 Unauthorized", kind="text/plain"),
    "403 web page": http(f"<html>{MARKER}</html>", "403 Forbidden", kind=f"text/html; x={MARKER}"),
    "400 about a feature": http({"error": {"message": "no vision: not support image", "code": MARKER}}, "400 Bad"),
    "404": http({"error": {"message": f"model not found for {MARKER}"}}, "404 Not Found"),
    "429": http(ECHO, "429 Too Many", Retry_After=MARKER),
    "500": http(ECHO, "500 Oops", X_Request_Id=MARKER),
    "302": http("", "302 Found", Location=f"http://other.invalid/?key={MARKER}"),
    "error in the stream": chunked(sse(chunk("x"), ECHO)),
    "error event": chunked(sse(chunk("x"), done=False) + f"event: error\ndata: bad {MARKER}\n\n".encode()),
    "no JSON in the stream": chunked(sse(chunk("x"), f'{{"bad {MARKER}')),
    "no object in the stream": chunked(sse(chunk("x"), f'["{MARKER}"]')),
    "invalid UTF-8": chunked(sse(chunk("x"), done=False) + b"data: " + MARKER.encode() + b"\xff\n\n"),
    "stream cut off": Reply(chunked(sse(chunk("x"), done=False) + f"data: {MARKER}".encode(), end=False), "reset"),
    "bad chunk": Reply(chunked(sse(chunk("x"), done=False), end=False) + f"{MARKER}\r\n".encode(), "close"),
    "web page": http(f"<html>{MARKER}</html>", kind="text/html"),
    "another type": http(MARKER, kind=f"application/{MARKER}"),
    "no JSON": http(f'{{"{MARKER}": '),
    "JSON of another shape": http({"data": [{"embedding": MARKER}], "error": MARKER, "tokens": [MARKER]}),
    "a list of models": http({"data": [{"id": f"m-{MARKER}", "owned_by": MARKER, "created": 3}], MARKER: 1}),
    "bad header": Reply(b"HTTP/1.1 200 OK\r\nX-Key " + MARKER.encode() + b"\r\n\r\n", "close"),
    "bad status line": Reply(f"{MARKER} is bad\r\n\r\n".encode(), "close"),
    "closed": Reply(b"", "close"),
    "broken compression": http(MARKER.encode(), Content_Encoding="gzip"),
}


def sync_calls(binding: OpenAIBinding) -> Iterator[Callable[[], Any]]:
    for stream in (False, True):
        yield lambda stream=stream: binding.generate_text("x", stream=stream)  # type: ignore[misc]
        yield lambda stream=stream: binding.chat("x", stream=stream)  # type: ignore[misc]
    yield lambda: list(binding.stream("x"))
    yield lambda: binding.chat("x", model="m2", tools=[len_of])
    yield lambda: binding.embed(["x", "y"], embed_batch_size=1)
    yield lambda: binding.tokenize("x")
    yield lambda: binding.detokenize([1])
    yield lambda: binding.count_tokens("x")
    yield binding.listModels
    yield binding.get_model_info
    yield lambda: binding.load_model("x")


def async_calls(binding: OpenAIBinding) -> Iterator[Callable[[], Any]]:
    async def read() -> list[Any]:
        async with binding.astream("x") as stream:
            return [event async for event in stream]

    yield lambda: asyncio.run(binding.agenerate_text("x", stream=True))
    yield lambda: asyncio.run(binding.achat("x"))
    yield lambda: asyncio.run(read())
    yield lambda: asyncio.run(binding.aembed(["x", "y"], embed_batch_size=1))


def len_of(text: str) -> int:
    """The length of a text."""
    return len(text)


def outcomes(binding: OpenAIBinding, *more: Callable[[], Any]) -> list[Any]:
    """What every operation gives or raises."""
    found: list[Any] = []
    for call in (*sync_calls(binding), *async_calls(binding), *more):
        try:
            found.append(call())
        except LollmsError as exc:
            found.append(exc)
        found += [binding.last_error, *shown(binding)]
    return found


@pytest.mark.parametrize("name", FAULTS)
def test_a_server_that_repeats_the_key(server: Loopback, bind: Bind, name: str) -> None:
    reply = FAULTS[name]
    server.answer = lambda _: reply if isinstance(reply, Reply) else Reply(reply)
    with SecretWatch("lollms_openai") as watch:
        binding = bind(service_key=MARKER, extra_headers={"X-Api-Key": HEADER}, model_name=..., timeout=5.0)
        things = outcomes(binding)
        binding.model_name = "m1"
        things += outcomes(binding)
        stream = binding.stream("x")
        try:
            list(stream)
        except LollmsError as exc:
            things.append(exc)
        things += [*shown(stream), *shown(stream.completion)]
    assert server.seen[0].headers["authorization"] == f"Bearer {MARKER}"
    assert server.seen[0].headers["x-api-key"] == HEADER
    assert watch.found(*things) == []


def test_nobody_there(bind: Bind) -> None:
    with SecretWatch("lollms_openai") as watch:
        binding = bind(host_address="http://127.0.0.1:9/v1", service_key=MARKER, extra_headers={"X-Api-Key": HEADER})
        things = outcomes(binding)
    assert watch.found(*things) == []


def test_a_key_of_the_environment(server: Loopback, bind: Bind, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_API_KEY", MARKER)
    server.answer = lambda _: Reply(http(ECHO, "401 Unauthorized"))
    with SecretWatch("lollms_openai") as watch:
        things = outcomes(bind(vllm))
    assert server.seen[0].headers["authorization"] == f"Bearer {MARKER}"
    assert watch.found(*things) == []


@pytest.mark.parametrize("user", [f"user:{MARKER}", MARKER])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_the_password_of_a_proxy(
    server: Loopback, bind: Bind, monkeypatch: pytest.MonkeyPatch, scheme: str, user: str
) -> None:
    for name in ("no_proxy", "NO_PROXY", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    port = server.listener.getsockname()[1]
    monkeypatch.setenv(f"{scheme}_proxy", f"http://{user}@127.0.0.1:{port}")
    given: list[str] = []

    def answer(seen: Any) -> Reply:
        given.append(seen.headers["proxy-authorization"])
        return Reply(http({"error": f"bad {given[0]} {MARKER}"}, f"407 no {MARKER}", Proxy_Authenticate=given[0]))

    server.answer = answer
    with SecretWatch("lollms_openai") as watch:
        things = outcomes(bind(host_address=f"{scheme}://peer.invalid/v1"))
    assert given
    assert watch.found(*things) == []
    assert [text for text in map(str, things) if given[0].partition(" ")[2] in text] == []


@pytest.mark.parametrize("proxy", [f"socks9://u:{MARKER}@h:1", f"http://u:{MARKER}@h:port", f"socks5://{MARKER}@h:1"])
def test_a_proxy_that_is_none(bind: Bind, monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("http_proxy", proxy)
    with SecretWatch("lollms_openai") as watch:
        things = outcomes(bind(host_address="http://peer.invalid/v1"))
    assert [thing for thing in things if isinstance(thing, LollmsError)]
    assert watch.found(*things) == []


@pytest.mark.parametrize(
    "arguments",
    [
        {"service_key": f"{MARKER}\n{MARKER}"},
        {"service_key": f"a {MARKER}"},
        {"service_key": [MARKER]},
        {"extra_headers": {"X-Key": f"{MARKER}\nx"}},
        {"extra_headers": {"X-Key": 3, "X-Other": MARKER}},
        {"extra_headers": [MARKER]},
        {"host_address": f"http://user:{MARKER}@h"},
        {"host_address": f"http://{MARKER}@h:port"},
        {"host_address": f"user:{MARKER}@h/v1"},
        {"host_address": f"ftp://{MARKER}@h"},
        {"host_address": f"http:/user:{MARKER}@h"},
        {"host_address": f"ftp://h?key={MARKER}"},
        {"host_address": f"http://h/v1?key={MARKER}"},
        {"host_address": f"http://h/v1#{MARKER}"},
        {"service_key": MARKER, "host_address": "http://h:port"},
        {"service_key": MARKER, "organization": 3},
        {"service_key": MARKER, "model_name": 3},
        {"service_key": MARKER, "retries": -1},
        {"service_key": MARKER, "temperature": "hot"},
        {"service_key": MARKER, "nonsense": 1},
        {"service_key": MARKER, "verify_ssl_certificate": "no"},
    ],
)
def test_a_constructor_that_fails(arguments: dict[str, Any]) -> None:
    with SecretWatch("lollms_openai") as watch, pytest.raises((TypeError, ValueError)) as caught:
        OpenAIBinding(**arguments)
    caught.tb.tb_next  # noqa: B018 - the first frame is this test's, whose arguments have the key
    assert watch.found(caught.value) == []


def test_an_address_of_the_environment_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", f"http://user:{MARKER}@h")
    with SecretWatch("lollms_openai") as watch, pytest.raises(ValueError, match="OPENAI_BASE_URL") as caught:
        OpenAIBinding()
    assert OpenAIBinding.unconfigured() is None
    assert watch.found(caught.value) == []


def test_copies(bind: Bind) -> None:
    binding = bind(service_key=MARKER)
    with SecretWatch("lollms_openai") as watch:
        things: list[Any] = [*shown(copy.copy(binding)), *shown(copy.copy(binding._server))]
        for work in (pickle.dumps, copy.deepcopy):
            with pytest.raises(TypeError) as caught:
                work(binding)
            things.append(caught.value)
        with pytest.raises(TypeError, match="pickled"):
            pickle.dumps(binding._server.key)
        assert copy.deepcopy(binding._server.key) is binding._server.key
    assert watch.found(*things) == []


def test_other_packages_loggers_are_left_as_they_were(server: Loopback, bind: Bind) -> None:
    """All that these packages log through is known, and no filter stays when the binding is closed."""
    server.answer = lambda _: Reply(http(completion()))
    before = {name: list(logging.getLogger(name).filters) for name in _LOGGERS}
    one, two = bind(service_key=MARKER), bind(service_key="another-key")
    one.chat("x")
    asyncio.run(two.achat("x"))
    own = {name for name, logger in logging.root.manager.loggerDict.items() if isinstance(logger, logging.Logger)}
    named = {name for name in own if name.partition(".")[0] in ("openai", "httpx2", "httpcore2")}
    assert named - {"openai.lib.parsing", "openai.audio.speech"} <= set(_LOGGERS)
    assert all(len(logging.getLogger(name).filters) == len(filters) + 2 for name, filters in before.items())
    one.close()
    two.close()
    assert {name: logging.getLogger(name).filters for name in _LOGGERS} == before


def test_the_answers_text_is_the_users(server: Loopback, bind: Bind) -> None:
    """What a model says is not changed, whatever it says."""
    server.on(
        "/v1/chat/completions", http(completion(f"key {MARKER}")), chunked(sse(chunk(MARKER), chunk(finish="stop")))
    )
    binding = bind(service_key=MARKER)
    assert binding.generate_text("x") == f"key {MARKER}"
    assert binding.generate_text("x", stream=True) == MARKER
    assert json.loads(json.dumps(binding.get_model_info())) == binding.get_model_info()
