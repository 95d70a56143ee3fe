"""`lollms embed`: texts in, vectors out, as JSON or in numpy's format."""

from __future__ import annotations

import errno
import json
import os
import signal
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest

from lollms_core.cli.npy import npy

from .conftest import Lollms, Program
from .knowing import add_knowing
from .test_terminal import SECONDS, posix, read_until


@pytest.fixture
def embed(lollms: Lollms, bindings: Path, monkeypatch: pytest.MonkeyPatch) -> Lollms:
    monkeypatch.setenv("LOLLMS_PLUGINS", "knowing,closed,talker")
    add_knowing(bindings)
    return lambda *arguments, **options: lollms(
        "embed", "--bindings-dir", str(bindings), "-b", "knowing", *arguments, **options
    )


def test_texts_as_arguments(embed: Lollms) -> None:
    """A line for each vector, in one document."""
    result = embed("-m", "first", "ab", "abc")
    assert (result.exit_code, result.stderr) == (0, "")
    assert json.loads(result.stdout) == {
        "binding": "knowing",
        "model": "first",
        "dimensions": 3,
        "vectors": [[2, 2.25, 2.5], [3, 3.25, 3.5]],
    }
    assert len(result.stdout.splitlines()) == 4


@pytest.mark.parametrize(
    ("arguments", "piped", "lengths"),
    [
        ((), "one\ntwo\n", [7]),
        (("--lines",), "one\nseven\n", [3, 5]),
        (("--lines",), "one\r\nseven", [3, 5]),
        (("--lines",), "page\x0cfeed\u2028kept\n", [14]),
        (("text",), "not read", [4]),
    ],
)
def test_texts_through_standard_input(
    embed: Lollms, arguments: tuple[str, ...], piped: str, lengths: list[int]
) -> None:
    """Whole, without the last line end, or a text a line."""
    vectors = json.loads(embed("-m", "first", *arguments, piped=piped).stdout)["vectors"]
    assert [vector[0] for vector in vectors] == lengths


def test_the_size_of_the_vectors(embed: Lollms) -> None:
    """Parameters of a generation, from a profile say, are in nobody's way."""
    document = json.loads(embed("-m", "first", "--dimensions", "2", "-o", "temperature=0", "a").stdout)
    assert (document["dimensions"], document["vectors"]) == (2, [[1, 1.25]])


@pytest.mark.parametrize(
    ("arguments", "piped", "said"),
    [
        ((), "", "there is no text"),
        ((), " \n\n", "there is no text"),
        (("",), "", "there is no text"),
        (("a", ""), "", "text 2 is empty"),
        (("--lines",), "a\n\nb\n", "line 2 is empty"),
        (("--lines", "a"), "", "none as arguments"),
        (("--dimensions", "0", "a"), "", "0 is not in the range"),
        (("--output", "x.json", "a"), "", "name the file *.npy, not x.json"),
        (("--output", "/no/such/x.npy", "a"), "", "cannot write /no/such/x.npy"),
        (("-o", "temperature", "a"), "", "KEY=VALUE"),
        (("-m", "nan", "a"), "", "something else than finite numbers for text 1"),
        (("-m", "huge", "--output", "x.npy", "a"), "", "too large for float32"),
    ],
)
def test_misuse_is_one_line(
    embed: Lollms, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], piped: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    if arguments[:2] == ("--output", "/no/such/x.npy"):
        monkeypatch.setattr(Path, "mkdir", _denied)
    result = embed("-m", "first", *arguments, piped=piped)
    assert (result.exit_code, result.stdout) == (1, "")
    assert said in result.stderr
    assert not list(tmp_path.glob("*.npy*"))


def _denied(path: Path, **_: Any) -> None:
    raise PermissionError(errno.EACCES, "Permission denied", str(path))


