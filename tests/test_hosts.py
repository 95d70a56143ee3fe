"""Names of hosts that can be looked up, and others."""

from __future__ import annotations

import pytest

from lollms_core.hosts import is_host


@pytest.mark.parametrize(
    "name", ["localhost", "a.example", "a.example.", "my_host", "127.0.0.1", "::1", "fe80::1%eth0", "ünï.example"]
)
def test_names(name: str) -> None:
    assert is_host(name)


@pytest.mark.parametrize("name", ["", ".", "a..b", ".a", "a" * 64, "a." * 127 + "b", "ü" * 64])
def test_what_is_none(name: str) -> None:
    assert not is_host(name)
