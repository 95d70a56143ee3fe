"""``lollms bindings``: what is installed or lies in the bindings folder, without importing any of it."""

from __future__ import annotations

from dataclasses import asdict

import click

from lollms_core.cli.help import examples
from lollms_core.cli.options import bindings_dir_option, json_option
from lollms_core.cli.tables import Column
from lollms_core.cli.terminal import print_json, print_table, say

__all__ = ["bindings"]

COLUMNS = (
    Column("NAME", least=12),
    Column("STATE"),
    Column("SOURCE", order=1),
    Column("DISTRIBUTION", least=12, order=3),
    Column("VERSION", order=2),
    Column("ERROR", least=12, order=4),
)


@click.command(
    epilog=examples(
        "lollms bindings",
        "lollms bindings --json | jq -r '.[] | select(.error) | .name'",
        "lollms bindings --bindings-dir ./llm_bindings",
    )
)
@json_option
@bindings_dir_option
def bindings(as_json: bool, bindings_dir: str | None) -> None:
    """List the bindings that are installed or in the bindings folder."""
    from lollms_core.cli.managing import new_manager

    manager = new_manager(bindings_dir)
    records = manager.records()
    if as_json:
        print_json([asdict(record) for record in records])
    elif records:
        print_table(
            COLUMNS,
            ((r.name, r.state, r.source, r.distribution, r.version, r.error) for r in records),
        )
    else:
        say(f"no binding is installed, and there is none in {manager.llm_bindings_dir}")
