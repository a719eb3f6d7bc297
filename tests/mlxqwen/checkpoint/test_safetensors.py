from __future__ import annotations

import errno
import json
import os
import random
from math import prod
from pathlib import Path

import mlx.core as mx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlxqwen.checkpoint import safetensors
from mlxqwen.checkpoint.reading import read_rows
from mlxqwen.checkpoint.safetensors import (
    DTYPE_BYTES,
    SafetensorsWriter,
    layout_header,
    read_header,
)
from mlxqwen.errors import CheckpointError, OutputError


def raw(path: Path, header: object, data: bytes = b"", *, length: int | None = None) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes((len(text) if length is None else length).to_bytes(8, "little") + text + data)
    return path


def entry(dtype: str, shape: list[int], begin: int, end: int) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


names = st.text(min_size=1, max_size=30).filter(lambda n: n != "__metadata__")
specs = st.lists(
    st.tuples(
        names,
        st.sampled_from(sorted(DTYPE_BYTES)),
        st.lists(st.integers(0, 7), max_size=4).map(tuple),
    ),
    max_size=8,
    unique_by=lambda spec: spec[0],
)


@settings(max_examples=60, deadline=None)
@given(specs, st.dictionaries(st.text(max_size=9), st.text(max_size=9), max_size=3), st.integers())
def test_what_is_written_is_read_back(tmp_path_factory, tensors, metadata, seed):
    path = tmp_path_factory.mktemp("st") / "model.safetensors"
    rng = random.Random(seed)
    data = {n: rng.randbytes(prod(shape) * DTYPE_BYTES[dtype]) for n, dtype, shape in tensors}
    pieces = [(n, at, data[n][at : at + 5]) for n in data for at in range(0, len(data[n]), 5)]
    rng.shuffle(pieces)
    with SafetensorsWriter(path, tensors, metadata) as writer:
        for name, at, piece in pieces:
            writer.write(name, piece, offset=at)
    header = read_header(path)
    assert header.metadata == metadata
    assert {(n, i.dtype, i.shape) for n, i in header.tensors.items()} == set(tensors)
    assert path.stat().st_size == writer.nbytes
    for name, info in header.tensors.items():
        assert read_rows(info, 0, info.rows) == data[name]


def test_mlx_reads_what_we_write_and_we_read_what_mlx_writes(tmp_path):
    values = mx.random.normal((6, 8)).astype(mx.bfloat16)
    ours, theirs = tmp_path / "ours.safetensors", tmp_path / "theirs.safetensors"
    with SafetensorsWriter(ours, [("x", "BF16", (6, 8))], {"format": "mlx"}) as writer:
        writer.write("x", memoryview(values.view(mx.uint16)))
    loaded = mx.load(str(ours))
    assert mx.array_equal(loaded["x"], values)
    mx.save_safetensors(str(theirs), {"x": values}, metadata={"format": "mlx"})
    header = read_header(theirs)
    assert header.metadata == {"format": "mlx"}
    info = header.tensors["x"]
    assert (info.dtype, info.shape, info.rows, info.row_bytes) == ("BF16", (6, 8), 6, 16)
    assert read_rows(info, 2, 4) == bytes(memoryview(values[2:4].view(mx.uint16)))


def test_data_begin_on_a_multiple_of_eight():
    for length in range(1, 20):
        _, ranges, _ = layout_header([("x" * length, "U8", (1,))], {})
        assert ranges["x" * length][0] % 8 == 0


