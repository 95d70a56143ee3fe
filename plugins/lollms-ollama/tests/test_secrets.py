"""A key shows nowhere, whatever a server echoes: not in logs, errors, tracebacks with locals, reprs or data."""

from __future__ import annotations

import asyncio
import copy
import logging
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from ollama_wire import SHOW, TAGS, Server, begun, hang_up, head, line, over, said, streamed, vocabulary, whole
from shown import shown

from lollms_core import LollmsError
from lollms_core.testing import MARKER, SecretWatch
from lollms_http.client import LOGGERS
from lollms_ollama import OllamaBinding

Make = Callable[..., OllamaBinding]

ECHO = {"error": f"Incorrect API key provided: {MARKER}"}
ESCAPED = "".join(f"\\u{ord(character):04x}" for character in MARKER)
LONG = "x" * (500 - len("***") - 4) + MARKER  # cut in two where words are cut
BODY = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


def more(status: str, *headers: str, content_type: str = "application/json") -> list[Any]:
    return [head(status, content_type, "Content-Length: 0", *headers)]


FAULTS: dict[str, list[Any]] = {
    "a stream": streamed(said("x"), over()),
    "data of a stream": streamed(
        said("x", model=MARKER), {**over(), "model": MARKER, "done_reason": MARKER, MARKER: MARKER}
    ),
    "headers": [head("200 OK", "application/json", f"X-Key: {MARKER}", "Content-Length: 2") + b"{}"],
    "models": whole(
        {
            "models": [{"name": f"m-{MARKER}", "digest": MARKER, "details": {"family": MARKER}, MARKER: 1}],
            "version": MARKER,
            "status": MARKER,
            "capabilities": ["completion", MARKER],
            "details": {"family": MARKER, "quantization_level": MARKER},
            "model_info": {"general.architecture": MARKER, MARKER: MARKER},
            "embeddings": MARKER,
        }
    ),
    "a pull": streamed({"status": f"pulling {MARKER}", "digest": MARKER}, {"status": MARKER}, ECHO),
    "401": whole(ECHO, "401 Unauthorized"),
    "401 in a header": more("401 Unauthorized", f'WWW-Authenticate: Bearer realm="{MARKER}"'),
    "401 in the reason": more(f"401 no {MARKER}"),
    "401 in a field's name": whole({MARKER: {MARKER: "no"}, "message": {MARKER: MARKER}}, "401 Unauthorized"),
    "401 cut in two": whole({"error": LONG}, "401 Unauthorized"),
    "401 escaped": whole(f'{{"error": "bad {ESCAPED}"}}'.encode(), "401 Unauthorized"),
    "401 as text": whole(f"{'x ' * 240}{MARKER}".encode(), "401 Unauthorized", "text/plain"),
    "403 web page": whole(f"<html>{MARKER}".encode(), "403 Forbidden", f"text/html; x={MARKER}"),
    "400 about a feature": whole({"error": f"{MARKER} does not support tools"}, "400 Bad"),
    "404": whole({"error": f"model {MARKER} not found, try pulling it"}, "404 Not Found"),
    "429": more("429 Too Many", f"Retry-After: {MARKER}"),
    "500": whole(ECHO, "500 Oops"),
    "302": more("302 Found", f"Location: http://other.invalid/?key={MARKER}"),
    "error in the stream": streamed(said("x"), ECHO),
    "no JSON in the stream": streamed(said("x"), f'{{"{"x" * 50}{MARKER}\n'.encode()),
    "no record in the stream": streamed(said("x"), {MARKER: MARKER}),
    "tool call without a name": streamed(said("", tool_calls=[{"function": {MARKER: MARKER}}])),
    "invalid UTF-8": streamed(said("x"), MARKER.encode() + b"\xff\n"),
    "cut off": [*begun(said("x")), line(MARKER.encode()), hang_up],
    "bad chunk": [*begun(said("x")), f"{MARKER}\r\n".encode(), hang_up],
    "web page": whole(f"<html>{MARKER}".encode(), content_type="text/html"),
    "another type": whole(MARKER.encode(), content_type=f"application/{MARKER}"),
    "bad header": [f"HTTP/1.1 200 OK\r\nX-Key {MARKER}\r\n\r\n".encode(), hang_up],
    "bad status line": [f"{MARKER} is bad\r\n\r\n".encode(), hang_up],
    "closed": [hang_up],
    "broken compression": [f"{BODY}Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc".encode()],
}


