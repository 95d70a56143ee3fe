"""Models of other programs: names that lead to them, and what is broken there."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from store_files import COMMIT, OTHER, HubCache, OllamaStore

from lollms_core import BackendError, Capability, ModelNotFound
from lollms_llamacpp import LlamaCppBinding
from lollms_llamacpp.library import Library
from lollms_llamacpp.stores import Stores, places, stored
from lollms_llamacpp.stores.hub_names import HubName
from lollms_llamacpp.stores.ollama import OllamaName

Make = Callable[..., bytes]


@pytest.fixture
def ollama(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OllamaStore:
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path / "ollama"))
    return OllamaStore(tmp_path / "ollama")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HubCache:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    return HubCache(tmp_path / "hub")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LLAMA_CACHE", str(tmp_path / "llama"))
    (tmp_path / "llama").mkdir()
    return tmp_path / "llama"


@pytest.fixture(autouse=True)
def _tell_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored, "_told", set())


def names() -> list[str]:
    return [one.name for one in Stores().models()]


def path_of(name: str) -> Path:
    """Where a name leads through the library, as a binding asks."""
    return Library(None).find(name)


def entry(name: str) -> dict[str, object]:
    """A model as it is listed."""
    (found,) = [model for model in Library(None).models() if model["model_name"] == name]
    return found


# Ollama ---------------------------------------------------------------------------------------------------


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


# Hugging Face ---------------------------------------------------------------------------------------------


def test_hub(hub: HubCache, make_tiny: Make) -> None:
    """A GGUF file of a repository is a model, by its path there, by its quantisation, or as the only one."""
    tiny = make_tiny()
    small = hub.add("owner/small-GGUF", "small-Q4_K_M.gguf", tiny)
    hub.add("owner/small-GGUF", "README.md", b"text")
    hub.add("owner/small-GGUF", "mmproj-small.gguf", make_tiny(general__architecture="clip"))
    four = hub.add("owner/many", "many.Q4_K_M.gguf", tiny)
    large = hub.add("owner/many", "Q4_K_L/many-Q4_K_L.gguf", tiny + b"\0")
    hub.add("owner/many", "many-IQ4_XS.gguf", tiny + b"\0\0")
    assert names() == [
        "hf:owner/many/Q4_K_L/many-Q4_K_L.gguf",
        "hf:owner/many/many-IQ4_XS.gguf",
        "hf:owner/many/many.Q4_K_M.gguf",
        "hf:owner/small-GGUF/small-Q4_K_M.gguf",
    ]
    for name, path in {
        "hf:owner/small-GGUF/small-Q4_K_M.gguf": small,
        "hf:owner/small-GGUF/small-Q4_K_M": small,
        "hf:owner/small-GGUF": small,
        "hf:owner/small-GGUF:Q4_K_M": small,
        "hf:owner/small-GGUF:q4_k_m": small,
        f"hf:owner/small-GGUF@{COMMIT}": small,
        "hf:owner/small-GGUF@main/small-Q4_K_M.gguf": small,
        "hf:owner/many:Q4_K_M": four,
        "hf:owner/many:Q4_K_L": large,
        "hf:owner/many/Q4_K_L/many-Q4_K_L.gguf": large,
    }.items():
        assert path_of(name) == path, name
    listed = entry("hf:owner/small-GGUF/small-Q4_K_M.gguf")
    assert (listed["source"], listed["title"]) == ("huggingface", "Tiny")
    with pytest.raises(ModelNotFound, match=r"3 models in hf:owner/many: .*many\.Q4_K_M\.gguf"):
        path_of("hf:owner/many")
    for name in ("hf:owner/many:Q8_0", "hf:owner/many:Q4_K", "hf:owner/none", "hf:owner/many@v9", "hf:small"):
        with pytest.raises(ModelNotFound, match=r"pull\('hf:"):
            path_of(name)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("o/r", HubName("o/r")),
        ("o/r.x-1/f.gguf", HubName("o/r.x-1", file="f.gguf")),
        ("o/r/d/e f.gguf", HubName("o/r", file="d/e f.gguf")),
        ("o/r:Q4_K_M", HubName("o/r", quantization="Q4_K_M")),
        ("o/r@v1.0:Q8_0", HubName("o/r", "v1.0", quantization="Q8_0")),
        ("o/r@abc/f.gguf", HubName("o/r", "abc", "f.gguf")),
        *((bad, None) for bad in ("", "o", "o/", "/r", "o/..", "../r", "o/r/..", "o/r/../../x.gguf", "o/r//x.gguf")),
        *((bad, None) for bad in ("o/r/./x", "o/r@", "o/r@../x", "o/r@a..b", "o/r:", "o/r/a\0b", "o/r/a\\b", "o\0/r")),
        *((bad, None) for bad in ("o--p/r", "o/r/C:x", " o/r", "o/r ", "o/r@.git/x", "o/r/" + "x" * 2000)),
    ],
)
def test_hub_names(text: str, name: HubName | None) -> None:
    """What a name is made of; what could lead out of a repository is none."""
    assert HubName.parse(text) == name


def test_revisions(hub: HubCache, make_tiny: Make) -> None:
    """The branch main counts; what another revision has otherwise is listed with it, what it has the same is not."""
    old, new, lone = (make_tiny(general__name=name) for name in ("Old", "New", "Lone"))
    hub.add("o/r", "m.gguf", old, OTHER, ref="v1")
    hub.add("o/r", "same.gguf", old, OTHER, ref="v1")
    hub.add("o/r", "m.gguf", new)
    hub.add("o/r", "same.gguf", old)
    hub.add("o/r", "gone.gguf", lone, OTHER, ref="v1")
    os.utime(hub.repository("o/r") / "snapshots" / OTHER, (2_000_000_000, 2_000_000_000))
    assert names() == ["hf:o/r/m.gguf", "hf:o/r/same.gguf", "hf:o/r/gone.gguf", "hf:o/r@v1/m.gguf"]
    assert path_of("hf:o/r/m.gguf").read_bytes() == new
    assert path_of("hf:o/r/gone.gguf").read_bytes() == lone
    for name in ("hf:o/r@v1/m.gguf", f"hf:o/r@{OTHER}/m.gguf"):
        assert path_of(name).read_bytes() == old
    (hub.repository("o/r") / "refs" / "main").unlink()  # then the newest counts
    assert path_of("hf:o/r/m.gguf").read_bytes() == old


def test_split_models_of_the_hub(hub: HubCache, make_tiny: Make, make_gguf: Make) -> None:
    """A split model is one model, whose first file llama.cpp wants by its own name."""
    for number in (1, 2):
        hub.add("o/r", f"q8/big-Q8_0-0000{number}-of-00002.gguf", make_gguf({"split.no": number - 1}))
    first = hub.repository("o/r") / "snapshots" / COMMIT / "q8" / "big-Q8_0-00001-of-00002.gguf"
    assert names() == ["hf:o/r/q8/big-Q8_0-00001-of-00002.gguf"]
    for name in ("q8/big-Q8_0-00002-of-00002.gguf", "q8/big-Q8_0.gguf", "q8/big-Q8_0"):
        assert path_of(f"hf:o/r/{name}") == first
    assert path_of("hf:o/r:q8_0") == path_of("hf:o/r") == first


def test_links_of_the_hub(hub: HubCache, tmp_path: Path, make_tiny: Make) -> None:
    """Links lead to blobs of the repository or to shared ones; any other is an entry with an error."""
    tiny = make_tiny()
    good = hub.add("o/r", "good.gguf", tiny)
    outside = tmp_path / "outside.gguf"
    outside.write_bytes(tiny)
    shared = hub.folder / "blobs" / "ab" / "abcd"
    shared.parent.mkdir(parents=True)
    shared.write_bytes(tiny)
    (hub.repository("o/r") / "blobs" / "etag").symlink_to("../../blobs/ab/abcd")
    (hub.repository("o/r") / "blobs" / "leak").symlink_to(outside)
    other = hub.add("o/other", "x.gguf", tiny)
    targets: dict[str, str | Path] = {
        "shared": "../../blobs/etag",
        "leak": "../../blobs/leak",
        "absolute": outside,
        "up": "../../../../outside.gguf",
        "other": other,
        "dots": "../../blobs/..",
        "lost": "../../blobs/none",
        "loop": "loop.gguf",
    }
    for name, target in targets.items():
        (good.parent / f"{name}.gguf").symlink_to(target)
    (good.parent / "plain.gguf").write_bytes(tiny)  # where a system has no links
    (good.parent / "folder").symlink_to(tmp_path)
    listed = {str(model["model_name"]): model for model in Library(None).models()}
    for name in ("good", "shared", "plain"):
        assert "error" not in listed[f"hf:o/r/{name}.gguf"]
        assert path_of(f"hf:o/r/{name}.gguf") == good.parent / f"{name}.gguf"
    for name in ("leak", "absolute", "up", "other", "dots", "lost", "loop"):
        assert "link" in str(listed[f"hf:o/r/{name}.gguf"]["error"]), name
        with pytest.raises(BackendError, match="link"):
            path_of(f"hf:o/r/{name}.gguf")
    assert not any("folder" in name for name in listed)


def test_a_shard_that_leads_out(hub: HubCache, tmp_path: Path, make_tiny: Make) -> None:
    """Every file of a split model is looked at."""
    first = hub.add("o/r", "m-00001-of-00002.gguf", make_tiny())
    (tmp_path / "outside.gguf").write_bytes(make_tiny())
    (first.parent / "m-00002-of-00002.gguf").symlink_to(tmp_path / "outside.gguf")
    with pytest.raises(BackendError, match=r"m-00002-of-00002\.gguf.*leads out"):
        path_of("hf:o/r")


def test_projector_of_the_hub(hub: HubCache, make_tiny: Make, make_projector: Make) -> None:
    """All quantisations of a repository share its projector; of several that in F16 is taken."""
    for name in ("m-Q4_0.gguf", "m-Q8_0.gguf"):
        hub.add("o/r", name, make_tiny(general__name=name))
    projector = hub.add("o/r", "mmproj-model-f16.gguf", make_projector(n_out=32))
    with LlamaCppBinding() as binding:
        for name in ("hf:o/r:Q4_0", "hf:o/r:Q8_0"):
            assert Capability.VISION in binding.capabilities_of(name)
        hub.add("o/r", "mmproj-model-bf16.gguf", make_projector(n_out=32, general__name="B"))
        assert Stores().projector_of(path_of("hf:o/r:Q4_0")) == projector
        hub.add("o/r", "mmproj-other-f16.gguf", make_projector(n_out=32, general__name="C"))
        assert Stores().projector_of(path_of("hf:o/r:Q4_0")) is None


def test_newer_llama_cpp(cache: Path, hub: HubCache, make_tiny: Make) -> None:
    """It keeps what it fetches as huggingface_hub does, below LLAMA_CACHE if that is set; each name is listed once."""
    HubCache(cache).add("o/theirs", "m.gguf", make_tiny())
    HubCache(cache).add("o/both", "m.gguf", make_tiny())
    both = hub.add("o/both", "m.gguf", make_tiny())
    assert sorted(names()) == ["hf:o/both/m.gguf", "hf:o/theirs/m.gguf"]
    assert path_of("hf:o/both") == both


def test_places(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The variables of the programs say where their stores are, in the programs' own order."""
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME", "LLAMA_CACHE", "OLLAMA_MODELS"):
        monkeypatch.delenv(name, raising=False)
    home = tmp_path / "home"
    monkeypatch.setattr(Path, "home", lambda: home)
    monkeypatch.setattr("sys.platform", "linux")
    assert places.hub_cache() == home / ".cache" / "huggingface" / "hub"
    assert places.llama_cpp_place().folder == home / ".cache" / "llama.cpp"
    assert [place.folder for place in places.ollama_places()] == [home / ".ollama" / "models"]
    monkeypatch.setattr("sys.platform", "darwin")
    assert places.llama_cpp_place().folder == home / "Library" / "Caches" / "llama.cpp"
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert places.hub_cache() == tmp_path / "xdg" / "huggingface" / "hub"
    assert places.llama_cpp_place().folder == tmp_path / "xdg" / "llama.cpp"
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    assert places.hub_cache() == tmp_path / "hf" / "hub"
    monkeypatch.setenv("HF_HUB_CACHE", "")
    monkeypatch.setenv("HUGGINGFACE_HUB_CACHE", str(tmp_path / "old"))
    assert places.hub_cache() == tmp_path / "old"
    monkeypatch.setenv("HF_HUB_CACHE", f'"{tmp_path}/new"')
    assert places.hub_cache() == tmp_path / "new"
    monkeypatch.setenv("LLAMA_CACHE", str(tmp_path / "new"))
    assert [place.folder for place in places.hub_places()] == [tmp_path / "new"]


