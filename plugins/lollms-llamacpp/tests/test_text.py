"""The answer's text: whole characters, and nothing of a stop string."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lollms_llamacpp.text import AnswerText, StopScanner

few = st.text(alphabet="abc", max_size=30)
stops = st.lists(st.text(alphabet="abc", min_size=1, max_size=5), max_size=4)


def read(pieces: list[str], stop: list[str]) -> tuple[list[str], bool]:
    scanner = StopScanner(stop)
    out = [scanner.feed(piece) for piece in pieces]
    return [*out, scanner.flush()], scanner.stopped


def expected(text: str, stop: list[str]) -> tuple[str, bool]:
    """Letter by letter: the first stop string that is complete ends it, the longest of several."""
    for end in range(1, len(text) + 1):
        complete = [one for one in stop if text[:end].endswith(one)]
        if complete:
            return text[: end - max(map(len, complete))], True
    return text, False


@settings(max_examples=500, deadline=None, derandomize=True)
@pytest.mark.faults
@given(text=few, stop=stops, cuts=st.lists(st.integers(0, 30), max_size=8))
def test_cuts_make_no_difference(text: str, stop: list[str], cuts: list[int]) -> None:
    """The text before the stop string comes out whole, wherever the pieces are cut, and nothing of it leaks."""
    edges = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    pieces = [text[begin:end] for begin, end in itertools.pairwise(edges)]
    out, stopped = read(pieces, stop)
    assert ("".join(out), stopped) == expected(text, stop)


def test_held_back_no_longer_than_needed() -> None:
    """Only what could be the beginning of a stop string waits."""
    scanner = StopScanner(["<end>"])
    assert scanner.feed("a <") == "a "
    assert scanner.feed("b <e") == "<b "
    assert scanner.feed("n") == ""
    assert scanner.feed("x") == "<enx"
    assert scanner.feed("<en") == ""
    assert scanner.flush() == "<en"


def test_nothing_after_the_stop() -> None:
    """What comes after a stop string is not text."""
    scanner = StopScanner(["!"])
    assert scanner.feed("yes! no") == "yes"
    assert scanner.stopped
    assert scanner.feed("more") == ""
    assert scanner.flush() == ""


def test_no_stops() -> None:
    """Without stop strings everything goes through at once."""
    assert read(["a", "", "b"], []) == (["a", "", "b", ""], False)


@settings(max_examples=300, deadline=None, derandomize=True)
@pytest.mark.faults
@given(text=st.text(max_size=20), cuts=st.lists(st.integers(0, 80), max_size=10))
def test_characters_stay_whole(text: str, cuts: list[int]) -> None:
    """Text whose bytes are cut anywhere comes out as it was, in whole characters."""
    data = text.encode()
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    answer = AnswerText([])
    out = [answer.feed(data[begin:end]) for begin, end in itertools.pairwise(edges)]
    assert "".join([*out, answer.flush()]) == text


@pytest.mark.parametrize(
    ("pieces", "text"),
    [
        ([b"\xe2\x82"], "\ufffd"),
        ([b"\xff", b"a"], "\ufffda"),
        ([b"\xf0\x9f\x98", b"x"], "\ufffdx"),
        ([b" a", b" \xc3", b"\xa9"], " a é"),
    ],
)
def test_bytes_that_are_no_character(pieces: list[bytes], text: str) -> None:
    """They become U+FFFD, incomplete ones at the end too, and leading spaces stay."""
    answer = AnswerText([])
    assert "".join([*(answer.feed(piece) for piece in pieces), answer.flush()]) == text


def test_stop_within_characters() -> None:
    """A stop string is found although its bytes come one by one."""
    answer = AnswerText(["né"])
    out = [answer.feed(bytes([byte])) for byte in "année".encode()]
    assert ("".join(out), answer.stopped) == ("an", True)


def test_how_far() -> None:
    """What has been read and what of it has been given out, in characters, and whether one is unfinished."""
    answer = AnswerText(["<end>"])
    steps = [(b"a \xc3", 2, 2, True), (b"\xa9<e", 5, 3, False), (b"x", 6, 6, False), (b"y<en", 10, 7, False)]
    for piece, read, given_out, unfinished in steps:
        answer.feed(piece)
        assert (answer.read, answer.given_out, answer.unfinished) == (read, given_out, unfinished)
    answer.feed(b"d>z")
    assert (answer.read, answer.given_out, answer.stopped) == (13, 7, True)
    answer = AnswerText([])
    answer.feed(b"a\xf0\x9f")
    assert answer.flush() == "\ufffd"
    assert (answer.read, answer.given_out, answer.unfinished) == (2, 2, False)