def sync_calls(binding: OllamaBinding) -> Iterator[Callable[[], Any]]:
    yield lambda: binding.generate_text("x")
    yield lambda: binding.generate_text("x", stream=True)
    yield lambda: binding.chat("x")
    yield lambda: binding.chat("x", logprobs=2)
    yield lambda: list(binding.stream("x"))
    yield lambda: binding.embed(["x", "y"], embed_batch_size=1)
    yield lambda: binding.tokenize("x")
    yield lambda: binding.detokenize([1])
    yield lambda: binding.count_tokens("x")
    yield binding.listModels
    yield binding.get_model_info
    yield lambda: binding.load_model("x")
    yield lambda: list(binding.pull("x"))
    yield binding.ps
    yield lambda: binding.delete("x")
    yield lambda: binding.unload("x")
    yield binding.unload
    yield lambda: binding.capabilities_of("m3")


def async_calls(binding: OllamaBinding) -> Iterator[Callable[[], Any]]:
    async def read() -> list[Any]:
        async with binding.astream("x") as stream:
            return [event async for event in stream]

    async def fetch() -> list[Any]:
        return [progress async for progress in binding.apull("x")]

    yield lambda: asyncio.run(binding.agenerate_text("x", stream=True))
    yield lambda: asyncio.run(binding.achat("x"))
    yield lambda: asyncio.run(read())
    yield lambda: asyncio.run(binding.aembed(["x", "y"], embed_batch_size=1))
    yield lambda: asyncio.run(fetch())


def outcomes(binding: OllamaBinding) -> list[Any]:
    """What every operation gives or raises."""
    found: list[Any] = []
    for call in (*sync_calls(binding), *async_calls(binding)):
        try:
            found.append(call())
        except LollmsError as exc:
            found.append(exc)
        found += [binding.last_error, *shown(binding)]
    return found


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("name", FAULTS)
def test_a_server_that_repeats_the_key(server: Server, make: Make, name: str, known: bool) -> None:
    paths = ["chat", "generate", "embed", "tags", "ps", "version", "show", "pull", "delete"]
    for path in paths:
        server.on(f"/api/{path}", FAULTS[name])
    if known:  # what is told of a model beforehand is in order
        show = {**SHOW, "model_info": vocabulary()}
        server.on("/api/show", whole(show))
        server.on("/api/tags", whole(TAGS))
        server.on("/api/version", whole({"version": "0.20.0"}))
    with SecretWatch("lollms_ollama", "lollms_http") as watch:
        binding = make(service_key=MARKER, timeout=5.0, model_name="llama3.2" if known else None)
        things = outcomes(binding)
        stream = binding.stream("x")
        try:
            list(stream)
        except LollmsError as exc:
            things.append(exc)
        things += [*shown(stream), *shown(stream.completion)]
    assert server.heard[0].headers["authorization"] == f"Bearer {MARKER}"
    # The words of an answer are the user's; here none of them has the key.
    assert watch.found(*things) == []


def test_nobody_there(make: Make) -> None:
    with SecretWatch("lollms_ollama", "lollms_http") as watch:
        things = outcomes(make(host_address="http://127.0.0.1:9", service_key=MARKER))
    assert watch.found(*things) == []


