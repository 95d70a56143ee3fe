"""Fetching, deleting, listing and unloading models; what was known of a changed model is forgotten."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
from ollama_wire import SHOW, TAGS, WAIT, Server, begun, hang_up, head, not_found, streamed, whole

from lollms_core import (
    AuthenticationError,
    BackendError,
    BackendUnavailable,
    BadRequest,
    Capability,
    LollmsError,
    ModelNotFound,
    Progress,
    ProtocolError,
    StreamInterrupted,
)
from lollms_ollama import OllamaBinding

Make = Callable[..., OllamaBinding]
Pull = Callable[..., list[Progress]]
DONE = [{"status": "pulling manifest"}, {"status": "success"}]


@pytest.fixture(params=["sync", "async"])
def pull(request: pytest.FixtureRequest) -> Pull:
    """``pull(binding, model)``, by the blocking and by the asyncio transport."""
    if request.param == "sync":
        return lambda binding, model: list(binding.pull(model))

    def run(binding: OllamaBinding, model: str) -> list[Progress]:
        async def main() -> list[Progress]:
            return [progress async for progress in binding.apull(model)]

        return asyncio.run(main())

    return run


def test_a_pull(server: Server, make: Make, pull: Pull) -> None:
    file = {"status": "pulling aeda", "digest": "sha256:aeda", "total": 5}
    server.on("/api/pull", streamed(DONE[0], file, {**file, "completed": 5}, DONE[1]))
    assert pull(make(), "new:1b") == [
        Progress("pulling manifest"),
        Progress("pulling aeda", 0, 5, "sha256:aeda"),
        Progress("pulling aeda", 5, 5, "sha256:aeda"),
        Progress("success"),
    ]
    assert server.heard[-1].json == {"model": "new:1b", "name": "new:1b", "stream": True}
    pull(make(insecure_pull=True), "new:1b")
    assert server.heard[-1].json["insecure"] is True


FAILURES: list[tuple[str, list[Any], type[LollmsError], str]] = [
    (
        "not in the registry",
        streamed(DONE[0], {"error": "pull model manifest: file does not exist"}),
        ModelNotFound,
        "cannot fetch the model 'new': its registry has no such model",
    ),
    (
        "no network",
        streamed(DONE[0], {"error": 'pull model manifest: Get "https://r.test/v2": dial tcp: no such host'}),
        BackendError,
        r"cannot fetch the model 'new': pull model manifest: Get .* no such host$",
    ),
    ("cut off", [*begun(DONE[0]), b"0\r\n\r\n"], StreamInterrupted, "pull it again"),
    ("aborted", [*begun(DONE[0]), hang_up], StreamInterrupted, "'new'"),
    ("something else", streamed({"x": 1}), ProtocolError, "another shape"),
    ("no JSON", streamed(b"what?\n"), ProtocolError, "not JSON"),
    ("a web page", whole(b"<html>", content_type="text/html"), ProtocolError, "text/html"),
    ("a bad name", whole({"error": "invalid model name"}, "400 Bad Request"), BadRequest, "invalid model name"),
    ("no key", whole({"error": "unauthorized"}, "401 Unauthorized"), AuthenticationError, "unauthorized"),
    ("nothing", [hang_up], BackendUnavailable, "closed the connection"),
]


@pytest.mark.parametrize(("answer", "kind", "words"), [row[1:] for row in FAILURES], ids=[row[0] for row in FAILURES])
def test_a_pull_that_fails(
    server: Server, make: Make, pull: Pull, answer: list[Any], kind: type[LollmsError], words: str
) -> None:
    server.on("/api/pull", answer, streamed(*DONE))
    binding = make()
    with pytest.raises(kind, match=words) as caught:
        pull(binding, "new")
    assert type(caught.value) is kind
    assert server.url in str(caught.value)
    assert pull(binding, "new")[-1].status == "success"


def test_a_pull_has_no_deadline(server: Server, make: Make, pull: Pull) -> None:
    """It may take hours; the deadline of the binding is one for answers."""
    server.on("/api/pull", streamed(*DONE))
    assert pull(make(deadline=1e-6), "new")[-1].status == "success"


def now_with_vision(server: Server) -> None:
    server.on("/api/show", whole({**SHOW, "capabilities": ["completion", "vision"]}))


@pytest.mark.parametrize("end", ["whole", "cut off"])
def test_a_pulled_model_is_looked_at_anew(server: Server, make: Make, pull: Pull, end: str) -> None:
    binding = make()
    assert Capability.VISION not in binding.capabilities_of()
    now_with_vision(server)
    server.on("/api/pull", streamed(*DONE) if end == "whole" else [*begun(DONE[0]), hang_up])
    assert Capability.VISION not in binding.capabilities_of()  # asked once
    try:
        pull(binding, "LLAMA3.2:latest")
    except StreamInterrupted:
        assert end == "cut off"
    assert Capability.VISION in binding.capabilities_of()


def test_what_is_told_while_a_model_changes_is_not_kept(server: Server, make: Make) -> None:
    binding = make()
    asked, go_on = threading.Event(), threading.Event()
    server.on("/api/show", lambda _: [asked.set, lambda: go_on.wait(WAIT), *whole(SHOW)])
    server.on("/api/pull", streamed(*DONE))
    seen: list[Any] = []
    reader = threading.Thread(target=lambda: seen.append(binding.capabilities_of()))
    reader.start()
    assert asked.wait(WAIT)
    list(binding.pull("llama3.2"))
    now_with_vision(server)
    go_on.set()
    reader.join(WAIT)
    assert Capability.VISION not in seen[0]
    assert Capability.VISION in binding.capabilities_of()


def test_deleting(server: Server, make: Make) -> None:
    server.on("/api/delete", [head("200 OK", "", "Content-Length: 0").replace(b"Content-Type: \r\n", b"")], not_found())
    binding = make()
    assert Capability.VISION not in binding.capabilities_of()
    now_with_vision(server)
    binding.delete("llama3.2:latest")
    heard = server.heard[-1]
    assert (heard.method, heard.json["model"]) == ("DELETE", "llama3.2:latest")
    assert Capability.VISION in binding.capabilities_of()
    with pytest.raises(ModelNotFound, match="'nope'"):
        binding.delete("nope")
    for wrong, kind in ((1, TypeError), (" ", ValueError)):
        with pytest.raises(kind):
            binding.delete(wrong)  # type: ignore[arg-type]
        with pytest.raises(kind):
            binding.unload(wrong)  # type: ignore[arg-type]


def test_another_model_is_picked_once_the_picked_one_is_deleted(server: Server, make: Make) -> None:
    server.on("/api/delete", whole(b""))
    server.on("/api/ps", whole(TAGS), whole({"models": []}))
    binding = make(model_name=None)
    binding.generate_text("x")
    assert server.heard[-1].json["model"] == "old:latest"
    binding.delete("old")
    binding.generate_text("x")
    assert server.heard[-1].json["model"] == "llama3.2:latest"


def test_unloading(server: Server, make: Make) -> None:
    server.on("/api/generate", whole({"model": "m", "response": "", "done": True, "done_reason": "unload"}))
    binding = make()
    binding.unload()
    assert server.heard[-1].json == {"model": "llama3.2", "stream": False, "keep_alive": 0}
    binding.unload("other")
    assert server.heard[-1].json["model"] == "other"
    server.on("/api/generate", not_found())
    with pytest.raises(ModelNotFound):
        binding.unload("nope")


def test_unloading_a_model_that_only_embeds_on_an_older_server(server: Server, make: Make) -> None:
    server.on("/api/generate", whole({"error": '"m" does not support generate'}, "400 Bad Request"))
    server.on("/api/embed", whole({"embeddings": []}))
    make().unload("m")
    assert server.heard[-1].json == {"model": "m", "stream": False, "input": [], "keep_alive": 0}


@pytest.mark.parametrize(("method", "arguments"), [("ps", ()), ("delete", ("m",)), ("unload", ()), ("unload", ("m",))])
def test_nobody_there(method: str, arguments: tuple[str, ...]) -> None:
    with (
        OllamaBinding(host_address="127.0.0.1:1", model_name="m", retries=0) as binding,
        pytest.raises(BackendUnavailable, match=r"127\.0\.0\.1:1"),
    ):
        getattr(binding, method)(*arguments)


def test_the_key_of_a_refused_pull_is_not_shown(server: Server, make: Make, pull: Pull) -> None:
    server.on("/api/pull", streamed({"error": "the key sk-marker is refused"}))
    with pytest.raises(BackendError) as caught:
        pull(make(service_key="sk-marker"), "new")
    assert "sk-marker" not in str(caught.value)