@pytest.mark.parametrize(
    ("header", "data", "told"),
    [
        ([1, 2], b"", "no JSON header"),
        (b' {"a": 1}', b"", "no JSON header"),
        (b'{"a": ', b"", "unreadable header"),
        (b'{"a": "\xff"}', b"", "unreadable header"),
        (b'{"a": ' + b"[" * 200_000 + b"}", b"", "unreadable header"),
        (b'{"a": {}, "a": {}}', b"", "'a' occurs twice"),
        ({"__metadata__": {"a": 1}}, b"", "metadata"),
        ({"a": 7}, b"", "unknown dtype"),
        ({"a": entry("F31", [1], 0, 4)}, b"1234", "unknown dtype 'F31'"),
        ({"a": entry("F32", [-1], 0, 4)}, b"1234", "no valid shape"),
        ({"a": entry("F32", [True], 0, 4)}, b"1234", "no valid shape"),
        ({"a": entry("F32", [1], -4, 0)}, b"1234", "no valid shape"),
        ({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0]}}, b"1234", "no valid shape"),
        ({"a": entry("F32", [1], 4, 0)}, b"1234", "range holds -4"),
        ({"a": entry("F32", [2], 0, 4)}, b"1234", "needs 8 bytes, but its range holds 4"),
        ({"a": entry("U8", [4], 0, 4), "b": entry("U8", [4], 2, 6)}, b"123456", "b overlaps"),
        ({"a": entry("U8", [2], 0, 2), "b": entry("U8", [2], 3, 5)}, b"12345", "b leaves a hole"),
        ({"a": entry("U8", [2], 1, 3)}, b"123", "a leaves a hole"),
        ({"a": entry("U8", [2], 0, 2)}, b"123", "1 bytes after its last tensor"),
    ],
)
def test_damaged_headers_are_refused(tmp_path, header, data, told):
    path = raw(tmp_path / "model.safetensors", header, data)
    with pytest.raises(CheckpointError) as caught:
        read_header(path)
    assert told in caught.value.what
    assert str(path) in caught.value.what
    assert caught.value.hint


def test_truncated_file_names_expected_and_actual_bytes(tmp_path):
    path = raw(tmp_path / "model.safetensors", {"a": entry("U8", [4000], 0, 4000)}, b"\0" * 4000)
    whole = path.stat().st_size
    os.truncate(path, whole - 1000)
    with pytest.raises(CheckpointError, match=f"{whole:,} bytes, but the file has") as caught:
        read_header(path)
    assert f"{whole - 1000:,}" in caught.value.what
    assert caught.value.hint == "Download it again."
    os.truncate(path, 20)
    with pytest.raises(CheckpointError, match="truncated: its header alone"):
        read_header(path)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "has 0 bytes"),
        (b"1234567", "has 7 bytes"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        (b"<!DOCTYPE html><html></html>", "claims a header of"),
        ((1 << 63).to_bytes(8, "little") + b"{}", "claims a header of"),
        ((0).to_bytes(8, "little") + b"{}", "claims a header of 0"),
    ],
)
def test_other_kinds_of_file_are_refused(tmp_path, content, told):
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=told):
        read_header(path)


def test_unreadable_path_is_named(tmp_path):
    with pytest.raises(CheckpointError, match="No such file"):
        read_header(tmp_path / "absent.safetensors")
    with pytest.raises(CheckpointError, match="Is a directory"):
        read_header(tmp_path)


def test_rows_outside_and_file_that_shrank(tmp_path):
    path = raw(tmp_path / "a.safetensors", {"a": entry("U8", [4, 2], 0, 8)}, b"01234567")
    info = read_header(path).tensors["a"]
    assert read_rows(info, 1, 3) == b"2345"
    with pytest.raises(ValueError, match="outside a"):
        read_rows(info, 3, 5)
    os.truncate(path, path.stat().st_size - 3)
    assert read_rows(info, 0, 2) == b"0123"
    with pytest.raises(CheckpointError, match="truncated"):
        read_rows(info, 0, 4)


def test_scalar_is_one_row_and_leading_axes_are_flattened(tmp_path):
    header = {"s": entry("F32", [], 0, 4), "t": entry("U8", [2, 3, 4], 4, 28)}
    tensors = read_header(raw(tmp_path / "a.safetensors", header, bytes(range(28)))).tensors
    assert (tensors["s"].rows, tensors["s"].row_bytes) == (1, 4)
    assert (tensors["t"].rows, tensors["t"].row_bytes) == (6, 4)
    assert read_rows(tensors["t"], 5, 6) == bytes([24, 25, 26, 27])


