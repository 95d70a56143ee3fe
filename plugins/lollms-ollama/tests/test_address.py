"""Every form of OLLAMA_HOST that Ollama accepts names the server that Ollama's own client would ask."""

from __future__ import annotations

import pytest

from lollms_ollama import OllamaBinding

FORMS = {
    "": "http://127.0.0.1:11434",
    "example.com": "http://example.com:11434",
    "example.com:1234": "http://example.com:1234",
    ":1234": "http://127.0.0.1:1234",
    "0.0.0.0": "http://127.0.0.1:11434",  # noqa: S104 - what a server listens on
    "http://example.com": "http://example.com",
    "HTTPS://example.com:8443/ollama/": "https://example.com:8443/ollama",
    "[::]:99": "http://[::1]:99",
}


@pytest.mark.parametrize(("text", "url"), FORMS.items())
def test_forms(text: str, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert OllamaBinding(host_address=text).get_model_info()["host_address"] == url
    monkeypatch.setenv("OLLAMA_HOST", f' "{text}" ')
    assert OllamaBinding().get_model_info()["host_address"] == url


def test_a_senseless_port_in_the_environment_is_replaced_as_ollama_does(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OLLAMA_HOST", "example.com:port")
    assert OllamaBinding._server_of().url == "http://example.com:11434"
    assert "port" in caplog.text


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
