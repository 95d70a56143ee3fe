"""Models of other programs: names that lead to them, and what is broken there."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from store_files import COMMIT, OTHER, HubCache, OllamaStore, entry, names, path_of

from lollms_core import BackendError, Capability, ModelNotFound
from lollms_llamacpp import LlamaCppBinding
from lollms_llamacpp.library import Library
from lollms_llamacpp.stores import Stores, places
from lollms_llamacpp.stores.hub_names import HubName

Make = Callable[..., bytes]

pytestmark = pytest.mark.usefixtures("told_again")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HubCache:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    return HubCache(tmp_path / "hub")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LLAMA_CACHE", str(tmp_path / "llama"))
    (tmp_path / "llama").mkdir()
    return tmp_path / "llama"


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
