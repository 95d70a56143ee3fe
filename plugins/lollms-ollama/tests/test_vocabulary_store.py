"""A vocabulary is fetched once for each digest; a damaged file on disk is no harm."""

from __future__ import annotations

import json
import threading
import zlib
from pathlib import Path

import pytest
from ollama_wire import vocabulary

from lollms_core import CapabilityNotSupported
from lollms_ollama.vocabulary_store import VocabularyStore


def only_file(folder: Path) -> Path:
    (path,) = folder.iterdir()
    return path


def test_memory_then_disk(tmp_path: Path) -> None:
    store = VocabularyStore(tmp_path)
    assert store.in_memory("d") is None
    assert store.on_disk("d") is None
    made = store.new("d", {**vocabulary(), "general.file_type": 1})
    assert store.in_memory("d") is made
    again = VocabularyStore(tmp_path).on_disk("d")
    assert again.encode("the") == made.encode("the")
    assert b"file_type" not in zlib.decompress(only_file(tmp_path).read_bytes())


@pytest.mark.parametrize(
    "data",
    [b"", b"garbage", zlib.compress(b"{"), zlib.compress(b"[]"), zlib.compress(b"\xff"), None],
)
def test_a_damaged_file_counts_as_none(tmp_path: Path, data: bytes | None) -> None:
    VocabularyStore(tmp_path).new("d", vocabulary())
    path = only_file(tmp_path)
    path.write_bytes(path.read_bytes()[:-5] if data is None else data)
    assert VocabularyStore(tmp_path).on_disk("d") is None


def test_a_damaged_vocabulary_in_a_whole_file_counts_as_none(tmp_path: Path) -> None:
    VocabularyStore(tmp_path).new("d", vocabulary())
    path = only_file(tmp_path)
    path.write_bytes(zlib.compress(json.dumps({**vocabulary(), "tokenizer.ggml.tokens": 1}).encode()))
    assert VocabularyStore(tmp_path).on_disk("d") is None


def test_digests_are_no_file_names(tmp_path: Path) -> None:
    VocabularyStore(tmp_path / "cache").new("../../evil\x00", vocabulary())
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]


def test_a_folder_that_cannot_be_written_is_no_harm(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    store = VocabularyStore(blocked)
    assert store.new("d", vocabulary()).encode("the") == [261]
    assert store.on_disk("other") is None


def test_without_a_digest_nothing_is_kept(tmp_path: Path) -> None:
    VocabularyStore(tmp_path).new(None, vocabulary())
    assert not list(tmp_path.iterdir())


def test_other_kinds_raise_and_are_not_kept(tmp_path: Path) -> None:
    with pytest.raises(CapabilityNotSupported):
        VocabularyStore(tmp_path).new("d", vocabulary(tokenizer__ggml__model="bert"))
    assert not list(tmp_path.iterdir())


def test_only_a_few_stay_in_memory(tmp_path: Path) -> None:
    store = VocabularyStore(tmp_path)
    for number in range(6):
        store.new(str(number), vocabulary())
    assert [store.in_memory(str(number)) is not None for number in range(6)] == [False, False, True, True, True, True]


def test_many_writers(tmp_path: Path) -> None:
    store = VocabularyStore(tmp_path)
    threads = [threading.Thread(target=store.new, args=("d", vocabulary())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert only_file(tmp_path).name.endswith(".z")
    assert VocabularyStore(tmp_path).on_disk("d") is not None


def test_the_default_folder_is_the_users_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda *_, **__: str(tmp_path))
    VocabularyStore().new("d", vocabulary())
    assert (tmp_path / "ollama-vocabularies").is_dir()