# llama.cpp ------------------------------------------------------------------------------------------------


def manifest(**files: str) -> bytes:
    return json.dumps({key: {"rfilename": file, "lfs": {"sha256": "0" * 64}} for key, file in files.items()}).encode()


def test_llama_cpp(cache: Path, make_tiny: Make, make_projector: Make, caplog: pytest.LogCaptureFixture) -> None:
    """What was fetched from a repository goes by its name and tag, anything else by its file's name."""
    tiny = make_tiny()
    (cache / "ggml-org_seeing-GGUF_sub_m-Q4_K_M.gguf").write_bytes(tiny)
    (cache / "ggml-org_seeing-GGUF_mmproj-m.gguf").write_bytes(make_projector(n_out=32))
    content = manifest(ggufFile="sub/m-Q4_K_M.gguf", mmprojFile="mmproj-m.gguf")
    for tag in ("latest", "Q4_K_M"):
        (cache / f"manifest=ggml-org=seeing-GGUF={tag}.json").write_bytes(content)
    (cache / "ggml-org_seeing-GGUF_sub_m-Q4_K_M.gguf.etag").write_text("etag")
    (cache / "o_r_half.gguf.downloadInProgress").write_bytes(b"GGUF")
    (cache / "by-url.gguf").write_bytes(tiny)
    (cache / "manifest=o=r=latest.json").write_bytes(b"{")
    (cache / "manifest=o=gone=latest.json").write_bytes(manifest(ggufFile="gone.gguf"))
    (cache / "manifest=o=evil=latest.json").write_bytes(manifest(ggufFile="../../x.gguf"))
    (cache / "o_r_broken.gguf").write_bytes(b"GGUF")
    for number in (1, 2):
        (cache / f"o_r_split-0000{number}-of-00002.gguf").write_bytes(tiny)
    (cache / "sub.gguf").mkdir()
    assert sorted(names()) == [
        "llama.cpp:by-url",
        "llama.cpp:ggml-org/seeing-GGUF:Q4_K_M",
        "llama.cpp:o_r_broken",
        "llama.cpp:o_r_split-00001-of-00002",
    ]
    seeing = cache / "ggml-org_seeing-GGUF_sub_m-Q4_K_M.gguf"
    for name in ("ggml-org/seeing-GGUF:Q4_K_M", "ggml-org/seeing-GGUF:latest", seeing.name, seeing.stem):
        assert path_of(f"llama.cpp:{name}") == seeing
    assert Stores().projector_of(seeing) == cache / "ggml-org_seeing-GGUF_mmproj-m.gguf"
    assert Stores().projector_of(cache / "by-url.gguf") is None
    assert "cut short" in str(entry("llama.cpp:o_r_broken")["error"])
    assert entry("llama.cpp:by-url")["source"] == "llama.cpp"
    (told,) = [record.getMessage() for record in caplog.records]
    assert "manifest=o=r=latest.json" in told
    with LlamaCppBinding(n_threads=1) as binding:
        assert Capability.VISION in binding.capabilities_of("llama.cpp:ggml-org/seeing-GGUF:latest")


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "..", "sub/../../outside.gguf", "a\0b", ""])
@pytest.mark.parametrize("prefix", ["ollama:", "hf:", "llama.cpp:"])
def test_names_lead_nowhere_else(
    cache: Path, hub: HubCache, ollama: OllamaStore, tmp_path: Path, make_tiny: Make, prefix: str, name: str
) -> None:
    """A name is compared with those that there are; none becomes a path."""
    (tmp_path / "outside.gguf").write_bytes(make_tiny())
    hub.folder.mkdir()
    for library in (Library(None), Library(tmp_path)):
        with pytest.raises(ModelNotFound):
            library.find(prefix + name)