def test_unwritten_bytes_are_an_error_and_the_file_goes(tmp_path):
    path = tmp_path / "model.safetensors"
    writer = SafetensorsWriter(path, [("a", "U8", (4,)), ("b", "U8", (4,))], {})
    writer.write("a", b"1234")
    writer.write("b", b"12")
    writer.write("b", b"4", offset=3)
    with pytest.raises(OutputError, match="unwritten bytes in b"):
        writer.close()
    assert not path.exists()


def test_write_outside_its_tensor_is_refused(tmp_path):
    with SafetensorsWriter(tmp_path / "a", [("a", "U8", (4,))], {}) as writer:
        for data, offset in ((b"12345", 0), (b"1", 4), (b"1", -1)):
            with pytest.raises(ValueError, match="do not lie inside a"):
                writer.write("a", data, offset=offset)
        writer.write("a", b"1234")


def test_existing_file_is_left_alone(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"mine")
    with pytest.raises(OutputError, match="File exists"):
        SafetensorsWriter(path, [("a", "U8", (4,))], {})
    assert path.read_bytes() == b"mine"


def test_error_inside_the_block_deletes_the_file(tmp_path):
    path = tmp_path / "model.safetensors"
    with (
        pytest.raises(KeyboardInterrupt),
        SafetensorsWriter(path, [("a", "U8", (4,))], {}),
    ):
        raise KeyboardInterrupt
    assert not path.exists()


@pytest.mark.parametrize("step", ["allocate", "os.pwrite", "sync"])
def test_full_disk_is_told_and_leaves_nothing(tmp_path, monkeypatch, step):
    def full(*_args: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def write() -> None:
        with SafetensorsWriter(path, [("a", "U8", (4,))], {}) as writer:
            writer.write("a", b"1234")

    path = tmp_path / "model.safetensors"
    monkeypatch.setattr(f"mlxqwen.checkpoint.safetensors.{step}", full)
    with pytest.raises(OutputError, match="No space left"):
        write()
    assert not path.exists()


def test_short_writes_are_continued(tmp_path, monkeypatch):
    real = os.pwrite
    monkeypatch.setattr(safetensors.os, "pwrite", lambda fd, data, at: real(fd, data[:3], at))
    with SafetensorsWriter(tmp_path / "a", [("a", "U8", (100,))], {}) as writer:
        writer.write("a", bytes(range(100)))
    info = read_header(tmp_path / "a").tensors["a"]
    assert read_rows(info, 0, 1) == bytes(range(100))


def test_a_resumed_file_keeps_what_was_written_and_counts_only_what_is_claimed(tmp_path):
    path, tensors = tmp_path / "a", [("a", "U8", (4,)), ("empty", "U8", (0,)), ("b", "U8", (4,))]
    first = SafetensorsWriter(path, tensors, {}, resume=True)
    header = first.prefix()
    first.write("a", b"12")
    first.write("b", b"56", offset=0)
    assert first.prefix() == header + 2
    first.abort()
    with path.open("ab") as file:
        file.write(b"what does not belong")

    second = SafetensorsWriter(path, tensors, {}, resume=True)
    assert second.read("a", 2) + second.read("b", 4) == b"1256\0\0"
    assert second.prefix() == header
    second.claim("a", 2)
    second.write("a", b"34", offset=2)
    second.write("b", b"78", offset=2)
    assert second.prefix() == header + 4
    with pytest.raises(OutputError, match="unwritten bytes in b"):
        second.close()
    assert path.stat().st_size == header + 8
    third = SafetensorsWriter(path, tensors, {}, resume=True)
    third.claim("a", 4)
    third.claim("b", 4)
    third.close()
    assert path.read_bytes()[header:] == b"12345678"


def test_reading_back_a_file_that_was_cut_is_told(tmp_path):
    path = tmp_path / "a"
    writer = SafetensorsWriter(path, [("a", "U8", (4,))], {}, resume=True)
    os.truncate(path, 10)
    with pytest.raises(OutputError, match="has become shorter"):
        writer.read("a", 4)
    writer.abort()
