"""Fetching models from a hub on the loopback interface, through huggingface_hub."""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from filelock import FileLock
from hub_server import COMMIT, FILE, NAME, REPO, HubServer, answer, cut_after, sha256

from lollms_core import (
    BackendError,
    ModelNotFound,
    Progress,
    ProtocolError,
    StreamInterrupted,
)
from lollms_core.testing import HOLD, RESET, Gate
from lollms_llamacpp import LlamaCppBinding
from lollms_llamacpp.hub import transfer

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


def in_list(binding: LlamaCppBinding) -> list[str]:
    return [model["model_name"] for model in binding.listModels() if model["source"] == "huggingface"]


def test_pull(hub: HubServer, cache: Path, binding: LlamaCppBinding, tiny: bytes) -> None:
    """The file is fetched with its progress in bytes; then it is listed, and loaded by the same name."""
    hub.has(REPO, {FILE: tiny, "README.md": b"text"})
    steps = list(binding.pull(NAME))
    assert steps[0] == Progress(f"looking up hf:{REPO}")
    digest = f"sha256:{sha256(tiny)}"
    assert steps[1] == Progress(f"pulling {FILE}", 0, len(tiny), digest)
    assert steps[-2:] == [Progress(f"pulling {FILE}", len(tiny), len(tiny), digest), Progress("success")]
    completed = [step.completed for step in steps[1:-1] if step.completed is not None]
    assert completed == sorted(completed)
    assert in_list(binding) == [NAME]
    assert binding.load_model(NAME), binding.last_error
    assert isinstance(binding.generate_text("x", n_predict=1), str)
    blob = cache / "blobs" / sha256(tiny)
    assert blob.read_bytes() == tiny
    assert (cache / "snapshots" / COMMIT / FILE).resolve() == blob.resolve()
    assert (cache / "refs" / "main").read_text() == COMMIT
    assert not list(cache.rglob("*.incomplete"))


def test_what_huggingface_hub_makes_of_it(hub: HubServer, cache: Path, binding: LlamaCppBinding, tiny: bytes) -> None:
    """What was fetched here is in huggingface_hub's cache as if it had fetched it."""
    hub.has(REPO, {"sub/dir/m.gguf": tiny})
    list(binding.pull(f"hf:{REPO}"))
    found = huggingface_hub.try_to_load_from_cache(REPO, "sub/dir/m.gguf", cache_dir=cache.parent)
    assert found == str(cache / "snapshots" / COMMIT / "sub" / "dir" / "m.gguf")
    (repo,) = huggingface_hub.scan_cache_dir(cache.parent).repos
    assert (repo.repo_id, repo.size_on_disk, repo.nb_files) == (REPO, len(tiny), 1)
    assert not huggingface_hub.scan_cache_dir(cache.parent).warnings


def test_what_is_there_is_not_fetched(hub: HubServer, cache: Path, binding: LlamaCppBinding, tiny: bytes) -> None:
    hub.has(REPO, {FILE: tiny})
    list(binding.pull(NAME))
    assert [step.status for step in binding.pull(NAME)] == [f"looking up hf:{REPO}", f"pulling {FILE}", "success"]
    assert hub.asked_for(REPO, FILE) == [None]
    (cache / "snapshots" / COMMIT / FILE).unlink()
    list(binding.pull(NAME))
    assert in_list(binding) == [NAME]
    (cache / "blobs" / sha256(tiny)).unlink()
    list(binding.pull(NAME))
    assert hub.asked_for(REPO, FILE) == [None, None]
    assert in_list(binding) == [NAME]


@pytest.mark.parametrize("name", [f"hf:{REPO}:Q4_K_M", f"hf:{REPO}:q4_k_m", f"hf:{REPO}/tiny-Q4_K_M"])
def test_by_quantization(hub: HubServer, binding: LlamaCppBinding, tiny: bytes, name: str) -> None:
    """The file is found by its quantisation, and so is the model afterwards."""
    hub.has(REPO, {FILE: tiny, "tiny-Q4_K_S.gguf": b"other", "tiny-Q8_0.gguf": b"other", "mmproj-Q4_K_M.gguf": b"x"})
    list(binding.pull(name))
    assert in_list(binding) == [NAME]
    assert binding.load_model(name), binding.last_error


