"""An address means the same in all the forms in which people write it; a key goes only where it belongs."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from http_examples import AcmeBinding, CompletionsBinding

from lollms_http.address import Server, base_url, key_of

FORMS = {
    "": "http://127.0.0.1:9000",
    "example.com": "http://example.com:9000",
    "example.com:1234": "http://example.com:1234",
    ":1234": "http://127.0.0.1:1234",
    "0.0.0.0": "http://127.0.0.1:9000",  # noqa: S104 - what a server listens on
    "0.0.0.0:8080": "http://127.0.0.1:8080",
    "http://0.0.0.0:8080/": "http://127.0.0.1:8080",
    "http://example.com": "http://example.com",
    "http://example.com:80": "http://example.com",
    "https://example.com": "https://example.com",
    "https://example.com:443/v1/": "https://example.com/v1",
    "HTTPS://example.com:8443/base/": "https://example.com:8443/base",
    "example.com/base": "http://example.com:9000/base",
    "::1": "http://[::1]:9000",
    "[::1]": "http://[::1]:9000",
    "[::1]:99": "http://[::1]:99",
    "[::]:99": "http://[::1]:99",
    "::": "http://[::1]:9000",
}


@pytest.mark.parametrize(("text", "url"), FORMS.items())
def test_forms(text: str, url: str) -> None:
    assert base_url(text, "x", default="http://127.0.0.1:9000/api") == url


def test_a_bare_host_has_the_scheme_of_the_default() -> None:
    assert base_url("gate.example", "x", default="https://api.acme.example/v1") == "https://gate.example"
    assert base_url("http://gate.example", "x", default="https://api.acme.example/v1") == "http://gate.example"


@pytest.mark.parametrize(
    "text", ["ftp://x", "http://user:secret@x", "x:port", "x:99999", "x y", "http://x?q", "x\n", "[x", ".:80", "a..b"]
)
def test_no_address(text: str) -> None:
    with pytest.raises(ValueError, match="host_address") as caught:
        base_url(text, "host_address")
    assert "secret" not in str(caught.value)


def test_a_senseless_port_may_be_replaced(caplog: pytest.LogCaptureFixture) -> None:
    assert base_url("example.com:port", "X_HOST", default="http://h:9", lenient=True) == "http://example.com:9"
    assert "X_HOST" in caplog.text


def proxy_of(host: str) -> str | None:
    proxy = Server(host).proxy
    return None if proxy is None else proxy.reveal()


def test_no_proxy_stands_before_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "proxy.example:3128")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    assert proxy_of("http://localhost:1") is None
    assert proxy_of("http://127.0.0.1") is None
    assert proxy_of("http://other.example") == "http://proxy.example:3128"
    monkeypatch.setenv("no_proxy", "other.example")
    assert proxy_of("http://other.example") is None


@pytest.mark.parametrize("key", ["a b", "a\nb: c", "ключ"])
def test_a_key_that_is_none(key: str) -> None:
    with pytest.raises(ValueError, match="service_key") as caught:
        AcmeBinding(service_key=key)
    assert key not in str(caught.value)
    assert key_of("", "x") is None


def test_the_server_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert AcmeBinding().get_model_info()["host_address"] == "http://127.0.0.1:9000/api"
    monkeypatch.setenv("ACME_HOST", "gpu.example:7")
    assert AcmeBinding().get_model_info()["host_address"] == "http://gpu.example:7"
    assert AcmeBinding(host_address="other:8").get_model_info()["host_address"] == "http://other:8"
    monkeypatch.setenv("ACME_HOST", "gpu:port")
    with pytest.raises(ValueError, match="ACME_HOST"):
        AcmeBinding()


def key_for(**keywords: Any) -> str | None:
    key = AcmeBinding._server_of(**keywords).key
    return None if key is None else key.reveal()


def test_a_key_of_the_environment_goes_to_no_other_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACME_KEY", "sk-env\n")
    assert key_for() == "sk-env"
    assert key_for(service_key="sk-mine") == "sk-mine"
    assert key_for(host_address="http://other.example") is None
    assert key_for(host_address="http://other.example", service_key="sk-mine") == "sk-mine"
    monkeypatch.setenv("ACME_HOST", "http://gpu.example")
    assert key_for() == key_for(host_address="http://gpu.example/v2") == "sk-env"
    assert key_for(host_address="http://127.0.0.1:9000/api") == "sk-env"
    assert key_for(host_address="https://gpu.example") is None


def test_a_binding_without_a_server_of_its_own() -> None:
    class Nowhere(CompletionsBinding):
        default_host = None
        host_variable = "NOWHERE_HOST"

    with pytest.raises(ValueError, match=r"Nowhere needs host_address.*NOWHERE_HOST"):
        Nowhere()
    assert Nowhere(host_address="http://h")._server.url == "http://h"


def test_constructor_checks() -> None:
    for keywords in ({"host_address": 1}, {"service_key": 1}, {"verify_ssl_certificate": "no"}, {"model_name": 1}):
        with pytest.raises(TypeError):
            AcmeBinding(**keywords)
    with pytest.raises(TypeError, match="models_path"):
        AcmeBinding(models_path="/x")
    with pytest.raises(TypeError, match="retries"):
        AcmeBinding(retrys=1)
    with pytest.raises(ValueError, match="retries"):
        AcmeBinding(retries=-1)


def test_unchecked_certificates_are_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        AcmeBinding(host_address="https://x", verify_ssl_certificate=False)
    assert "verify_ssl_certificate" in caplog.text
