"""docs/features.md says what the bindings declare."""

from __future__ import annotations

from pathlib import Path

import features_page

PAGE = Path(__file__).parents[1] / "docs" / "features.md"


def test_the_tables_are_what_the_bindings_declare() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert features_page.page(text) == text, "docs/features.md is old; write it anew with: nox -s docs"