def test_the_only_model(hub: HubServer, binding: LlamaCppBinding, tiny: bytes) -> None:
    """A repository alone will do where one model is in it; of several, each is named."""
    hub.has(REPO, {FILE: tiny, "mmproj-f16.gguf": b"x", "repo.imatrix.gguf": b"x", "notes.txt": b"x"})
    list(binding.pull(f"hf:{REPO}"))
    assert binding.load_model(f"hf:{REPO}")
    hub.has(REPO, {FILE: tiny, "tiny-Q8_0.gguf": tiny})
    with pytest.raises(ModelNotFound, match=rf"2 models in hf:{REPO}: {FILE}, tiny-Q8_0\.gguf"):
        list(binding.pull(f"hf:{REPO}"))


def test_split_models(hub: HubServer, binding: LlamaCppBinding, make_gguf: Make, make_tiny: Make) -> None:
    """All files of a split model are fetched, and it is none before the last."""
    files = {
        f"q8/big-0000{number}-of-00002.gguf": content
        for number, content in ((1, make_tiny()), (2, make_gguf({"x": 1})))
    }
    hub.has(REPO, files)
    listed: list[list[str]] = []

    def note(step: Progress) -> None:
        if step.completed == step.total:
            listed.append(in_list(binding))

    name = f"hf:{REPO}/q8/big-00002-of-00002.gguf"
    binding.pull(name, progress=note)
    assert listed[-1] == [f"hf:{REPO}/q8/big-00001-of-00002.gguf"]
    assert not any(listed[:-1])
    assert binding.load_model(name), binding.last_error
    hub.has(REPO, {first: files[first] for first in list(files)[:1]})
    with pytest.raises(ModelNotFound, match=r"lacks q8/big-00002-of-00002\.gguf"):
        list(binding.pull(name))


def test_revisions(hub: HubServer, cache: Path, binding: LlamaCppBinding, tiny: bytes, make_tiny: Make) -> None:
    """A tag or a commit is asked for as such, and the model has its name with it."""
    older = make_tiny(general__name="Older")
    other = "b" * 40
    hub.has(REPO, {FILE: tiny})
    hub.has(REPO, {FILE: older}, revision="v1", commit=other)
    list(binding.pull(NAME))
    pinned = f"hf:{REPO}@v1/{FILE}"
    list(binding.pull(pinned))
    assert in_list(binding) == [NAME, pinned]
    assert (cache / "refs" / "v1").read_text() == other
    for name, title in ((NAME, "Tiny"), (pinned, "Older")):
        assert binding.load_model(name)
        assert binding.get_model_info()["title"] == title
    hub.has(REPO, {FILE: older}, revision=other, commit=other)
    list(binding.pull(f"hf:{REPO}@{other}"))
    assert not (cache / "refs" / other).exists()
    assert binding.load_model(f"hf:{REPO}@{other}")


def test_without_lfs(hub: HubServer, binding: LlamaCppBinding, tiny: bytes) -> None:
    """A file that is kept in the repository itself has git's checksum."""
    hub.has(REPO, {FILE: tiny}, lfs=False)
    steps = list(binding.pull(NAME))
    git = hashlib.sha1(b"blob %d\0" % len(tiny) + tiny, usedforsecurity=False).hexdigest()
    assert steps[-2].digest == f"sha1:{git}"
    assert binding.load_model(NAME)


# Interruptions --------------------------------------------------------------------------------------------


def test_a_cut_connection(hub: HubServer, binding: LlamaCppBinding, tiny: bytes) -> None:
    """What was cut off goes on where it ended."""
    hub.has(REPO, {FILE: tiny})
    hub.file(REPO, FILE, tiny, cut_after(10_000), lambda data: [data[:7], RESET], lambda data: [data])
    steps = list(binding.pull(NAME))
    assert steps[-1] == Progress("success")
    assert hub.asked_for(REPO, FILE)[:2] == [None, "bytes=10000-"]
    assert len(hub.asked_for(REPO, FILE)) == 3
    assert binding.load_model(NAME), binding.last_error


def test_the_next_pull_goes_on(hub: HubServer, cache: Path, binding: LlamaCppBinding, tiny: bytes) -> None:
    """After too many cuts the pull fails, what has come stays, and the next pull fetches only the rest."""
    hub.has(REPO, {FILE: tiny})
    hub.file(REPO, FILE, tiny, cut_after(10_000), cut_after(0))
    with pytest.raises(StreamInterrupted, match=rf"10000 of {len(tiny)} bytes; pull it again"):
        list(binding.pull(NAME))
    assert len(hub.asked_for(REPO, FILE)) == transfer.RETRIES.attempts
    assert in_list(binding) == []
    assert (cache / "blobs" / f"{sha256(tiny)}.incomplete").stat().st_size == 10_000
    hub.server.forget()
    hub.file(REPO, FILE, tiny)
    steps = list(binding.pull(NAME))
    assert Progress(f"pulling {FILE}", 10_000, len(tiny), f"sha256:{sha256(tiny)}") in steps
    assert hub.asked_for(REPO, FILE) == ["bytes=10000-"]
    assert binding.load_model(NAME), binding.last_error


