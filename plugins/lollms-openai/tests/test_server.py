"""Addresses, keys and headers: what is accepted, where a key goes, and that nothing shows it."""

from __future__ import annotations

import asyncio
import gc
import logging
import traceback
from collections.abc import Callable
from typing import Any

import pytest
from openai_wire import MARKER, STREAM, Loopback, Reply, chunk, chunked, completion, http, sse

from lollms_core import LollmsError
from lollms_openai import OpenAIBinding
from lollms_openai.presets import groq, lmstudio, vllm

Bind = Callable[..., OpenAIBinding]
CHAT = "/v1/chat/completions"


@pytest.fixture(autouse=True)
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "GROQ_API_KEY", "VLLM_API_KEY", "OPENAI_CUSTOM_HEADERS"):
        monkeypatch.delenv(name, raising=False)


def address(cls: type[OpenAIBinding] = OpenAIBinding, **keywords: Any) -> str:
    with cls(**keywords) as binding:
        return str(binding._server.base)


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (None, "https://api.openai.com/v1"),
        ("http://h:8000/v1/", "http://h:8000/v1"),
        ("http://h:8000", "http://h:8000/v1"),
        ("http://h/openai/v1", "http://h/openai/v1"),
        ("localhost:8080", "http://localhost:8080/v1"),
        ("192.168.0.7:8080", "http://192.168.0.7:8080/v1"),
        ("api.example.com", "https://api.example.com/v1"),
        ("http://[::1]:8080", "http://[::1]:8080/v1"),
        (" http://h/v1\n", "http://h/v1"),
    ],
)
def test_addresses(given: str | None, meant: str) -> None:
    assert address(host_address=given) == meant


@pytest.mark.parametrize(
    "bad",
    [
        "ftp://h",
        "http://",
        "http://h:99999",
        "http://user:pw@h",
        "http://h/v1?x=1",
        "http://h/#a",
        "http://a b",
        "http://a..b",
        3,
    ],
)
def test_addresses_that_are_none(bad: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="host_address") as caught:
        address(host_address=bad)
    assert "pw" not in str(caught.value)


def test_the_address_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://proxy/v1")
    assert address() == "http://proxy/v1"
    assert address(host_address="http://h/v1") == "http://h/v1"
    assert address(groq) == "https://api.groq.com/openai/v1"


@pytest.mark.parametrize(
    ("cls", "host", "sent"),
    [
        (OpenAIBinding, None, "openai"),
        (OpenAIBinding, "https://eu.api.openai.com/v1", "openai"),
        (OpenAIBinding, "http://api.openai.com/v1", None),
        (OpenAIBinding, "https://api.openai.com.evil.example/v1", None),
        (OpenAIBinding, "http://127.0.0.1:8080/v1", None),
        (groq, None, "groq"),
        (groq, "https://elsewhere.example/v1", None),
        (vllm, "http://gpu.lan:8000/v1", "vllm"),
        (lmstudio, None, None),
    ],
)
def test_a_key_from_the_environment_goes_only_where_it_belongs(
    monkeypatch: pytest.MonkeyPatch, cls: type[OpenAIBinding], host: str | None, sent: str | None
) -> None:
    for name in ("openai", "groq", "vllm"):
        monkeypatch.setenv(f"{name.upper()}_API_KEY", name)
    with cls(host_address=host) as binding:
        key = binding._server.key
    assert (None if key is None else key.reveal()) == sent


def test_without_a_key_no_header_is_sent(server: Loopback, bind: Bind, monkeypatch: pytest.MonkeyPatch) -> None:
    server.on(CHAT, http(completion()))
    monkeypatch.setenv("OPENAI_API_KEY", MARKER)
    monkeypatch.setenv("OPENAI_ORG_ID", "org-of-the-environment")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", f"Authorization: Bearer {MARKER}\nX-Mine: {MARKER}")
    binding = bind()
    binding.chat("x")
    asyncio.run(binding.achat("x"))
    for seen in server.seen:
        assert MARKER not in str(seen.headers)
        assert "authorization" not in seen.headers
        assert "openai-organization" not in seen.headers


def test_key_account_and_headers_are_sent(server: Loopback, bind: Bind) -> None:
    server.on(CHAT, http(completion()))
    binding = bind(
        service_key=f" {MARKER}\n",
        organization="org",
        project="proj",
        extra_headers={"X-Title": "lollms", "api-key": "k2"},
    )
    binding.chat("x")
    asyncio.run(binding.achat("x"))
    for seen in server.seen:
        headers = seen.headers
        assert headers["authorization"] == f"Bearer {MARKER}"
        assert (headers["openai-organization"], headers["openai-project"]) == ("org", "proj")
        assert (headers["x-title"], headers["api-key"]) == ("lollms", "k2")


@pytest.mark.parametrize(
    "bad",
    [
        {"service_key": 3},
        {"service_key": f"{MARKER} x"},
        {"service_key": f"{MARKER}\nx"},
        {"service_key": f"{MARKER}\u00e9"},
        {"extra_headers": [("a", "b")]},
        {"extra_headers": {"a b": MARKER}},
        {"extra_headers": {"a": f"{MARKER}\r\nb: c"}},
        {"extra_headers": {"a": 3}},
        {"organization": "a\nb"},
        {"verify_ssl_certificate": "no"},
        {"model_name": 3},
        {"models_path": "/models"},
        {"completion_format": "html"},
        {"retries": -1},
        {"retries": True},
        {"connect_timeout": 0},
        {"embed_batch_size": 0},
        {"temprature": 1},
    ],
)
def test_bad_arguments(bad: dict[str, Any]) -> None:
    with pytest.raises((TypeError, ValueError)) as caught:
        OpenAIBinding(**bad)
    assert MARKER not in str(caught.value)


