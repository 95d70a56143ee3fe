"""The pages whose tables are made say what there is."""

from __future__ import annotations

from pathlib import Path

import checks_page
import features_page

DOCS = Path(__file__).parents[2] / "docs"


def test_the_tables_are_what_the_bindings_declare() -> None:
    text = (DOCS / "features.md").read_text(encoding="utf-8")
    assert features_page.page(text) == text, "docs/features.md is old; write it anew with: nox -s docs"


def test_the_table_of_checks_is_the_kits() -> None:
    text = (DOCS / "conformance.md").read_text(encoding="utf-8")
    assert checks_page.page(text) == text, "docs/conformance.md is old; write it anew with: nox -s docs"
