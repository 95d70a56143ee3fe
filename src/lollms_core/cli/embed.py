"""``lollms embed``: texts to vectors."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from lollms_core.cli.help import examples
from lollms_core.cli.options import Wanted, binding_options
from lollms_core.cli.terminal import piped_in, standard_output

__all__ = ["embed"]


@click.command(
    epilog=examples(
        'lollms embed "a text" "another" -b ollama -m nomic-embed-text',
        "cat notes.txt | lollms embed --lines --output notes.npy",
    )
)
@click.argument("texts", nargs=-1, metavar="[TEXT]...")
@binding_options
@click.option("--lines", is_flag=True, help="Take each line of standard input as a text.")
@click.option("--dimensions", metavar="N", type=click.IntRange(1), help="Numbers in a vector, where the model can.")
@click.option(
    "--output", metavar="FILE.npy", type=click.Path(path_type=Path), help="Write numpy's format, float32, to a file."
)
def embed(wanted: Wanted, texts: tuple[str, ...], lines: bool, dimensions: int | None, output: Path | None) -> None:
    """Turn each TEXT into a vector, or what comes through standard input, and print JSON."""
    if output is not None and output.suffix != ".npy":
        raise click.UsageError(f"--output writes numpy's format: name the file *.npy, not {output.name}")
    wanted_texts = _texts(texts, lines)
    from lollms_core.cli.opening import open_for_use
    from lollms_core.request import REQUEST_FIELDS

    with open_for_use(wanted) as (binding, fields):
        # Parameters of a generation have no meaning here; options of the binding's own may have.
        options = {name: value for name, value in fields.items() if name not in REQUEST_FIELDS}
        if dimensions is not None:
            options["dimensions"] = dimensions
        vectors = _checked(binding.embed(wanted_texts, **options), binding.binding_name)
        model = binding.model_name
    if output is not None:
        _write(output, vectors)
    else:
        _print(binding.binding_name, model, vectors)


def _texts(given: Sequence[str], lines: bool) -> list[str]:
    """The texts to embed.

    Raises:
        click.UsageError: there is none, or one is empty, of which no model makes anything.
    """
    if given:
        if lines:
            raise click.UsageError("--lines takes the texts from standard input: give none as arguments")
        texts, what = list(given), "text"
    else:
        piped = (piped_in() or "").rstrip("\n")
        # Not splitlines(), which ends a line at characters that are part of a text, too.
        texts = [line.removesuffix("\r") for line in piped.split("\n")] if lines else [piped]
        what = "line" if lines else "text"
    if len(texts) == 1 and not texts[0].strip():
        raise click.UsageError("there is no text: give some as arguments or through standard input")
    for number, text in enumerate(texts, 1):
        if not text.strip():
            # Left out, the vectors would no longer be in step with the texts.
            raise click.UsageError(f"{what} {number} is empty, and has no vector")
    return texts


def _checked(vectors: Any, name: str) -> list[list[float]]:
    """The vectors, if they can be written: core has looked at their sizes, not at each number.

    Raises:
        ProtocolError: one is no finite number.
    """
    from lollms_core.errors import ProtocolError

    for number, vector in enumerate(vectors, 1):
        if not all(isinstance(one, (int, float)) and math.isfinite(one) for one in vector):
            raise ProtocolError(f"the binding {name!r} gave something else than finite numbers for text {number}")
    return list(vectors)


def _write(path: Path, vectors: list[list[float]]) -> None:
    from lollms_core.cli.npy import npy
    from lollms_core.files import write_whole

    try:
        content = npy(vectors)
    except OverflowError:
        raise click.ClickException("a number of the vectors is too large for float32: leave out --output") from None
    try:
        write_whole(path, content)
    except OSError as exc:
        raise click.ClickException(f"cannot write {path}: {exc.strerror or exc}") from None


def _print(binding: str, model: str | None, vectors: list[list[float]]) -> None:
    """One JSON document, a line for each vector."""
    dimensions = len(vectors[0])
    head = json.dumps({"binding": binding, "model": model, "dimensions": dimensions})
    rows = ",\n".join(json.dumps(vector) for vector in vectors)
    standard_output().write(f'{head[:-1]}, "vectors": [\n{rows}\n]}}\n')
