"""Stepping over strings: the fast way ends where the plain loop does, whatever the bytes are."""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lollms_core import BackendError
from lollms_llamacpp import gguf, gguf_strings
from lollms_llamacpp.gguf_strings import SeenStrings, step_over


def walk(chunk: bytes, at: int, most: int) -> tuple[int, int]:
    """One string after the other, up to the first whose prefix is not whole in the chunk."""
    passed = 0
    while passed < most and at + 8 <= len(chunk):
        at += 8 + struct.unpack_from("<Q", chunk, at)[0]
        passed += 1
    return passed, at


def stepped(chunk: bytes, at: int, most: int) -> tuple[int, int]:
    """The same with as many calls as it takes."""
    passed = 0
    while passed < most and at + 8 <= len(chunk):
        count, after = step_over(chunk, at, most - passed)
        assert 1 <= count <= most - passed
        passed, at = passed + count, after
    return passed, at


def packed(strings: list[bytes]) -> bytes:
    return b"".join(struct.pack("<Q", len(string)) + string for string in strings)


texts = st.one_of(
    st.binary(max_size=20),
    st.text(min_size=1, max_size=12).map(str.encode),
    st.sampled_from([b"", b"\0", b"\0" * 9, b"a\0\0\0\0\0\0\0\0b", b"x" * 255, b"x" * 256, b"y" * 70_000]),
)


@pytest.fixture
def _always_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gguf_strings, "_FEW", 1)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=9), st.lists(texts, max_size=40), st.binary(max_size=12), st.integers(1, 60))
def test_any_strings(before: bytes, strings: list[bytes], after: bytes, most: int) -> None:
    """Short and long, empty ones, zero bytes, at every alignment, and a chunk that ends anywhere."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gguf_strings, "_FEW", 1)
        chunk = before + packed(strings) + after
        for end in (len(chunk), len(chunk) - len(after) - 3, len(before) + 9):
            cut = chunk[: max(end, 0)]
            assert stepped(cut, len(before), most) == walk(cut, len(before), most)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.one_of(st.just(b"\0\0\0\0"), st.binary(min_size=4, max_size=4)), min_size=2, max_size=30))
def test_any_bytes(words: list[bytes]) -> None:
    """What only looks like strings, with lengths that lead anywhere, is walked through in the same way."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gguf_strings, "_FEW", 1)
        chunk = b"".join(words)
        for at in range(5):
            assert stepped(chunk, at, 50) == walk(chunk, at, 50)


@pytest.mark.usefixtures("_always_fast")
@pytest.mark.parametrize("high", range(1, 8))
@pytest.mark.parametrize("shift", range(4))
def test_huge_lengths(shift: int, high: int) -> None:
    """A length whose low byte is small and whose others are not is not taken for a short one."""
    strings = packed([b"abc", b"de"])
    bad = bytes([5]) + bytes(high - 1) + b"\1" + bytes(7 - high)
    chunk = b"-" * shift + strings + bad + b"fghij" + packed([b"k"])
    assert stepped(chunk, shift, 10) == walk(chunk, shift, 10)


def test_a_vocabulary() -> None:
    """So many short strings are passed in a single step."""
    strings = [b"token%d" % number for number in range(20_000)]
    chunk = packed(strings)
    assert step_over(chunk, 0, 20_000) == (20_000, len(chunk))
    assert step_over(chunk, 0, 15_000) == walk(chunk, 0, 15_000)


def test_a_vocabulary_without_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loop over one vocabulary takes less time than the import."""
    monkeypatch.delitem(sys.modules, "numpy", raising=False)
    monkeypatch.setattr(gguf_strings, "_step_over_short", None)
    chunk = packed([b"token%d" % number for number in range(20_000)])
    assert step_over(chunk, 0, 20_000, many=False) == (20_000, len(chunk))


Make = Callable[..., bytes]


def test_arrays_that_were_seen(tmp_path: Path, make_gguf: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """An array that another file has had is compared and not walked through; what differs anywhere is walked."""
    walked: list[int] = []

    def step(chunk: bytes, at: int, most: int, *, many: bool) -> tuple[int, int]:
        walked.append(most)
        return step_over(chunk, at, most, many=many)

    monkeypatch.setattr(gguf, "step_over", step)
    words = [f"word {number}" for number in range(3000)]
    swapped = [*words[:-2], words[-1], words[-2]]
    longer = [*words[:-1], words[-1] + "x" * 300]
    seen = SeenStrings()
    for name, texts, walks in (
        ("first", words, True),
        ("same", words, False),
        ("other end", swapped, True),
        ("same as that", swapped, False),
        ("longer", longer, True),
        ("shorter again", words, True),
        ("other beginning", ["begin", *words[1:]], True),
        ("fewer", words[:2000], True),
        ("as many as before", ["begin", *words[1:]], False),
    ):
        file = tmp_path / f"{name}.gguf"
        file.write_bytes(make_gguf({"x": 1, "words": texts, "after": name}))
        walked.clear()
        header = gguf.read_header(file, seen)
        assert bool(walked) is walks, name
        assert header == gguf.read_header(file)
        assert header.text("after") == name


def test_a_cut_file_after_a_whole_one(tmp_path: Path, make_gguf: Make) -> None:
    """What is missing is missing, whatever other files have."""
    content = make_gguf({"words": [f"word {number}" for number in range(3000)]})
    seen = SeenStrings()
    file = tmp_path / "m.gguf"
    file.write_bytes(content)
    gguf.read_header(file, seen)
    for end in (len(content) - 1, len(content) - 10_000, 60):
        file.write_bytes(content[:end])
        with pytest.raises(BackendError, match=r"cut short|cannot be in a file of its size"):
            gguf.read_header(file, seen)


def test_few_arrays_are_kept() -> None:
    """As many as there may be, the newest, and none without end."""
    seen = SeenStrings()
    for count in range(20):
        seen.keep(count, b"%d" % count)
    assert [count for count in range(20) if seen.of(count, b"")] == list(range(12, 20))
    seen.keep(19, bytes((16 << 20) + 1))
    assert seen.of(19, b"") is None
