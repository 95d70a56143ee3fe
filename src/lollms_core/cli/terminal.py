"""What goes out: text to stdout, all else in single lines to stderr."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from lollms_core.cli.tables import Column

__all__ = [
    "TextOut",
    "colours",
    "harmless",
    "log_said",
    "never_show",
    "one_line",
    "piped_in",
    "print_json",
    "print_table",
    "quiet_log",
    "say",
    "width_of_terminal",
]

# Control characters, which a model or a plugin's metadata could use to take over the terminal.
_CONTROLS: dict[int, str | None] = dict.fromkeys((*range(32), *range(0x7F, 0xA0)), "\ufffd")
_CONTROLS |= {ord("\r"): None, ord("\t"): "\t", ord("\n"): "\n"}


def harmless(text: str) -> str:
    """`text` with control characters other than tab and newline made visible, carriage returns left out."""
    return text.translate(_CONTROLS)


def one_line(text: object) -> str:
    """`text` on one line, without control characters, and without the keys that were taken from where they are kept."""
    return harmless(" ".join(_without_keys(str(text)).split()))


_keys: set[str] = set()


def never_show(key: str) -> None:
    """Have ``***`` in the place of `key` in every line, table and JSON document from now on.

    A model's text is not looked through: it comes in pieces, and no model is told the key.
    """
    _keys.add(key)


def _without_keys(text: str) -> str:
    if not _keys:
        return text
    from lollms_core.redaction import Redaction

    return Redaction(_keys).text(text)


def colours(stream: TextIO | None = None) -> bool:
    """Whether `stream`, by default stdout, may get colours: a terminal, and NO_COLOR is not set (no-color.org)."""
    stream = sys.stdout if stream is None else stream
    if stream is None or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return stream.isatty()


def say(text: object) -> None:
    """One line on stderr."""
    # print, unlike write, does nothing where stderr is closed (None).
    print(f"lollms: {one_line(text)}", file=sys.stderr, flush=True)  # noqa: T201


class _Said(logging.Handler):
    """Log records as single lines on stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        say(record.getMessage())


@contextlib.contextmanager
def log_said() -> Iterator[None]:
    """Have warnings, ours and the plugins', reach the user in the form of all our lines."""
    handler = _Said(logging.WARNING)
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)


@contextlib.contextmanager
def quiet_log() -> Iterator[None]:
    """Keep warnings from the user meanwhile; who else listens still gets them."""
    handlers = [handler for handler in logging.getLogger().handlers if isinstance(handler, _Said)]
    for handler in handlers:
        handler.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for handler in handlers:
            handler.setLevel(logging.WARNING)


def piped_in() -> str | None:
    """All of what is piped in, None where stdin is a terminal or closed.

    Raises:
        click.UsageError: it is no text.
    """
    if sys.stdin is None or sys.stdin.isatty():
        return None
    try:
        return sys.stdin.read()
    except UnicodeDecodeError as exc:
        import click

        raise click.UsageError(f"standard input is not text in {exc.encoding}: {exc.reason} at {exc.start}") from None


def standard_output() -> TextIO:
    """Stdout.

    Raises:
        OSError: it is closed (``>&-``), which Python shows as None.
    """
    if sys.stdout is None:
        raise OSError("standard output is closed")
    return sys.stdout


def print_json(value: Any) -> None:
    """One JSON document on stdout; ASCII, so that it survives any encoding of the pipe."""
    import json

    standard_output().write(_without_keys(json.dumps(value, indent=2, default=str)) + "\n")


def width_of_terminal() -> int | None:
    """The cells of a line on stdout, None where that is no terminal and lines are as long as they are."""
    import shutil

    return shutil.get_terminal_size().columns if standard_output().isatty() else None


def print_table(columns: Sequence[Column | str], rows: Iterable[Sequence[object]]) -> None:
    """Aligned columns on stdout, on a terminal no wider than it: see :mod:`lollms_core.cli.tables`.

    A str among `columns` is the head of one that is never left out.
    """
    from lollms_core.cli.tables import Column, fitted

    out = standard_output()
    mark = "…" if (out.encoding or "").lower().replace("-", "").startswith("utf") else "~"
    whole = [Column(column, least=10) if isinstance(column, str) else column for column in columns]
    cells = [["" if cell is None else one_line(cell) for cell in row] for row in rows]
    out.write("".join(f"{line}\n" for line in fitted(whole, cells, width_of_terminal(), mark)))


class TextOut:
    """Writes a model's text as it comes, to stdout unless told otherwise, and ends it with a newline."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = standard_output() if stream is None else stream
        self._terminal = self._stream.isatty()
        self._last = "\n"
        reconfigure = getattr(self._stream, "reconfigure", None)
        if reconfigure is not None:
            # Half a surrogate pair in a model's answer must not end in a UnicodeEncodeError.
            reconfigure(errors="replace")

    def write(self, text: str) -> None:
        """The next piece, at once; a terminal gets no control characters, a file or pipe the text as it is."""
        if text:
            # Noted first: a Ctrl-C may come when the text is out and before the next statement.
            self._last = text[-1]
            self._stream.write(harmless(text) if self._terminal else text)
            self._stream.flush()

    def end(self) -> None:
        """Finish the line, so that what comes next, the shell's prompt say, begins on its own."""
        if self._last != "\n":
            self._last = "\n"
            self._stream.write("\n")
            self._stream.flush()
