"""Tables and figures: aligned, and on a terminal no line is longer than it."""

from __future__ import annotations

import os
import struct
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from lollms_core.cli.figures import bytes_of, count_of, time_of
from lollms_core.cli.models import COLUMNS, _row
from lollms_core.cli.tables import Column, _cells, fitted

from .conftest import Program
from .test_terminal import SECONDS, posix

MODELS: list[dict[str, Any]] = [
    {
        "binding": "llamacpp",
        "model_name": "hf:somebody/A-Model-With-A-Long-Name-GGUF/a-model-with-a-long-name.Q4_K_M.gguf",
        "size": 4_920_000_000,
        "n_params": 8_030_000_000,
        "quantization": "Q4_K_M",
        "ctx_size": 131072,
        "supports": ["chat", "text", "stream", "tools", "json_schema", "logprobs"],
    },
    {"binding": "ollama", "model_name": "日本語モデル:7b", "size": 1, "parameter_size": "7B", "supports": ["embed"]},
    {"binding": "ollama", "model_name": "bad", "error": "it is no GGUF file but something else of a long description"},
]
ROWS = [["" if cell is None else str(cell) for cell in _row(model)] for model in MODELS]


def test_no_line_is_longer_than_the_terminal() -> None:
    for width in range(1, 200):
        lines = fitted(COLUMNS, ROWS, width)
        assert len(lines) == 4
        assert max(map(_cells, lines)) <= width


def test_in_a_pipe_all_is_there() -> None:
    lines = fitted(COLUMNS, ROWS, None)
    assert lines[0].split() == [column.head for column in COLUMNS]
    assert lines[1].split()[1] == MODELS[0]["model_name"]
    assert "chat,tools,json_schema,logprobs" in lines[1]
    assert lines[3].endswith("of a long description")


def test_columns_begin_in_the_same_cell() -> None:
    """Also below a name of wide characters."""
    lines = fitted(COLUMNS, ROWS, None)
    before = [line[: line.index(size)] for line, size in zip(lines, ("SIZE", "4.9 GB", "1 B"), strict=False)]
    assert len(set(map(_cells, before))) == 1


def test_what_matters_least_goes_first() -> None:
    """The names stay to the end: their beginning and their end, which tells files apart."""
    heads = [fitted(COLUMNS, ROWS, width)[0].split() for width in range(200, 20, -1)]
    gone = [head for before, after in pairwise(heads) for head in before if head not in after]
    assert gone == ["PARAMS", "CAN", "QUANT", "CONTEXT", "SIZE", "NOTE"]
    assert fitted(COLUMNS, ROWS, 40)[1].endswith("Q4_K_M.gguf")
    assert "hf:some" in fitted(COLUMNS, ROWS, 40)[1]


def test_a_column_that_says_nothing_goes_before_all_others() -> None:
    columns = [Column("NAME", least=4), Column("A", order=2), Column("B", order=1)]
    assert fitted(columns, [["name", "", "b"]], 9) == ["NAME  B", "name  b"]
    assert fitted(columns, [["name", "", "b"]], 20) == ["NAME  A  B", "name  -  b"]


def test_what_cannot_leave_is_cut() -> None:
    assert fitted([Column("HEAD"), Column("OTHER")], [["abcdefgh", "ijk"]], 6, "~") == ["HEAD ~", "abcde~"]


@posix
@pytest.mark.parametrize("columns", [20, 60, 120])
def test_the_terminals_width_is_kept(
    program: Program, bindings: Path, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    import fcntl
    import termios

    monkeypatch.delenv("COLUMNS", raising=False)
    source = bindings / "talker" / "__init__.py"
    source.write_text(source.read_text().replace('"model_name": "bad"', '"model_name": "b" * 100'))
    for command in ("models", "bindings"):
        terminal, end = os.openpty()
        fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        process = program(command, "--bindings-dir", str(bindings), stdout=end)
        process.communicate(timeout=SECONDS)
        os.close(end)
        lines = os.read(terminal, 65536).decode().splitlines()
        os.close(terminal)
        assert process.returncode == 0
        assert len(lines) >= 3
        assert max(map(len, lines)) <= columns


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (999.6, "1 kB"),
        (1000, "1 kB"),
        (1_500_000, "1.5 MB"),
        (999_960_000, "1.0 GB"),
        (4_920_000_000, "4.9 GB"),
        (2.5e12, "2.5 TB"),
        (None, ""),
        ("8 GB", ""),
        (True, ""),
        (-1, ""),
        (float("nan"), ""),
    ],
)
def test_bytes(size: object, shown: str) -> None:
    assert bytes_of(size) == shown


@pytest.mark.parametrize(
    ("number", "shown"), [(12, "12"), (134_515_008, "134.5M"), (8.03e9, "8.0B"), (999_999_999, "1.0B"), ({}, "")]
)
def test_counts(number: object, shown: str) -> None:
    assert count_of(number) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.2, "0 s"), (59.6, "1 min 0 s"), (61, "1 min 1 s"), (3599, "59 min 59 s"), (7260, "2 h 1 min")],
)
def test_times(seconds: float, shown: str) -> None:
    assert time_of(seconds) == shown
