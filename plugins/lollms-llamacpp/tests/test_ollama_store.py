"""Ollama's models: names that lead to them, and what is broken there."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from store_files import OllamaStore, entry, names, path_of

from lollms_core import BackendError, Capability, ModelNotFound
from lollms_llamacpp import LlamaCppBinding
from lollms_llamacpp.stores import places, stored
from lollms_llamacpp.stores.ollama import OllamaName

Make = Callable[..., bytes]

pytestmark = pytest.mark.usefixtures("told_again")


def test_ollama(ollama: OllamaStore, make_tiny: Make) -> None:
    """A manifest is a model; its name is that of ``ollama list``, and what Ollama takes for it leads there too."""
    tiny = make_tiny()
    layers = {"model": tiny, "template": b"{{ .Prompt }}", "params": b"{}", "license": b"free"}
    ollama.library("llama3.2/1b", layers)
    ollama.library("llama3.2/latest", layers)
    ollama.add("registry.ollama.ai/jane/own-model/v1.0", ollama.manifest(layers))
    ollama.add("hf.co/bart/Llama-GGUF/Q4_K_M", ollama.manifest(layers))
    ollama.add("localhost:5000/team/m/latest", ollama.manifest(layers))
    assert names() == [
        "ollama:hf.co/bart/Llama-GGUF:Q4_K_M",
        "ollama:localhost:5000/team/m:latest",
        "ollama:jane/own-model:v1.0",
        "ollama:llama3.2:1b",
        "ollama:llama3.2:latest",
    ]
    blob = ollama.path_of(ollama.blob(tiny))
    for name in (
        *names(),
        *("ollama:llama3.2", "ollama:library/llama3.2", "ollama:registry.ollama.ai/library/llama3.2:1b"),
        *("ollama:ollama.com/library/llama3.2:1b", "ollama:Llama3.2:1B", "ollama:localhost:5000/team/m"),
    ):
        assert path_of(name) == blob
    listed = entry("ollama:llama3.2:1b")
    assert (listed["source"], listed["path"], listed["architecture"]) == ("ollama", str(blob), "llama")
    assert (listed["size"], listed["quantization"], listed["ctx_size"]) == (len(tiny), "F32", 256)
    with pytest.raises(ModelNotFound, match=r"Did you mean ollama:llama3\.2:1b"):
        path_of("ollama:llama3.2:3b")
    with pytest.raises(ModelNotFound, match=r"Did you mean ollama:llama3\.2:1b"):
        path_of("llama3.2:1b")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("m", ("registry.ollama.ai", "library", "m", "latest")),
        ("m:t", ("registry.ollama.ai", "library", "m", "t")),
        ("n/m", ("registry.ollama.ai", "n", "m", "latest")),
        ("h/n/m:t", ("h", "n", "m", "t")),
        ("h:80/n/m", ("h:80", "n", "m", "latest")),
        ("https://ollama.com/library/m", ("registry.ollama.ai", "library", "m", "latest")),
        *((bad, None) for bad in ("", ":t", "m:", "a/b/c/d", "/m", "n/", "..", "../m", "n/..", "m:..", "a\0", "m m")),
        ("m:t/u", None),
    ],
)
def test_ollama_names(text: str, parts: tuple[str, ...] | None) -> None:
    """A name has four parts, of which three go without saying; what could lead elsewhere is none."""
    assert OllamaName.parse(text) == parts


def test_newer_ollama(ollama: OllamaStore, make_tiny: Make) -> None:
    """From 0.40 on a manifest is a link to a blob, and may be a list of those for several runners."""
    tiny, other = make_tiny(), make_tiny(general__name="Other")
    ours = ollama.blob(json.dumps(ollama.manifest({"model": tiny})).encode())
    apple = ollama.blob(json.dumps(ollama.manifest({"tensor": b"x"})).encode())
    manifests = [{"digest": apple, "runner": "mlx"}, {"digest": ours, "runner": "ollama"}]
    listed = {"mediaType": "application/vnd.ollama.manifest.list.v2+json", "manifests": manifests}
    digest = ollama.blob(json.dumps(listed).encode())
    link = ollama.folder / "manifests-v2" / "ollama.com" / "library" / "m" / "latest"
    link.parent.mkdir(parents=True)
    link.symlink_to(f"../../../../blobs/{digest.replace(':', '-')}")
    ollama.library("m/latest", {"model": other})  # what an older Ollama would use
    ollama.add("localhost%3A5000/a/b/c", ollama.manifest({"model": other}, runner="llamacpp"), folder="manifests-v2")
    assert names() == ["ollama:localhost:5000/a/b:c", "ollama:m:latest"]
    assert path_of("ollama:m").read_bytes() == tiny
    assert path_of("ollama:localhost:5000/a/b:c").read_bytes() == other
    ollama.path_of(digest).unlink()  # the older one counts again
    assert path_of("ollama:m").read_bytes() == other


def test_a_manifest_is_read_again_when_it_changes(ollama: OllamaStore, make_tiny: Make) -> None:
    tiny, other = make_tiny(), make_tiny(general__name="Other")
    ollama.library("m/latest", {"model": tiny})
    assert path_of("ollama:m").read_bytes() == tiny
    path = ollama.library("m/latest", {"model": other, "license": b"now with a license"})
    assert path_of("ollama:m").read_bytes() == other
    path.unlink()
    with pytest.raises(ModelNotFound):
        path_of("ollama:m")


def test_elsewhere(ollama: OllamaStore, caplog: pytest.LogCaptureFixture) -> None:
    """What runs on somebody's servers or without llama.cpp is not listed, and nobody is bothered with it."""
    ollama.add("registry.ollama.ai/library/big/cloud", {"schemaVersion": 2, "config": {}, "layers": None})
    ollama.library("apple/latest", {"tensor": b"x", "json": b"{}"})
    ollama.add("registry.ollama.ai/library/.tmp/latest", b"{")
    with caplog.at_level(logging.INFO):
        assert names() == []
    assert not caplog.records


