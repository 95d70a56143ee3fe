"""What is remembered of files: as long as they stay as they are, in this process and for the next."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lollms_core import BackendError, LollmsError, ModelNotFound
from lollms_llamacpp import gguf, model_file
from lollms_llamacpp import listing as module
from lollms_llamacpp.gguf_strings import SeenStrings
from lollms_llamacpp.listing import Listing

Make = Callable[..., bytes]


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files whose headers are read."""
    paths: list[Path] = []

    def read(path: Path, seen: SeenStrings | None = None) -> gguf.Header:
        paths.append(path)
        return gguf.read_header(path, seen)

    monkeypatch.setattr(model_file, "read_header", read)
    return paths


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    return tmp_path / "caches" / "kept.json"


@pytest.fixture
def file(tmp_path: Path, make_tiny: Make) -> Path:
    (tmp_path / "m.gguf").write_bytes(make_tiny())
    return tmp_path / "m.gguf"


def of(listing: Listing, path: Path) -> dict[str, Any]:
    (found,) = listing.facts([path])
    assert isinstance(found, dict)
    return found


def test_read_once(kept: Path, file: Path, reads: list[Path]) -> None:
    """A header is read once, by this process or an earlier one."""
    listing = Listing(kept)
    first = of(listing, file)
    assert first["title"] == "Tiny"
    assert of(listing, file) == of(Listing(kept), file) == first
    assert reads == [file]


def test_changes_are_seen(kept: Path, file: Path, make_tiny: Make, reads: list[Path]) -> None:
    """Another size, time or inode is another file."""
    assert of(Listing(kept), file)["title"] == "Tiny"
    status = file.stat()
    other = file.with_name("other")
    other.write_bytes(make_tiny(general__name="Tina"))
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.replace(file)
    assert (file.stat().st_size, file.stat().st_mtime_ns) == (status.st_size, status.st_mtime_ns)
    assert of(Listing(kept), file)["title"] == "Tina"
    file.write_bytes(make_tiny(general__name="A longer name"))
    assert of(Listing(kept), file)["title"] == "A longer name"
    assert len(reads) == 3


def test_split_models(kept: Path, tmp_path: Path, make_gguf: Make, make_tiny: Make, reads: list[Path]) -> None:
    """A change in any of the files counts."""
    first, second = (tmp_path / f"big-0000{number}-of-00002.gguf" for number in (1, 2))
    first.write_bytes(make_tiny())
    second.write_bytes(make_gguf({"x": 1}, [("t", (8,), 0, bytes(32))]))
    before = of(Listing(kept), first)
    assert before["size"] == first.stat().st_size + second.stat().st_size
    second.write_bytes(make_gguf({"x": 1}, [("t", (16,), 0, bytes(64))]))
    assert of(Listing(kept), first)["parameters"] == before["parameters"] + 8
    assert len(reads) == 4
    second.unlink()
    (missing,) = Listing(kept).facts([first])
    assert isinstance(missing, ModelNotFound)


def test_companions_and_errors(kept: Path, tmp_path: Path, file: Path, make_tiny: Make, reads: list[Path]) -> None:
    """A projector is remembered as none; an error is not kept, since its cause may not be in the file."""
    projector, broken, gone = (tmp_path / name for name in ("mmproj.gguf", "broken.gguf", "gone.gguf"))
    projector.write_bytes(make_tiny(general__architecture="clip"))
    broken.write_bytes(b"GGUF")
    for _ in range(2):
        found = Listing(kept).facts([projector, broken, gone, file])
        assert found[0] is None
        assert isinstance(found[1], BackendError)
        assert isinstance(found[2], ModelNotFound)
        assert isinstance(found[3], dict)
    assert reads == [projector, broken, file, broken]


