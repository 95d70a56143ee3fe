"""What can go wrong while models are fetched, and who sees the token."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hub_server import COMMIT, FILE, NAME, REPO, HubServer, answer, refusal
from huggingface_hub import constants

from lollms_core import (
    AuthenticationError,
    BackendError,
    BackendTimeout,
    BackendUnavailable,
    Capability,
    CapabilityNotSupported,
    LollmsError,
    ModelNotFound,
    Progress,
    ProtocolError,
    RateLimited,
)
from lollms_core.testing import HOLD, FaultServer
from lollms_core.testing.secrets import MARKER, SecretWatch
from lollms_llamacpp import LlamaCppBinding

Make = Callable[..., bytes]


@pytest.fixture
def cache(hub: HubServer) -> Path:
    """The repository's folder in the cache."""
    return Path(os.environ["HF_HUB_CACHE"]) / "models--owner--repo-GGUF"


@pytest.fixture
def binding() -> Iterator[LlamaCppBinding]:
    with LlamaCppBinding(n_threads=1, ctx_size=64) as binding:
        yield binding


@pytest.fixture(scope="module")
def tiny(make_tiny: Make) -> bytes:
    return make_tiny()


def failed(binding: LlamaCppBinding, name: str = NAME) -> LollmsError:
    """What a pull fails with; its text is one line that names the model, and the token is nowhere to be seen."""
    with SecretWatch("lollms_llamacpp") as watch:
        with pytest.raises(LollmsError) as caught:
            list(binding.pull(name))
        error = caught.value
        assert watch.found(error) == []
    assert "\n" not in str(error)
    assert REPO in str(error)
    return error


@pytest.mark.parametrize(
    ("answered", "kind", "told"),
    [
        (refusal(404, "RepoNotFound", "Repository not found"), ModelNotFound, "no repository"),
        (refusal(401, "RepoNotFound", "Invalid username or password."), ModelNotFound, "log in with"),
        (refusal(401, message=f"Invalid credentials: {MARKER}"), AuthenticationError, r"\*\*\*"),
        (refusal(403, message="Forbidden"), AuthenticationError, "403"),
        (refusal(403, "GatedRepo", "Access is restricted"), AuthenticationError, "gated; ask for access at"),
        (refusal(404, "RevisionNotFound", "Invalid rev id"), ModelNotFound, "no revision 'main'"),
        (answer(429, b"slow down", Retry_After="7"), RateLimited, "429"),
        (refusal(503, message="down for\nmaintenance"), BackendError, "503 .*down for maintenance"),
        (answer(200, b"<html>a portal's page</html>"), ProtocolError, "does not answer as"),
        (answer(200, b"[]"), ProtocolError, "does not answer as"),
        (answer(200, json.dumps({"id": REPO, "siblings": []}).encode()), ProtocolError, "which commit"),
        (answer(200, json.dumps({"id": REPO, "sha": COMMIT}).encode()), ModelNotFound, "no GGUF file"),
    ],
)
def test_refusals(
    hub: HubServer, binding: LlamaCppBinding, answered: bytes, kind: type[LollmsError], told: str
) -> None:
    """Each of the hub's refusals is one clear sentence."""
    hub.server.on(f"/api/models/{REPO}?blobs=true", [answered])
    error = failed(binding)
    assert type(error) is kind
    with pytest.raises(kind, match=told):
        raise error
    if isinstance(error, RateLimited):
        assert error.retry_after == 7


@pytest.mark.parametrize(
    ("answered", "kind", "asked"),
    [
        (refusal(403, "GatedRepo"), AuthenticationError, 1),
        (refusal(401), AuthenticationError, 1),
        (refusal(404, "EntryNotFound"), ModelNotFound, 1),
        (refusal(500), BackendError, 3),
        (answer(429, Retry_After="0"), RateLimited, 3),
    ],
)
def test_refused_files(
    hub: HubServer, binding: LlamaCppBinding, tiny: bytes, answered: bytes, kind: type[LollmsError], asked: int
) -> None:
    """A repository that anybody may look at can have files that not everybody may have."""
    hub.has(REPO, {FILE: tiny})
    hub.server.on(hub.path_of(REPO, FILE), [answered])
    assert type(failed(binding)) is kind
    assert len(hub.asked_for(REPO, FILE)) == asked


def test_a_file_that_is_not_there(hub: HubServer, binding: LlamaCppBinding, tiny: bytes) -> None:
    hub.has(REPO, {FILE: tiny})
    with pytest.raises(ModelNotFound, match=rf"no model 'tiny-Q4_K_N\.gguf' in hf:{REPO}\. Did you mean {FILE}"):
        list(binding.pull(f"hf:{REPO}/tiny-Q4_K_N.gguf"))
    with pytest.raises(ModelNotFound, match=r"no model 'Q8_0'"):
        list(binding.pull(f"hf:{REPO}:Q8_0"))


@pytest.mark.parametrize(
    "changes",
    [
        {"blobId": None, "lfs": None},
        {"lfs": {"size": 4, "sha256": "../../x", "pointerSize": 1}},
        {"size": -1, "lfs": None},
    ],
)
def test_impossible_files(hub: HubServer, binding: LlamaCppBinding, tiny: bytes, changes: dict[str, Any]) -> None:
    """What becomes a file's name is looked at before."""
    told = {"rfilename": FILE, "size": 4, "blobId": "c" * 40, "lfs": None, **changes}
    hub.has(REPO, {FILE: tiny}, siblings=[told])
    with pytest.raises(ProtocolError, match="size and checksum"):
        list(binding.pull(NAME))