def broken_stores(ollama: OllamaStore, make_tiny: Make) -> dict[str, str]:
    """Manifests that cannot be used, and what is said of each."""
    outside = ollama.folder.parent / "outside"
    outside.write_bytes(make_tiny())
    lost, led_out, folder = (ollama.blob(text) for text in (b"lost", b"led out", b"folder"))
    for digest in (lost, led_out, folder):
        ollama.path_of(digest).unlink()
    ollama.path_of(led_out).symlink_to(outside)
    ollama.path_of(folder).mkdir()
    prefix = "registry.ollama.ai/library"
    ollama.add(f"{prefix}/cut/latest", b'{"layers": [')
    ollama.add(f"{prefix}/text/latest", b"\xff\xfe")
    ollama.add(f"{prefix}/list/latest", [])
    ollama.add(f"{prefix}/deep/latest", b"[" * 100_000)
    ollama.add(f"{prefix}/layers/latest", {"layers": 7})
    ollama.add(f"{prefix}/up/latest", ollama.manifest({"model": "../../../outside"}))
    ollama.add(f"{prefix}/absolute/latest", ollama.manifest({"model": str(outside)}))
    ollama.add(
        f"{prefix}/number/latest", {"layers": [{"mediaType": "application/vnd.ollama.image.model", "digest": 7}]}
    )
    ollama.add(f"{prefix}/two/latest", ollama.manifest({"model1": b"a", "model2": b"b"}))
    ollama.add(f"{prefix}/lost/latest", ollama.manifest({"model": lost}))
    ollama.add(f"{prefix}/ledout/latest", ollama.manifest({"model": led_out}))
    ollama.add(f"{prefix}/folder/latest", ollama.manifest({"model": folder}))
    ollama.add(
        f"{prefix}/children/latest", {"mediaType": "application/vnd.ollama.manifest.list.v2+json", "manifests": 1}
    )
    (ollama.folder / "manifests" / prefix / "dangling").mkdir()
    (ollama.folder / "manifests" / prefix / "dangling" / "latest").symlink_to("nowhere")
    (ollama.folder / "manifests" / prefix / "loop").mkdir()
    (ollama.folder / "manifests" / prefix / "loop" / "latest").symlink_to("latest")
    (ollama.folder / "manifests" / prefix / "linked").mkdir()
    manifest = ollama.folder.parent / "manifest"
    manifest.write_text(json.dumps(ollama.manifest({"model": make_tiny()})))
    (ollama.folder / "manifests" / prefix / "linked" / "latest").symlink_to(manifest)
    return {
        "cut": "no JSON",
        "text": "no JSON",
        "list": "no JSON object",
        "deep": "nested",
        "layers": "no list",
        "up": "digest",
        "absolute": "digest",
        "number": "digest",
        "two": "2 model files",
        "lost": "No such file",
        "ledout": "leads out",
        "folder": "not a regular file",
        "children": "none",
        "dangling": "No such file",
        "loop": "link",
        "linked": "leads out",
    }