def test_a_binding_without_vectors_is_one_line(embed: Lollms) -> None:
    assert "does not support embed" in embed("-b", "talker", "a").stderr


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("[0.0]", "2 texts with 1 vectors"),
        ("[[1.0], [1.0, 2.0]]", "vectors of different or no size"),
        ("None", "2 texts with NoneType vectors"),
        ("[[1.0], ['x']]", "something else than finite numbers for text 2"),
    ],
)
def test_what_an_author_gives_is_looked_at(embed: Lollms, bindings: Path, given: str, said: str) -> None:
    """An eight-method class may return what it likes."""
    source = bindings / "closed" / "__init__.py"
    source.write_text(source.read_text().replace("return [0.0]", f"return {given}"))
    result = embed("-b", "closed", "-m", "new", "-o", "model_identifier=x", "a", "b")
    assert (result.exit_code, result.stdout) == (1, "")
    assert said in result.stderr


# Files --------------------------------------------------------------------------------------------------


def read_npy(data: bytes) -> list[tuple[float, ...]]:
    """An array as the format's page describes it; numpy itself is not needed for the tests."""
    assert data[:8] == b"\x93NUMPY\x01\x00"
    (length,) = struct.unpack("<H", data[8:10])
    header = data[10 : 10 + length]
    assert (10 + length) % 64 == 0
    assert header.endswith((b" \n", b"}\n"))
    facts = eval(header, {"__builtins__": {}})  # noqa: S307 - that is what the format is: a literal
    assert (facts["descr"], facts["fortran_order"]) == ("<f4", False)
    rows, columns = facts["shape"]
    numbers = struct.unpack(f"<{rows * columns}f", data[10 + length :])
    return [numbers[at : at + columns] for at in range(0, rows * columns, columns)]


def test_numpys_format_goes_to_a_file(embed: Lollms, tmp_path: Path) -> None:
    target = tmp_path / "out.npy"
    target.write_bytes(b"what was there")
    result = embed("-m", "first", "--output", str(target), "ab", "abc")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "")
    assert read_npy(target.read_bytes()) == [(2, 2.25, 2.5), (3, 3.25, 3.5)]


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (3, 384), (1000, 7), (12345, 1)])
def test_headers_of_all_lengths_are_aligned(rows: int, columns: int) -> None:
    table = [[float(row * columns + column) for column in range(columns)] for row in range(rows)]
    assert read_npy(npy(table)) == list(map(tuple, table))


def test_numpy_itself_reads_it(tmp_path: Path) -> None:
    numpy = pytest.importorskip("numpy")
    (tmp_path / "x.npy").write_bytes(npy([[1.5, 2.5, 3.5], [4.0, 5.0, 6.0]]))
    array = numpy.load(tmp_path / "x.npy", allow_pickle=False)
    assert (array.dtype, array.shape, array.tolist()) == ("float32", (2, 3), [[1.5, 2.5, 3.5], [4.0, 5.0, 6.0]])


def test_a_full_disk_leaves_the_file_as_it_was(embed: Lollms, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "out" / "v.npy"
    target.parent.mkdir()
    target.write_bytes(b"what was there")

    def full(descriptor: int, *_: Any, **__: Any) -> Any:
        os.close(descriptor)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fdopen", full)
    result = embed("-m", "first", "--output", str(target), "a")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == f"lollms: cannot write {target}: No space left on device\n"
    assert target.read_bytes() == b"what was there"
    assert list(target.parent.iterdir()) == [target]


# As a program -------------------------------------------------------------------------------------------


@posix
def test_ctrl_c(program: Program, embed: Lollms, bindings: Path, tmp_path: Path) -> None:
    arguments = "--bindings-dir", str(bindings), "-b", "knowing", "-m", "wait", "--output", str(tmp_path / "x.npy")
    process = program("embed", *arguments, "a")
    assert process.stderr is not None
    read_until(process.stderr.fileno(), b"begun")
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=SECONDS)
    assert (process.returncode, output, errors) == (130, b"", b"")
    assert not (tmp_path / "x.npy").exists()


def test_through_a_pipe(program: Program, embed: Lollms, bindings: Path) -> None:
    arguments = "--bindings-dir", str(bindings), "-b", "knowing", "-m", "first", "--lines"
    process = program("embed", *arguments, stdin=subprocess.PIPE)
    output, errors = process.communicate("é\nab\n".encode(), timeout=SECONDS)
    assert (process.returncode, errors) == (0, b"")
    assert [vector[0] for vector in json.loads(output)["vectors"]] == [1, 2]
