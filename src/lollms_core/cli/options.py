"""Options that several commands have in common."""

from __future__ import annotations

import click

__all__ = ["bindings_dir_option", "json_option", "option_option"]

bindings_dir_option = click.option(
    "--bindings-dir", metavar="DIR", help="A folder of bindings, in place of the one beside the configuration."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
option_option = click.option(
    "-o",
    "--option",
    "options",
    metavar="KEY=VALUE",
    multiple=True,
    help="A parameter (temperature=0.2), an option of the binding, or a keyword of its constructor; may be repeated.",
)