def test_a_server_without_ranges(hub: HubServer, cache: Path, binding: LlamaCppBinding, tiny: bytes) -> None:
    """Where the whole file is sent again, it counts from the beginning."""
    hub.has(REPO, {FILE: tiny})
    hub.server.on(hub.path_of(REPO, FILE), [answer(200, tiny)[:-5000], *cut_after(0)(b"")], [answer(200, tiny)])
    list(binding.pull(NAME))
    assert (cache / "blobs" / sha256(tiny)).read_bytes() == tiny


def test_another_range(hub: HubServer, cache: Path, binding: LlamaCppBinding, tiny: bytes) -> None:
    hub.has(REPO, {FILE: tiny})
    other = answer(206, tiny, Content_Range=f"bytes 0-{len(tiny) - 1}/{len(tiny)}")
    hub.server.on(hub.path_of(REPO, FILE), [answer(200, tiny)[:-5000], *cut_after(0)(b"")], [other])
    with pytest.raises(ProtocolError, match="sends others"):
        list(binding.pull(NAME))


@pytest.mark.parametrize("left", [b"", b"GGUF other bytes of that length", "too long"])
def test_what_an_earlier_try_left(
    hub: HubServer, cache: Path, binding: LlamaCppBinding, tiny: bytes, left: bytes | str
) -> None:
    """What is no beginning of the file is found out at its end, and does not stay."""
    hub.has(REPO, {FILE: tiny})
    partial = cache / "blobs" / f"{sha256(tiny)}.incomplete"
    partial.parent.mkdir(parents=True)
    partial.write_bytes(tiny + b"more" if isinstance(left, str) else left)
    if isinstance(left, bytes) and left:
        with pytest.raises(BackendError, match=r"damaged.*pull it again"):
            list(binding.pull(NAME))
        assert not partial.exists()
    list(binding.pull(NAME))
    assert binding.load_model(NAME), binding.last_error


def test_damage_on_the_way(hub: HubServer, cache: Path, binding: LlamaCppBinding, tiny: bytes) -> None:
    """A byte that has changed is noticed; nothing of it is listed, and nothing stays."""
    hub.has(REPO, {FILE: tiny})
    hub.file(REPO, FILE, tiny[:-1] + b"\xff")
    with pytest.raises(BackendError, match="damaged"):
        list(binding.pull(NAME))
    assert in_list(binding) == []
    assert list((cache / "blobs").iterdir()) == []


@pytest.mark.parametrize("content", [b"PK\3\4 a zip archive", b"<html>", b"GG", b""])
def test_no_gguf_file(hub: HubServer, cache: Path, binding: LlamaCppBinding, content: bytes) -> None:
    """What does not begin like a GGUF file is refused at once, and does not stay."""
    hub.has(REPO, {FILE: content})
    with pytest.raises(BackendError, match="no GGUF file"):
        list(binding.pull(NAME))
    assert list((cache / "blobs").iterdir()) == []
    hub.has(REPO, {"model.safetensors": content, FILE: b"x"})
    with pytest.raises(BackendError, match=r"model\.safetensors: it is no GGUF file"):
        list(binding.pull(f"hf:{REPO}/model.safetensors"))


def test_refused_at_once(hub: HubServer, binding: LlamaCppBinding) -> None:
    """Nobody waits for the end of what cannot be used."""
    hub.has(REPO, {FILE: b"PK" + bytes(100_000)})
    hub.file(REPO, FILE, b"PK" + bytes(100_000), lambda data: [data[:1000], HOLD])
    with pytest.raises(BackendError, match="no GGUF file"):
        list(binding.pull(NAME))


def test_more_than_was_told(hub: HubServer, cache: Path, binding: LlamaCppBinding, tiny: bytes) -> None:
    hub.has(REPO, {FILE: tiny})
    hub.file(REPO, FILE, tiny + b"more")
    with pytest.raises(BackendError, match="more comes"):
        list(binding.pull(NAME))


