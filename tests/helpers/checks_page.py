"""The table of docs/conformance.md, made from the kit's checks. `nox -s docs` writes it, a test compares."""

from __future__ import annotations

import sys
from pathlib import Path

from features_page import table, with_part

from lollms_core.testing.conformance import CHECKS

BEGIN = "<!-- made from the kit: nox -s docs -->"


def page(text: str) -> str:
    """`text` with its generated part made anew."""
    rows = (
        [f"`{check.name}`", check.promise, ", ".join(sorted(need.name for need in check.needs)), "yes" * check.wire]
        for check in CHECKS.values()
    )
    return with_part(text, BEGIN, table(["check", "the promise", "only with", "over HTTP"], rows))


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.write_text(page(target.read_text(encoding="utf-8")), encoding="utf-8")