def test_a_link_out_of_the_cache(cache: Path, tmp_path: Path, make_tiny: Make) -> None:
    (tmp_path / "outside.gguf").write_bytes(make_tiny())
    (cache / "x.gguf").symlink_to(tmp_path / "outside.gguf")
    assert "leads out" in str(entry("llama.cpp:x")["error"])
    with pytest.raises(BackendError, match="leads out"):
        path_of("llama.cpp:x")


# Together -------------------------------------------------------------------------------------------------


def test_in_a_binding(ollama: OllamaStore, hub: HubCache, cache: Path, tiny_folder: Path, make_tiny: Make) -> None:
    """Every listed name works for the constructor, for load_model and for a single request; what is loaded is told."""
    ollama.library("m/latest", {"model": make_tiny(general__name="A")})
    hub.add("o/r", "m.gguf", make_tiny(general__name="B"))
    (cache / "m.gguf").write_bytes(make_tiny(general__name="C"))
    with LlamaCppBinding(models_path=tiny_folder, model_name="ollama:m", n_threads=1, ctx_size=64) as binding:
        assert binding.model_name == "ollama:m"
        listed = {model["model_name"]: model for model in binding.listModels() if model["source"] != "package"}
        assert list(listed) == ["chatty", "hf:o/r/m.gguf", "llama.cpp:m", "ollama:m:latest", "sub/bare"]
        assert [name for name, model in listed.items() if model["loaded"]] == ["ollama:m:latest"]
        assert listed["chatty"]["source"] == "models_path"
        for name in listed:
            answer = binding.generate_text("x", model=name, n_predict=1)
            assert isinstance(answer, str), answer
        for name, model in listed.items():
            assert binding.load_model(name), binding.last_error
            assert binding.get_model_info()["path"] == model["path"]
            assert [one["model_name"] for one in binding.listModels() if one["loaded"]] == [name]


def test_files_called_like_theirs(tmp_path: Path, make_tiny: Make) -> None:
    """A file in models_path whose name begins like theirs is found by its name all the same."""
    try:
        (tmp_path / "hf:x.gguf").write_bytes(make_tiny())
    except OSError:
        pytest.skip("this system has no such file names")
    assert Library(tmp_path).find("hf:x") == tmp_path / "hf:x.gguf"
