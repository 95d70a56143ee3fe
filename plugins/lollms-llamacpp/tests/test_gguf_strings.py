"""Stepping over strings: the fast way ends where the plain loop does, whatever the bytes are."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lollms_llamacpp import gguf_strings
from lollms_llamacpp.gguf_strings import step_over


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