def test_switching_tls_checks_off_warns(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING), OpenAIBinding(verify_ssl_certificate=False, service_key=MARKER):
        assert "check of TLS certificates is off" in caplog.text


def test_the_key_shows_nowhere(server: Loopback, bind: Bind, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(1)
    echo = {"error": {"message": f"Incorrect API key provided: {MARKER} {MARKER}-header"}}
    faults: list[bytes | Reply] = [
        http(completion()),
        chunked(STREAM),
        http(echo, "401 Unauthorized"),
        http(echo, "500 Oops"),
        http("", "302 Found", Location=f"http://h/?key={MARKER}"),
        chunked(sse(chunk("x"), {"error": {"message": "boom"}})),
        Reply(chunked(sse(chunk("x"), done=False), end=False), "reset"),
        Reply(b"", "close"),
        Reply(b"junk\r\n\r\n", "close"),
        http("<html>", kind="text/html"),
    ]
    binding = bind(service_key=MARKER, extra_headers={"X-Api-Key": f"{MARKER}-header"})
    found: list[str] = [repr(binding), str(binding.__dict__), repr(binding._server)]

    def note(work: Callable[[], Any]) -> None:
        try:
            found.append(str(work()))
        except LollmsError as exc:
            found.append(str(exc))
            found.extend(traceback.format_exception(exc))
            found.append(locals_of(exc))

    for fault in faults:
        for path in (CHAT, "/v1/models", "/v1/embeddings", "/tokenize"):
            server.on(path, fault)
        for stream in (False, True):
            note(lambda stream=stream: binding.generate_text("x", stream=stream))  # type: ignore[misc]
            note(lambda stream=stream: binding.chat("x", stream=stream))  # type: ignore[misc]
        note(lambda: list(binding.stream("x")))
        note(lambda: asyncio.run(binding.achat("x")))
        note(lambda: asyncio.run(binding.agenerate_text("x", stream=True)))
        note(lambda: binding.embed("x"))
        note(binding.listModels)
        note(binding.get_model_info)
        note(lambda: binding.tokenize("x"))
        note(lambda: binding.load_model("x"))
        found.append(str(binding.last_error))
    found += [record.getMessage() for record in caplog.records] + [str(record.__dict__) for record in caplog.records]
    assert len(found) > 100
    # Response headers are the server's own; httpcore2 shows them at DEBUG.
    assert not [text for text in found if MARKER in text and "location" not in text.lower()]


def locals_of(exc: BaseException) -> str:
    """The locals of our own frames, as an error reporter shows them."""
    shown = []
    for link in (exc, exc.__cause__, exc.__context__):
        for frame, _ in traceback.walk_tb(link.__traceback__ if link is not None else None):
            if "/lollms_" in frame.f_code.co_filename:
                shown.append({name: repr(value) for name, value in frame.f_locals.items()})
    return str(shown)


def test_misuse_is_found_before_anything_is_sent(server: Loopback, bind: Bind) -> None:
    binding = bind()
    misuses: tuple[dict[str, Any], ...] = (
        {"images": ["/nowhere.png"]},
        {"images": [b"no image"]},
        {"completion_format": "html"},
        {"retries": -1},
        {"tools": [{}]},
        {"temperature": "hot"},
        {"tempreature": 1},
    )
    for bad in misuses:
        with pytest.raises((TypeError, ValueError)):
            binding.generate_text("x", **bad)
    part = {"type": "image_url", "image_url": {"url": "/nowhere.png"}}
    with pytest.raises(ValueError, match="nowhere"):
        binding.chat([{"role": "user", "content": [part]}])
    with pytest.raises(ValueError, match="completion_format"):
        binding.generate_text("x", images=["http://h/a.png"], completion_format="text")
    assert not server.seen


def test_images_go_as_urls(server: Loopback, bind: Bind) -> None:
    server.on(CHAT, http(completion()))
    png = b"\x89PNG\r\n\x1a\n" + bytes(4)
    url = "data:image/png;base64,iVBORw0KGgoAAAAA"
    bind().generate_text("What?", images=[png, "https://h/a.png"])
    part = {"type": "image_url", "image_url": {"url": url, "detail": "low"}}
    bind().chat(
        [{"role": "user", "content": [part, {"type": "image", "image": png}]}, {"role": "assistant", "content": "?"}]
    )
    first, second = (body["messages"][0]["content"] for body in server.bodies())
    assert first == [
        {"type": "text", "text": "What?"},
        {"type": "image_url", "image_url": {"url": url}},
        {"type": "image_url", "image_url": {"url": "https://h/a.png"}},
    ]
    assert second == [part, {"type": "image_url", "image_url": {"url": url}}]


def test_the_proxy_of_the_environment_is_used(server: Loopback, bind: Bind, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = server.url.removesuffix("/v1").replace("http://", "http://user:pass@")
    monkeypatch.setenv("HTTP_PROXY", proxy)
    monkeypatch.setenv("http_proxy", proxy)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server.on("http://far.invalid/v1/chat/completions", http(completion()))
    binding = bind(host_address="http://far.invalid/v1", service_key=MARKER)
    binding.chat("x")
    asyncio.run(binding.achat("x"))
    assert [seen.headers["authorization"] for seen in server.seen] == [f"Bearer {MARKER}"] * 2
    assert [seen.headers["proxy-authorization"] for seen in server.seen] == ["Basic dXNlcjpwYXNz"] * 2


def test_nothing_is_sent_by_the_constructor(server: Loopback, bind: Bind) -> None:
    bind()
    gc.collect()
    assert server.connections == 0
