"""Fixtures of all core tests."""

from __future__ import annotations

from installed import site

__all__ = ["site"]