def test_broken_manifests(ollama: OllamaStore, make_tiny: Make) -> None:
    """Each is an entry that says what is wrong, the others are there all the same, and no name leads out."""
    broken = broken_stores(ollama, make_tiny)
    ollama.library("whole/latest", {"model": make_tiny()})
    assert {"ollama:whole:latest"} | {f"ollama:{name}:latest" for name in broken} == set(names())
    for name, told in broken.items():
        listed = entry(f"ollama:{name}:latest")
        assert told in str(listed["error"]), name
        assert listed["source"] == "ollama"
        with pytest.raises(BackendError, match=told):
            path_of(f"ollama:{name}")
    assert "error" not in entry("ollama:whole:latest")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_store_that_may_not_be_read(ollama: OllamaStore, caplog: pytest.LogCaptureFixture) -> None:
    (ollama.folder / "manifests").mkdir(mode=0)
    try:
        assert names() == names() == []
    finally:
        (ollama.folder / "manifests").chmod(0o700)
    assert len(caplog.records) == 1


def test_a_folder_that_cannot_be_read(
    ollama: OllamaStore, make_tiny: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is told of once, at WARNING if it is the user's own, and the rest of the store is listed."""
    ollama.library("m/latest", {"model": make_tiny()})
    closed = ollama.folder / "manifests" / "closed.example"
    closed.mkdir()
    scandir = os.scandir

    def refuse(folder: str | Path) -> object:
        if Path(folder) == closed:
            raise PermissionError(13, "Permission denied", str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    for _ in range(3):
        assert names() == ["ollama:m:latest"]
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert str(closed) in record.getMessage()
    monkeypatch.delenv("OLLAMA_MODELS")
    monkeypatch.setenv("HOME", str(ollama.folder.parent / "nobody"))
    monkeypatch.setattr(places, "SYSTEM_OLLAMA", (str(ollama.folder),))
    monkeypatch.setattr(stored, "_told", set())
    caplog.clear()
    assert names() == ["ollama:m:latest"]
    assert not caplog.records  # a service's models are not everybody's


def test_projector_of_ollama(ollama: OllamaStore, make_tiny: Make, make_projector: Make, make_png: Make) -> None:
    """A model with a projector sees; one whose projector cannot be used is there for texts."""
    chatty = make_tiny(tokenizer__chat_template="{% for m in messages %}{{ m['content'] }}{% endfor %}")
    ollama.library("seeing/latest", {"model": chatty, "projector": make_projector(n_out=32)})
    ollama.library("blind/latest", {"model": make_tiny(general__name="B"), "projector": b"no projector"})
    ollama.library("plain/latest", {"model": make_tiny(general__name="C")})
    with LlamaCppBinding(model_name="ollama:plain", n_threads=1, ctx_size=128) as binding:
        assert Capability.VISION in binding.capabilities_of("ollama:seeing")
        assert Capability.VISION not in binding.capabilities_of("ollama:blind")
        assert Capability.VISION not in binding.capabilities_of(None)
        assert binding.chat("What is this?", images=[make_png(8, 8)], model="ollama:seeing", n_predict=1).model
        assert binding.load_model("ollama:blind")
        assert isinstance(binding.generate_text("x", n_predict=1), str)


def test_adapters_are_not_left_out(ollama: OllamaStore, make_tiny: Make) -> None:
    """A model with a LoRA adapter is not the one without it."""
    tiny = make_tiny()
    ollama.library("base/latest", {"model": tiny})
    ollama.library("tuned/latest", {"model": tiny, "adapter": make_tiny(general__type="adapter")})
    assert "LoRA" in str(entry("ollama:tuned:latest")["error"])
    with pytest.raises(BackendError, match="LoRA"):
        path_of("ollama:tuned")
    assert path_of("ollama:base").read_bytes() == tiny


def test_ollama_in_several_places(tmp_path: Path, make_tiny: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's own store goes before that of a service; each name is listed once."""
    own, service = OllamaStore(tmp_path / "own"), OllamaStore(tmp_path / "service")
    tiny, other = make_tiny(), make_tiny(general__name="Other")
    own.library("m/latest", {"model": tiny})
    service.library("m/latest", {"model": other})
    service.library("n/latest", {"model": other})
    monkeypatch.setenv("OLLAMA_MODELS", str(own.folder))
    monkeypatch.setattr(places, "SYSTEM_OLLAMA", (str(service.folder), str(tmp_path / "nowhere")))
    assert names() == ["ollama:m:latest", "ollama:n:latest"]
    assert path_of("ollama:m").read_bytes() == tiny
    assert path_of("ollama:n").read_bytes() == other
