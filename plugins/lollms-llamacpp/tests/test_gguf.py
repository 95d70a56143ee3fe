"""GGUF headers: what is in a good file, and one clear error for each bad one."""

from __future__ import annotations

import os
import struct
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lollms_core import BackendError, ModelNotFound
from lollms_llamacpp.gguf import read_header, read_strings
from lollms_llamacpp.gguf_tables import TENSOR_TYPES

Make = Callable[..., bytes]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "model.gguf"


def refused(path: Path) -> str:
    with pytest.raises(BackendError) as caught:
        read_header(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("version", [2, 3])
def test_everything_asked_for_is_read(file: Path, make_gguf: Make, packed: Make, version: int) -> None:
    """Scalars of every type, strings and short arrays are metadata; tensors are counted and measured."""
    numbers = {"u8": 200, "i8": -3, "u16": 60_000, "i16": -4, "u32": 5, "i32": -6, "u64": 2**60, "i64": -(2**60)}
    metadata: dict[str, object] = {kind: packed(value, kind) for kind, value in numbers.items()}
    metadata |= {"f32": packed(0.5, "f32"), "f64": packed(0.1, "f64"), "flag": True, "name": "é" * 3, "list": [1, 2]}
    metadata |= {"words": ["a", "b"], "none": packed([], "u32")}
    tensors = [("one", (32, 2), 3, b"\1" * 40), ("two", (8,), 0, b"\2" * 32), ("three", (), 0, b"\3" * 4)]
    file.write_bytes(make_gguf(metadata, tensors, version=version))
    header = read_header(file)
    assert header.version == version
    assert {name: header.metadata[name] for name in numbers} == numbers
    assert header.metadata["f64"] == 0.1
    assert (header.number("f32"), header.flag("flag", False), header.text("name")) == (0.5, True, "ééé")
    assert header.metadata["list"] == (1, 2)
    assert header.whole("list") == 2
    assert header.metadata["words"] == ("a", "b")
    assert header.metadata["none"] == ()
    assert header.tensors == {"one": ((32, 2), "Q4_1"), "two": ((8,), "F32"), "three": ((), "F32")}
    assert sum(tensor.elements for tensor in header.tensors.values()) == 64 + 8 + 1
    assert header.data_end <= file.stat().st_size


def test_accessors_are_typed(file: Path, make_gguf: Make) -> None:
    """A value of another type than asked for is as good as none."""
    file.write_bytes(make_gguf({"text": "x", "whole": 1, "flag": True, "real": 0.5, "texts": ["x"]}))
    header = read_header(file)
    assert header.text("whole") is None
    assert header.whole("text") is None
    assert header.whole("flag") is None
    assert header.whole("texts") is None
    assert header.number("flag") is None
    assert header.flag("whole", True) is True
    assert header.text("missing") is None


def test_vocabularies_are_stepped_over(file: Path, make_gguf: Make, packed: Make) -> None:
    """Long arrays and texts are not kept, only the arrays' lengths, and what follows them is read."""
    words = [f"word {number}" * (number % 7) for number in range(5000)]
    metadata = {"words": words, "scores": packed([0.0] * 5000, "f32"), "book": "x" * (2 << 20), "after": 1}
    file.write_bytes(make_gguf(metadata))
    header = read_header(file)
    assert set(header.metadata) == {"after"}
    assert {key: array.length for key, array in header.arrays.items()} == {"words": 5000, "scores": 5000}
    assert read_strings(file, "words", header.arrays["words"]) == [word.encode() for word in words]


def test_no_file() -> None:
    """A missing file is a model that isn't found."""
    for path in ("/nonexistent/model.gguf", __file__ + "/model.gguf", "a\0b"):
        with pytest.raises(ModelNotFound):
            read_header(Path(path))


def test_no_regular_file(tmp_path: Path) -> None:
    """Directories, and pipes that would wait for a writer, are told from files before they are opened."""
    assert "directory" in refused(tmp_path)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        assert "not a regular file" in refused(tmp_path / "pipe")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_unreadable(file: Path) -> None:
    """A file without permission says so."""
    file.touch(mode=0)
    assert "Permission" in refused(file)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "empty"),
        (b"GG", "not a GGUF file"),
        (b"PK\3\4 a zip archive", "not a GGUF file"),
        (b"GGUF", "cut short"),
        (b"GGUF" + struct.pack("<IQQ", 1, 0, 0), "version 1"),
        (b"GGUF" + struct.pack("<IQQ", 4, 0, 0), "version 4"),
        (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "big-endian"),
        (b"GGUF" + struct.pack("<IQQ", 3, 2**63, 0), "tensors"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 2**63), "metadata keys"),
    ],
)
def test_what_is_no_gguf_file(file: Path, content: bytes, told: str) -> None:
    """The error says what the file is instead."""
    file.write_bytes(content)
    assert told in refused(file)


def test_cut_anywhere(file: Path, make_gguf: Make) -> None:
    """A file that ends too early is found out wherever it ends, before llama.cpp sees it."""
    metadata = {"general.architecture": "llama", "words": ["x"] * 100, "list": [1, 2, 3]}
    whole = make_gguf(metadata, [("a", (32,), 0, b"\1" * 128), ("b", (32,), 3, b"\2" * 20)])
    padding = -20 % 32
    for length in range(len(whole) - padding):
        file.write_bytes(whole[:length])
        refused(file)
    file.write_bytes(whole[: len(whole) - padding])
    assert list(read_header(file).tensors) == ["a", "b"]


