from __future__ import annotations

from dataclasses import replace

import pytest

from mlxqwen.errors import OutputError
from quantize.journal import Journal, Pin

PIN = Pin(
    source="Qwen/Qwen3-0.6B",
    revision="abc",
    identity="1",
    recipe="balanced",
    choices="2",
    guidance="3",
    mlxqwen="0.1.0",
    mlx="0.32.4",
    device="cpu",
    work="4",
)


def write(path, *numbers: int) -> None:
    with Journal(path, PIN) as journal:
        for number in numbers:
            journal.append({"batch": number, "crc": [number]})


def known(path) -> dict[int, list[int]]:
    with Journal(path, PIN) as journal:
        return {number: record["crc"] for number, record in journal.batches.items()}


def test_what_is_appended_is_there_again(tmp_path):
    path = tmp_path / "journal"
    write(path)
    assert known(path) == {}
    write(path, 0, 1)
    write(path, 5)
    assert known(path) == {0: [0], 1: [1], 5: [5]}


def test_a_torn_end_is_dropped_wherever_it_is_torn(tmp_path):
    path = tmp_path / "journal"
    write(path, 0)
    one = path.read_bytes()
    write(path, 1)
    both = path.read_bytes()
    for length in range(len(both)):
        path.write_bytes(both[:length])
        assert known(path) == ({0: [0]} if length >= len(one) else {})
        assert path.read_bytes() in (one, one[: one.index(b"\n") + 1])
        write(path, 1)
        assert known(path)[1] == [1]


def test_nothing_after_a_damaged_line_counts(tmp_path):
    path = tmp_path / "journal"
    write(path, 0, 1, 2)
    lines = path.read_bytes().splitlines(keepends=True)
    lines[2] = lines[2].replace(b"[1]", b"[7]")
    path.write_bytes(b"".join(lines))
    assert known(path) == {0: [0]}


def test_zeros_after_a_power_loss_are_a_torn_end(tmp_path):
    path = tmp_path / "journal"
    write(path, 0)
    path.write_bytes(path.read_bytes() + bytes(500))
    assert known(path) == {0: [0]}


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("revision", "def", r"the source's revision \(abc → def\)"),
        ("identity", "9", r"the source's files"),
        ("recipe", "fast", r"the recipe \(balanced → fast\)"),
        ("choices", "9", r"the choices of recipe balanced"),
        ("guidance", "9", r"what calibration gave"),
        ("mlxqwen", "0.2.0", r"mlxqwen \(0\.1\.0 → 0\.2\.0\)"),
        ("mlx", "0.33.0", r"MLX \(0\.32\.4 → 0\.33\.0\)"),
        ("device", "metal", r"the device \(cpu → metal\)"),
        ("format", "2", r"the format of unfinished work \(1 → 2\)"),
        ("work", "9", r"how mlxqwen lays out and cuts the work"),
    ],
)
def test_another_pin_is_refused_and_says_what_changed(tmp_path, field, value, words):
    path = tmp_path / "journal"
    write(path, 0)
    before = path.read_bytes()
    with pytest.raises(OutputError, match=rf"something else: {words}.*--restart"):
        Journal(path, replace(PIN, **{field: value}))
    assert path.read_bytes() == before


def test_all_changes_are_named_together(tmp_path):
    path = tmp_path / "journal"
    write(path)
    now = replace(PIN, identity="9", source="elsewhere", mlx="1", work="9")
    with pytest.raises(OutputError) as caught:
        Journal(path, now)
    assert "MLX (0.32.4 → 1); the source's files (Qwen/Qwen3-0.6B → elsewhere)." in str(
        caught.value
    )


def test_a_source_that_only_moved_is_the_same(tmp_path):
    path = tmp_path / "journal"
    write(path, 0)
    with Journal(path, replace(PIN, source="/elsewhere")) as journal:
        assert set(journal.batches) == {0}
    assert replace(PIN, source="/elsewhere").digest() == PIN.digest()