# Cancelling -----------------------------------------------------------------------------------------------


def half(gate: Gate) -> Callable[[bytes], list[Any]]:
    return lambda data: [data[:20_000], gate, data[20_000:]]


@pytest.mark.parametrize("how", ["stream", "binding", "close"])
def test_cancel(hub: HubServer, cache: Path, binding: LlamaCppBinding, tiny: bytes, how: str) -> None:
    """A pull that waits for bytes ends at once, without an error; what has come stays for the next."""
    hub.has(REPO, {FILE: tiny})
    gate = Gate()
    hub.file(REPO, FILE, tiny, half(gate))
    stream = binding.pull(NAME)
    came = threading.Event()

    def read() -> None:
        for step in stream:
            if step.completed:
                came.set()

    reader = threading.Thread(target=read)
    reader.start()
    try:
        assert came.wait(10)
        {"stream": stream.cancel, "binding": binding.cancel, "close": stream.close}[how]()
        hub.server.wait_left()
        reader.join(10)
        assert not reader.is_alive()
    finally:
        gate.open()
        reader.join(10)
    assert stream.cancelled
    assert in_list(binding) == []
    partial = cache / "blobs" / f"{sha256(tiny)}.incomplete"
    assert 0 < partial.stat().st_size < len(tiny)
    hub.file(REPO, FILE, tiny)
    list(binding.pull(NAME))
    assert binding.load_model(NAME)


def test_leaving_the_loop(hub: HubServer, binding: LlamaCppBinding, tiny: bytes) -> None:
    """Who leaves, or returns False, ends the pull; the connection is closed and the lock given back."""
    hub.has(REPO, {FILE: tiny})
    gate = Gate()
    hub.file(REPO, FILE, tiny, half(gate))
    for step in binding.pull(NAME):
        if step.completed:
            break
    hub.server.wait_left()
    stream = binding.pull(NAME, progress=lambda step: step.total is None)
    assert stream.cancelled
    assert stream.last is not None
    assert stream.last.total == len(tiny)
    hub.file(REPO, FILE, tiny)
    list(binding.pull(NAME))
    assert in_list(binding) == [NAME]


def test_dropped_in_another_thread(hub: HubServer, binding: LlamaCppBinding, tiny: bytes) -> None:
    """Whoever drops a pull that another thread has begun gives its lock back."""
    hub.has(REPO, {FILE: tiny})
    gate = Gate()
    hub.file(REPO, FILE, tiny, half(gate), lambda data: [data])
    events = iter(binding.pull(NAME))
    reader = threading.Thread(target=lambda: [next(events) for _ in range(3)])
    reader.start()
    reader.join(10)
    assert isinstance(events, Generator)
    events.close()
    assert list(binding.pull(NAME))[-1] == Progress("success")


async def test_async(hub: HubServer, binding: LlamaCppBinding, tiny: bytes) -> None:
    """For asyncio the same; a cancelled task ends it."""
    hub.has(REPO, {FILE: tiny})
    gate = Gate()
    hub.file(REPO, FILE, tiny, half(gate))

    async def read() -> None:
        async for step in binding.apull(NAME):
            if step.completed:
                came.set()

    came = asyncio.Event()
    task = asyncio.create_task(read())
    async with asyncio.timeout(10):
        await came.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.to_thread(hub.server.wait_left)
        gate.open()
        hub.file(REPO, FILE, tiny)
        stream = await binding.apull(NAME)
    assert stream.last == Progress("success")
    assert in_list(binding) == [NAME]


def test_somebody_else_fetches_it(hub: HubServer, cache: Path, binding: LlamaCppBinding, tiny: bytes) -> None:
    """Two do not fetch the same file; who waits for the other can be cancelled."""
    hub.has(REPO, {FILE: tiny})
    lock = FileLock(cache.parent / ".locks" / cache.name / f"{sha256(tiny)}.lock")
    Path(lock.lock_file).parent.mkdir(parents=True)
    blob = cache / "blobs" / sha256(tiny)
    waiting = Progress(f"waiting for another download of {FILE}")
    with lock:
        stream = binding.pull(NAME)
        for step in stream:
            if step == waiting:
                stream.cancel()
        assert stream.last == waiting
        events = iter(binding.pull(NAME))
        while next(events) != waiting:
            continue
        blob.write_bytes(tiny)
    assert list(events)[-1] == Progress("success")
    assert hub.asked_for(REPO, FILE) == []
    assert in_list(binding) == [NAME]
