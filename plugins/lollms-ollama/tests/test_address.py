"""Every form of OLLAMA_HOST that Ollama accepts names the server that Ollama's own client would ask."""

from __future__ import annotations

import logging

import pytest

from lollms_ollama import OllamaBinding
from lollms_ollama.address import base_url, server

FORMS = {
    "": "http://127.0.0.1:11434",
    "example.com": "http://example.com:11434",
    "example.com:1234": "http://example.com:1234",
    ":1234": "http://127.0.0.1:1234",
    "0.0.0.0": "http://127.0.0.1:11434",  # noqa: S104 - what a server listens on
    "0.0.0.0:8080": "http://127.0.0.1:8080",
    "http://0.0.0.0:8080/": "http://127.0.0.1:8080",
    "http://example.com": "http://example.com:80",
    "https://example.com": "https://example.com:443",
    "HTTPS://example.com:8443/ollama/": "https://example.com:8443/ollama",
    "example.com/base": "http://example.com:11434/base",
    "::1": "http://[::1]:11434",
    "[::1]": "http://[::1]:11434",
    "[::1]:99": "http://[::1]:99",
    "[::]:99": "http://[::1]:99",
    "::": "http://[::1]:11434",
}


@pytest.mark.parametrize(("text", "url"), FORMS.items())
def test_forms(text: str, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert base_url(text, "x") == url
    monkeypatch.setenv("OLLAMA_HOST", f' "{text}" ')
    assert server(None, None, None).url == url


@pytest.mark.parametrize(
    "text", ["ftp://x", "http://user:secret@x", "x:port", "x:99999", "x y", "http://x?q", "x\n", "[x", ".:80", "a..b"]
)
def test_no_address(text: str) -> None:
    with pytest.raises(ValueError, match="host_address") as caught:
        base_url(text, "host_address")
    assert "secret" not in str(caught.value)


def test_a_senseless_port_in_the_environment_is_replaced_as_ollama_does(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OLLAMA_HOST", "example.com:port")
    assert server(None, None, None).url == "http://example.com:11434"
    assert "port" in caplog.text


def proxy_of(host: str) -> str | None:
    proxy = server(host, None, None).proxy
    return None if proxy is None else proxy.reveal()


def test_no_proxy_stands_before_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "proxy.example:3128")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    assert server("localhost", None, None).proxy is None
    assert server("127.0.0.1", None, None).proxy is None
    assert proxy_of("other.example") == "http://proxy.example:3128"
    monkeypatch.setenv("no_proxy", "other.example")
    assert server("other.example", None, None).proxy is None


@pytest.mark.parametrize("key", ["a b", "a\nb: c", "ключ"])
def test_a_key_that_is_none(key: str) -> None:
    with pytest.raises(ValueError, match="service_key") as caught:
        OllamaBinding(service_key=key)
    assert key not in str(caught.value)


def test_constructor_checks() -> None:
    for keywords in ({"host_address": 1}, {"service_key": 1}, {"verify_ssl_certificate": "no"}, {"model_name": 1}):
        with pytest.raises(TypeError):
            OllamaBinding(**keywords)
    with pytest.raises(TypeError, match="models_path"):
        OllamaBinding(models_path="/x")
    with pytest.raises(TypeError, match="num_gpu"):
        OllamaBinding(num_gpus=1)
    with pytest.raises(ValueError, match="keep_alive"):
        OllamaBinding(keep_alive="soon")


def test_unchecked_certificates_are_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        OllamaBinding(host_address="https://x", verify_ssl_certificate=False)
    assert "verify_ssl_certificate" in caplog.text
