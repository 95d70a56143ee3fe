"""Servers that are not there, are something else, or refuse the key."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from real_servers import HOST, free_port

from lollms_core import AuthenticationError, BackendUnavailable, LollmsError

if TYPE_CHECKING:
    from .conftest import Opener

each = pytest.mark.parametrize("name", ["ollama", "openai"])
QUICK = {"retries": 0}  # a server that is not there does not come by itself


class _Banner(socketserver.BaseRequestHandler):
    """Speaks first, as an SSH server does, and hangs up."""

    def handle(self) -> None:
        self.request.sendall(b"SSH-2.0-OpenSSH_9.6\r\n")
        self.request.settimeout(10)
        self.request.recv(1 << 16)


@pytest.fixture
def not_http() -> Iterator[str]:
    """The address of a server that speaks something else."""
    with socketserver.ThreadingTCPServer((HOST, 0), _Banner) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://{HOST}:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@each
def test_unreachable(name: str, opener: Opener) -> None:
    """Constructing works; every use names the address; generate_text returns the error."""
    address = f"{HOST}:{free_port()}"
    binding = opener(name, host_address=f"http://{address}", model_name="smollm2", service_key="sesame", **QUICK)
    with pytest.raises(BackendUnavailable, match=address) as raised:
        binding.chat("Hello")
    assert "sesame" not in str(raised.value)
    answer = binding.generate_text("Hello")
    assert isinstance(answer, dict)
    assert answer["error_type"] == "BackendUnavailable"
    assert address in answer["error"]
    for call in (binding.listModels, lambda: binding.embed("Hello"), lambda: binding.count_tokens("Hello")):
        with pytest.raises(BackendUnavailable, match=address):
            call()
    info = binding.get_model_info()
    assert info["loaded"] is False
    assert info["model_name"] == "smollm2"
    assert binding.load_model("other") is False
    assert address in str(binding.last_error)
    assert binding.model_name == "smollm2"


@each
async def test_unreachable_async(name: str, opener: Opener) -> None:
    """The same through the async side."""
    address = f"{HOST}:{free_port()}"
    async with opener(name, host_address=f"http://{address}", model_name="smollm2", **QUICK) as binding:
        with pytest.raises(BackendUnavailable, match=address):
            await binding.achat("Hello")
        with pytest.raises(BackendUnavailable, match=address):
            await binding.aembed("Hello")
        answer = await binding.agenerate_text("Hello")
        assert isinstance(answer, dict)
        assert answer["error_type"] == "BackendUnavailable"


@each
def test_a_port_that_speaks_something_else(name: str, opener: Opener, not_http: str) -> None:
    """An error of the tree that names the address, at once."""
    binding = opener(name, host_address=not_http, model_name="smollm2", **QUICK)
    with pytest.raises(LollmsError, match=not_http.removeprefix("http://")):
        binding.chat("Hello")
    assert isinstance(binding.generate_text("Hello"), dict)
    with pytest.raises(LollmsError, match=not_http.removeprefix("http://")):
        binding.listModels()
    assert binding.load_model("other") is False


@each
def test_another_kind_of_server(name: str, opener: Opener, python_server: str) -> None:
    """An HTTP server that has not these paths: an error of the tree that names the address, no answer."""
    address = python_server.removesuffix("/v1")
    if name == "openai":
        address += "/no/such/place"
    binding = opener(name, host_address=address, model_name="smollm2", **QUICK)
    with pytest.raises(LollmsError, match=address.removeprefix("http://")):
        binding.chat("Hello")
    answer = binding.generate_text("Hello")
    assert isinstance(answer, dict)
    assert answer["status"] is False
    assert binding.load_model("other") is False


@pytest.mark.parametrize("key", ["a-wrong-key", None])
def test_refused_key(key: str | None, opener: Opener, python_server: str) -> None:
    """AuthenticationError; the message never holds the key. Ollama is not asked: it knows no keys."""
    binding = opener("openai", host_address=python_server, model_name="smollm2", service_key=key)
    with pytest.raises(AuthenticationError) as raised:
        binding.chat("Hello", n_predict=2)
    assert "a-wrong-key" not in str(raised.value)
    answer = binding.generate_text("Hello", n_predict=2)
    assert isinstance(answer, dict)
    assert answer["error_type"] == "AuthenticationError"
    assert "a-wrong-key" not in str(answer)
