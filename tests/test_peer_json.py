"""JSON that somebody else wrote."""

from __future__ import annotations

import gc
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lollms_core.peer_json import MAX_DEPTH, loads

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=300),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=9), inner, max_size=5),
)


@given(JSON)
def test_the_same_as_json(value: object) -> None:
    """Of text and of bytes."""
    text = json.dumps(value, ensure_ascii=False)
    assert loads(text) == value
    assert loads(text.encode("utf-8", "surrogatepass")) == value


@pytest.mark.parametrize("opening", ["[", '{"a":', '[{"a":'])
def test_nesting_is_bounded(opening: str) -> None:
    """As far as it goes it is read; beyond that it is a ValueError, however much it is."""
    for count in (MAX_DEPTH + 1, 1_000_000):
        with pytest.raises(ValueError, match=f"nested deeper than {MAX_DEPTH} levels"):
            loads(opening * count)
        with pytest.raises(ValueError, match="nested deeper"):
            loads((opening * count).encode())


def test_as_deep_as_it_may_be() -> None:
    """Brackets in texts count for nothing, nor do those side by side."""
    text = "[" * MAX_DEPTH + '"' + "[" * 1000 + '\\"' + "{" * 1000 + '"' + "]" * MAX_DEPTH
    assert loads(text) == json.loads(text)
    wide = "[" + ",".join(["[]"] * 1000) + "]"
    assert loads(wide) == [[]] * 1000


def test_no_json() -> None:
    """Half of a text, no UTF-8, nothing."""
    for text in ('["' + "x" * 500, b"\xff" * 500, "", "{" + "[" * 300):
        with pytest.raises(ValueError):  # noqa: PT011 - in the words of json
            loads(text)


def test_a_long_text_without_an_end() -> None:
    """It is told; with time that grows with the square of its length, not before the test is over."""
    for end in ("", "\\"):
        with pytest.raises(ValueError, match="Unterminated string"):
            loads('["' + "[" * 300 + '\\"' * 1_000_000 + end)


def test_the_collector_is_not_run_at_the_bottom() -> None:
    """What it finalizes would fail there."""
    failed: list[object] = []

    class Noted:
        def __init__(self) -> None:
            self.itself = self  # only the collector finds it

        def __del__(self) -> None:
            try:
                sum(map(int, ["1"] * 10))
                _deep(30)
            except RecursionError as error:
                failed.append(error)

    before = gc.get_threshold()
    gc.set_threshold(1)
    try:
        for _ in range(50):
            Noted()
            with pytest.raises(ValueError, match="nested"):
                loads("[" * 100_000)
    finally:
        gc.set_threshold(*before)
        gc.collect()
    assert failed == []


def _deep(levels: int) -> int:
    return levels and 1 + _deep(levels - 1)
