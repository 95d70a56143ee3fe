"""Vectors are as many as the texts, of one size, and made of numbers."""

from __future__ import annotations

from typing import Any

import pytest

from lollms_core import ProtocolError
from lollms_http.embedding import checked

WHO = "acme at http://h:1"


def test_vectors() -> None:
    assert checked([[1, 2.5], [0.0, -1.0]], 2, WHO) == [[1.0, 2.5], [0.0, -1.0]]
    wrong: tuple[Any, ...] = (
        None,
        [],
        [[1.0]],
        [[1.0], [1.0, 2.0]],
        [[], []],
        [[1.0], ["x"]],
        [[1.0], [float("nan")]],
        [[1.0], 2],
    )
    for found in wrong:
        with pytest.raises(ProtocolError, match="vector"):
            checked(found, 2, WHO)