@pytest.mark.parametrize("name", ["../x.gguf", "/x.gguf", "a/../../x.gguf", "a\\..\\x.gguf", "c:x.gguf", "\0.gguf", ""])
def test_impossible_names(hub: HubServer, binding: LlamaCppBinding, tiny: bytes, name: str) -> None:
    """A hub cannot have anything written elsewhere."""
    hub.has(REPO, {}, siblings=[{"rfilename": name, "size": 4, "blobId": "c" * 40}])
    with pytest.raises(ModelNotFound, match="no GGUF file"):
        list(binding.pull(f"hf:{REPO}"))


def test_offline(hub: HubServer, binding: LlamaCppBinding, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a network, or where none is wanted, the pull says so."""
    with FaultServer(listening=False) as nobody:
        monkeypatch.setenv("HF_ENDPOINT", nobody.url)
        error = failed(binding)
    assert type(error) is BackendUnavailable
    assert f"cannot reach 127.0.0.1:{nobody.port}" in str(error)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    error = failed(binding)
    assert type(error) is BackendUnavailable
    assert "HF_HUB_OFFLINE" in str(error)


def test_silence(hub: HubServer, binding: LlamaCppBinding, tiny: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hub that says nothing is given up."""
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.05)
    hub.has(REPO, {FILE: tiny})
    hub.server.on(hub.path_of(REPO, FILE), [HOLD])
    assert type(failed(binding)) is BackendTimeout
    hub.server.on(f"/api/models/{REPO}?blobs=true", [HOLD])
    assert type(failed(binding)) is BackendTimeout


def test_no_room(
    hub: HubServer, cache: Path, binding: LlamaCppBinding, tiny: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What does not fit is not begun; a disk that is full, or may not be written, is named."""
    hub.has(REPO, {FILE: tiny})
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=5))
        with pytest.raises(BackendError, match=rf"{len(tiny)} bytes are to be fetched, and .* has room for 5"):
            list(binding.pull(NAME))
    assert hub.asked_for(REPO, FILE) == []
    cache.parent.mkdir(exist_ok=True)
    cache.write_text("a file where the folder should be")
    with pytest.raises(BackendError, match=r"cannot write .*models--owner--repo-GGUF"):
        list(binding.pull(NAME))


def test_systems_without_links(
    hub: HubServer, cache: Path, binding: LlamaCppBinding, tiny: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There the file itself has the name, and is not fetched twice."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(1314, "A required privilege is not held by the client")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    hub.has(REPO, {FILE: tiny})
    for _ in range(2):
        assert list(binding.pull(NAME))[-1] == Progress("success")
    assert hub.asked_for(REPO, FILE) == [None]
    assert not (cache / "snapshots" / COMMIT / FILE).is_symlink()
    assert binding.load_model(NAME)


# The token ------------------------------------------------------------------------------------------------


def test_the_token(hub: HubServer, binding: LlamaCppBinding, tiny: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hugging Face's own token goes to the hub and to nobody else, and is not logged."""
    with FaultServer() as elsewhere:
        hub.has(REPO, {FILE: tiny})
        elsewhere.on("/signed", [answer(200, tiny)])
        hub.server.on(hub.path_of(REPO, FILE), [answer(302, Location=f"{elsewhere.url}/signed")])
        with SecretWatch("lollms_llamacpp") as watch:
            list(binding.pull(NAME))
            assert watch.found(binding, binding.get_model_info(), binding.listModels()) == []
        assert [asked.headers.get("authorization") for asked in hub.server.asked] == [f"Bearer {MARKER}"] * 2
        assert [asked.headers.get("authorization") for asked in elsewhere.asked] == [None]
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", os.devnull)
    hub.server.forget()
    list(binding.pull(NAME))
    assert [asked.headers.get("authorization") for asked in hub.server.asked] == [None]


# Misuse ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["llama3", "ollama:llama3", "hf:", "hf:owner", "hf:../x/y.gguf", "hf:o/r/../x.gguf", "http://h/x.gguf"]
)
def test_other_names(binding: LlamaCppBinding, name: str) -> None:
    """What is no name on the hub is refused before anything is asked."""
    for pull in (binding.pull, binding.apull):
        with pytest.raises(ValueError, match="hf:OWNER/REPO"):
            pull(name)


def test_other_arguments(binding: LlamaCppBinding) -> None:
    with pytest.raises(TypeError):
        binding.pull(7)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="empty"):
        binding.pull(" ")
    with pytest.raises(TypeError):
        binding.pull(NAME, progress=7)  # type: ignore[arg-type]


def test_without_the_extra(hub: HubServer, binding: LlamaCppBinding, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where huggingface_hub is missing or too old, one line says what to install, before anything is asked."""
    assert Capability.PULL in LlamaCppBinding.capabilities
    assert Capability.PULL in binding.capabilities_of(None)
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "0.36.2")
    for told in ("1.0 or newer, not 0.36.2", "not installed"):
        for pull in (binding.pull, binding.apull):
            with pytest.raises(CapabilityNotSupported, match=rf'{told}: pip install "lollms-llamacpp\[hub\]"'):
                pull(NAME)
        monkeypatch.setitem(sys.modules, "huggingface_hub", None)
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert hub.server.asked == []


def test_light(binding: LlamaCppBinding) -> None:
    """Nothing of the hub is imported before a pull is read."""
    code = (
        "import sys, lollms_llamacpp; b = lollms_llamacpp.LlamaCppBinding(); b.listModels(); b.pull('hf:o/r'); "
        "print([m for m in ('huggingface_hub', 'httpx', 'httpx2', 'filelock') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