def whole(kept: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(kept.read_bytes())
    return content


def damaged(content: dict[str, Any], file: Path, **facts: Any) -> bytes:
    stamps, told = content["files"][str(file)]
    return json.dumps({**content, "files": {str(file): [stamps, {**told, **facts}]}}).encode()


@pytest.mark.parametrize(
    "damage",
    [
        lambda content, file: b"",
        lambda content, file: json.dumps(content).encode()[:-9],
        lambda content, file: b"\xff\xfe\x00",
        lambda content, file: b"[" * 200_000,
        lambda content, file: b"[]",
        lambda content, file: json.dumps({**content, "format": [0, "0"]}).encode(),
        lambda content, file: json.dumps({**content, "files": [1]}).encode(),
        lambda content, file: json.dumps({"format": content["format"]}).encode(),
        lambda content, file: json.dumps({**content, "files": {str(file): [1, 2, 3]}}).encode(),
        lambda content, file: json.dumps({**content, "files": {str(file): [[[1, "x", 2]], None]}}).encode(),
        lambda content, file: damaged(content, file, title=7),
        lambda content, file: damaged(content, file, parameters="many"),
        lambda content, file: damaged(content, file, parameters=True),
        lambda content, file: damaged(content, file, path="/elsewhere"),
    ],
)
def test_damage(kept: Path, file: Path, reads: list[Path], damage: Callable[[dict[str, Any], Path], bytes]) -> None:
    """A file of an earlier process that is damaged, or another version's, is as good as none, and made anew."""
    facts = of(Listing(kept), file)
    good = kept.read_bytes()
    kept.write_bytes(damage(whole(kept), file))
    assert of(Listing(kept), file) == facts
    assert reads == [file, file]
    assert kept.read_bytes() == good


def test_what_stands_there(kept: Path, file: Path) -> None:
    """Only the user may read it, nothing is left beside it, and a name without end is not kept."""
    of(Listing(kept), file)
    assert [one.name for one in kept.parent.iterdir()] == ["kept.json"]
    if os.name == "posix":
        assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert set(whole(kept)["files"]) == {str(file)}


def test_long_names(kept: Path, file: Path, make_tiny: Make, reads: list[Path]) -> None:
    file.write_bytes(make_tiny(general__name="x" * 100_000))
    for _ in range(2):
        assert len(of(Listing(kept), file)["title"]) == 100_000
    assert kept.stat().st_size < 1000
    assert reads == [file, file]


def test_bounds(kept: Path, tmp_path: Path, make_tiny: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is gone is forgotten, and of too many those that were not in the last list."""
    monkeypatch.setattr(module, "_MOST", 3)
    files = [tmp_path / f"{number}.gguf" for number in range(5)]
    for one in files:
        one.write_bytes(make_tiny())
    listing = Listing(kept)
    listing.facts(files[:2])
    files[0].unlink()
    listing.facts(files[2:3])
    assert set(whole(kept)["files"]) == {str(files[1]), str(files[2])}
    listing.facts(files[2:5])
    assert set(whole(kept)["files"]) == {str(files[2]), str(files[3]), str(files[4])}


def test_no_room(kept: Path, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing can be written, the list is there all the same, and no half file stays."""
    kept.parent.write_text("a file where the folder should be")
    assert of(Listing(kept), file)
    kept.parent.unlink()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    assert of(Listing(kept), file)
    assert list(kept.parent.iterdir()) == []


def test_where_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, file: Path) -> None:
    """It is in the user's cache directory, as the platform has it."""
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda *_, **__: str(tmp_path / "lollms"))
    of(Listing(), file)
    assert (tmp_path / "lollms" / "llamacpp-models.json").is_file()


def test_relative_paths(kept: Path, file: Path, monkeypatch: pytest.MonkeyPatch, reads: list[Path]) -> None:
    """A path counts from where the process is."""
    monkeypatch.chdir(file.parent)
    of(Listing(kept), Path(file.name))
    of(Listing(kept), file)
    assert len(reads) == 1


def test_an_error_is_each_ones_own(kept: Path, tmp_path: Path) -> None:
    """Whoever lists gets errors that say which file they are of."""
    for name in ("a.gguf", "b.gguf"):
        (tmp_path / name).write_bytes(b"PK")
    errors = Listing(kept).facts([tmp_path / "a.gguf", tmp_path / "b.gguf"])
    for name, error in zip(("a.gguf", "b.gguf"), errors, strict=True):
        assert isinstance(error, LollmsError)
        assert name in str(error)
    assert not kept.exists()