@pytest.mark.parametrize(
    ("tensors", "told"),
    [
        ([("a", (1,), 0, b"\0" * 4)] * 2, "two tensors"),
        ([("a", (1, 1, 1, 1, 1), 0, b"\0" * 4)], "5 dimensions"),
        ([("a", (2**40, 2**40), 0, b"\0" * 4)], "impossible shape"),
        ([("a", (2**40,), 0, b"\0" * 4)], "cut short"),
        ([("a", (31,), 2, b"\0" * 18)], "Q4_0 cannot store"),
        ([("a" * 64, (1,), 0, b"\0" * 4)], "length of 64"),
    ],
)
def test_impossible_tensors(file: Path, make_gguf: Make, tensors: list[tuple[object, ...]], told: str) -> None:
    """The table of tensors is checked against itself and the file's size."""
    file.write_bytes(make_gguf({}, tensors))
    assert told in refused(file)


def test_unknown_tensor_type(file: Path, make_gguf: Make) -> None:
    """A type that is newer than our table is left to llama.cpp."""
    file.write_bytes(make_gguf({}, [("a", (7,), 999, b"\0" * 7)]))
    assert read_header(file).tensors == {"a": ((7,), "type 999")}


def test_strange_metadata(file: Path, make_gguf: Make) -> None:
    """Keys that come twice, unknown types and impossible alignments are refused; bad UTF-8 in a value is not."""
    twice = make_gguf({"aa": 1, "bb": 2}).replace(b"bb", b"aa")
    unknown = make_gguf({"aa": b"\x63\0\0\0" + b"\0" * 16})
    nested = make_gguf({"aa": struct.pack("<IIQ", 9, 9, 1) + b"\0" * 16})
    for content, told in (
        (twice, "second"),
        (unknown, "unknown type 99"),
        (nested, "unknown type 9"),
        (make_gguf({"general.alignment": 3}), "power of two"),
        (make_gguf({"general.alignment": 0}), "power of two"),
        (make_gguf({"general.alignment": "x"}), "power of two"),
        (make_gguf({"": 1}), "empty"),
        (make_gguf({"é": 1}).replace("é".encode(), b"\xff\xff"), "UTF-8"),
    ):
        file.write_bytes(content)
        assert told in refused(file)
    file.write_bytes(make_gguf({"aa": "é"}).replace("é".encode(), b"\xff\xff"))
    assert read_header(file).text("aa") == "\ufffd\ufffd"


def test_claims_cost_nothing(file: Path, make_gguf: Make, packed: Make) -> None:
    """A size that a header only claims is never allocated."""
    claim = struct.pack("<Q", 2**40)
    words = packed(["x"]).replace(struct.pack("<Q", 1), claim, 1)
    numbers = packed([1, 2]).replace(struct.pack("<Q", 2), claim, 1)
    book = packed("xy").replace(struct.pack("<Q", 2), claim, 1)
    for value in (words, numbers, book):
        file.write_bytes(make_gguf({"a": value}))
        tracemalloc.start()
        try:
            refused(file)
            assert tracemalloc.get_traced_memory()[1] < 8 << 20
        finally:
            tracemalloc.stop()


@settings(
    max_examples=400, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@pytest.mark.faults
@given(data=st.data())
def test_damaged_headers(file: Path, make_gguf: Make, data: st.DataObject) -> None:
    """Whatever bytes are changed, there is a header or one clear error."""
    metadata = {"general.architecture": "llama", "words": ["ab", "cd"] * 40, "scores": [1, 2, 3], "real": 0.5}
    content = bytearray(make_gguf(metadata, [("a", (32,), 0, b"\1" * 128), ("b", (64,), 8, b"\2" * 68)]))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at] = data.draw(st.sampled_from([0, 1, 9, 127, 128, 255]) | st.integers(0, 255))
    file.write_bytes(content)
    told = None
    try:
        assert read_header(file).data_end <= len(content)
    except BackendError as error:
        told = str(error)
    assert told is None or str(file) in told


@pytest.mark.skipif(sys.platform != "linux", reason="ggml's functions are found through libllama only there")
def test_sizes_of_types() -> None:
    """Our table of tensor types is ggml's."""
    import ctypes

    from lollms_llamacpp.native import library

    ggml = library().functions._lib
    ggml.ggml_type_size.restype = ctypes.c_size_t
    ggml.ggml_blck_size.restype = ctypes.c_int64
    for number, (name, block, size) in TENSOR_TYPES.items():
        assert (block, size) == (ggml.ggml_blck_size(number), ggml.ggml_type_size(number)), name


def test_real_file(smollm2_path: Path) -> None:
    """The embedded model's header, as its authors describe the model."""
    header = read_header(smollm2_path)
    assert header.text("general.architecture") == "llama"
    assert header.arrays["tokenizer.ggml.tokens"].length == 49152
    assert sum(tensor.elements for tensor in header.tensors.values()) == 134_515_008
    assert header.data_end == smollm2_path.stat().st_size