@pytest.mark.parametrize("user", [f"user:{MARKER}", MARKER])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_the_password_of_a_proxy(
    server: Server, make: Make, monkeypatch: pytest.MonkeyPatch, scheme: str, user: str
) -> None:
    for name in ("no_proxy", "NO_PROXY", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(f"{scheme}_proxy", f"http://{user}@127.0.0.1:{server.port}")
    given: list[str] = []

    def answer(heard: Any) -> Any:
        given.append(heard.headers["proxy-authorization"])
        return whole({"error": f"bad {given[0]} {MARKER}"}, f"407 no {MARKER}")

    origin = f"{scheme}://peer.invalid:11434"
    for path in ("chat", "generate", "embed", "tags", "ps", "version", "show", "pull", "delete"):
        server.on(f"{origin}/api/{path}", answer)
    server.on("peer.invalid:11434", answer)
    with SecretWatch("lollms_ollama", "lollms_http") as watch:
        things = outcomes(make(host_address=origin))
    assert given
    assert watch.found(*things) == []
    assert [text for text in map(str, things) if given[0].partition(" ")[2] in text] == []


@pytest.mark.parametrize("proxy", [f"socks9://u:{MARKER}@h:1", f"http://u:{MARKER}@h:port", f"socks5://{MARKER}@h:1"])
def test_a_proxy_that_is_none(make: Make, monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", proxy)
    with SecretWatch("lollms_ollama", "lollms_http") as watch:
        things = outcomes(make(host_address="http://peer.invalid"))
    errors = [thing for thing in things if isinstance(thing, LollmsError)]
    assert all("the proxy that is set for it cannot be used" in str(error) for error in errors)
    assert errors
    assert watch.found(*things) == []


@pytest.mark.parametrize(
    "arguments",
    [
        {"service_key": f"{MARKER}\n{MARKER}"},
        {"service_key": f"a {MARKER}"},
        {"service_key": [MARKER]},
        {"host_address": f"http://user:{MARKER}@h"},
        {"host_address": f"http://{MARKER}@h:port"},
        {"host_address": f"user:{MARKER}@h/v1"},
        {"host_address": f"ftp://{MARKER}@h"},
        {"host_address": f"http:/user:{MARKER}@h"},
        {"host_address": f"{MARKER}@x://h"},
        {"host_address": f"http://h/v1?key={MARKER}"},
        {"host_address": f"http://h/v1#{MARKER}"},
        {"service_key": MARKER, "host_address": "http://h:port"},
        {"service_key": MARKER, "model_name": 3},
        {"service_key": MARKER, "retries": -1},
        {"service_key": MARKER, "temperature": "hot"},
        {"service_key": MARKER, "nonsense": 1},
        {"service_key": MARKER, "insecure_pull": 1},
        {"service_key": MARKER, "verify_ssl_certificate": "no"},
    ],
)
def test_a_constructor_that_fails(arguments: dict[str, Any]) -> None:
    with SecretWatch("lollms_ollama", "lollms_http") as watch, pytest.raises((TypeError, ValueError)) as caught:
        OllamaBinding(**arguments)
    assert watch.found(caught.value) == []


def test_an_address_of_the_environment_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_HOST", f"http://user:{MARKER}@h")
    with SecretWatch("lollms_ollama", "lollms_http") as watch, pytest.raises(ValueError, match="OLLAMA_HOST") as caught:
        OllamaBinding()
    assert OllamaBinding.unconfigured() is None
    assert watch.found(caught.value) == []


def test_copies(make: Make) -> None:
    binding = make(service_key=MARKER)
    with SecretWatch("lollms_ollama", "lollms_http") as watch:
        things: list[Any] = [*shown(copy.copy(binding)), *shown(copy.copy(binding._server))]
        for work in (pickle.dumps, copy.deepcopy):
            with pytest.raises(TypeError) as caught:
                work(binding)
            things.append(caught.value)
        with pytest.raises(TypeError, match="pickled"):
            pickle.dumps(binding._server)
    assert watch.found(*things) == []


def test_other_packages_loggers_are_left_as_they_were(make: Make) -> None:
    """All that these packages log through is known, and no filter stays when the binding is closed."""
    before = {name: list(logging.getLogger(name).filters) for name in LOGGERS}
    one, two = make(service_key=MARKER), make(service_key="another-key")
    one.chat("x")
    asyncio.run(two.achat("x"))
    own = {name for name, logger in logging.root.manager.loggerDict.items() if isinstance(logger, logging.Logger)}
    assert {name for name in own if name.partition(".")[0] == "httpcore"} <= set(LOGGERS)
    assert all(len(logging.getLogger(name).filters) == len(filters) + 2 for name, filters in before.items())
    one.close()
    two.close()
    assert {name: logging.getLogger(name).filters for name in LOGGERS} == before


def test_the_answers_text_is_the_users(server: Server, make: Make) -> None:
    """What a model says is not changed, whatever it says."""
    server.on("/api/chat", streamed(said(MARKER), over()))
    assert make(service_key=MARKER).generate_text("x") == MARKER
