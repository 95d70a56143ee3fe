"""``lollms tokens``: how many tokens a text has, and which."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import click

from lollms_core.cli.help import examples
from lollms_core.cli.options import Wanted, binding_options, json_option
from lollms_core.cli.terminal import piped_in

__all__ = ["tokens"]


@click.command(
    epilog=examples(
        'lollms tokens "Hello, world" -b llamacpp -m smollm2',
        "lollms tokens --pieces < notes.txt",
    )
)
@click.argument("text", required=False)
@binding_options
@click.option("--ids", is_flag=True, help="Print the tokens' numbers.")
@click.option("--pieces", is_flag=True, help="Print the text in its tokens: coloured on a terminal, else one a line.")
@json_option
def tokens(wanted: Wanted, text: str | None, ids: bool, pieces: bool, as_json: bool) -> None:
    """Count the tokens of TEXT, or of what comes through standard input, to the last line end."""
    text = piped_in() if text is None else text
    if text is None:
        raise click.UsageError("there is no text: give one as an argument or through standard input")
    from lollms_core.cli.opening import open_for_use
    from lollms_core.cli.pieces import pieces_of
    from lollms_core.cli.terminal import colours, print_json, standard_output

    with open_for_use(wanted) as (binding, _):
        if not (ids or pieces or as_json):
            standard_output().write(f"{binding.count_tokens(text)}\n")
            return
        found = binding.tokenize(text)
        parts = pieces_of(text, found, binding.detokenize) if pieces else []
        if as_json:
            document = {"binding": binding.binding_name, "model": binding.model_name, "count": len(found)}
            print_json({**document, "tokens": found} | ({"pieces": [asdict(part) for part in parts]} if pieces else {}))
        elif pieces:
            _print_pieces(parts, ids, colours())
        elif found:
            standard_output().write(f"{_shown(found)}\n")


def _print_pieces(parts: Sequence[Any], ids: bool, in_colour: bool) -> None:
    from lollms_core.cli.pieces import coloured, quoted
    from lollms_core.cli.terminal import standard_output

    out = standard_output()
    if (reconfigure := getattr(out, "reconfigure", None)) is not None:
        reconfigure(errors="backslashreplace")
    if in_colour and not ids:
        shown = coloured(parts)
        out.write(shown if shown.endswith("\n") or not shown else f"{shown}\n")
        return
    for part in parts:
        out.write((f"{_shown(part.tokens)}\t" if ids else "") + f"{quoted(part.text)}\n")


def _shown(found: Sequence[Any]) -> str:
    """Tokens on a line; those that are no numbers as JSON."""
    return " ".join(str(one) if isinstance(one, int) else json.dumps(one, default=str) for one in found)
