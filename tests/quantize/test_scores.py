"""The store of measured results: whole entries or none, and never too many."""

from __future__ import annotations

import os
from pathlib import Path

import mlx.core as mx
import pytest

import mlxqwen
from quantize.scores import Entry, Scores, key_of

KEY = key_of("trial", {"source": "abc", "tokens": 4})


def entry(seed: int = 1, rows: int = 8) -> Entry:
    key = mx.random.key(seed)
    floats = mx.random.normal((rows, 4), key=key)
    return Entry(
        {"a": floats, "b": floats.astype(mx.bfloat16)[:, :2], "c": mx.arange(5)},
        {"tokens": 4, "name": "è"},
    )


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def scores(tmp_path: Path, said: list[str]) -> Scores:
    return Scores(tmp_path / "scores", say=said.append)


def test_what_was_written_is_read(scores: Scores, said: list[str]) -> None:
    assert scores.read(KEY) is None
    written = entry()
    scores.write(KEY, written)
    found = scores.read(KEY)
    assert found is not None
    assert found.value == written.value
    assert found.arrays.keys() == written.arrays.keys()
    for name, array in written.arrays.items():
        assert found.arrays[name].dtype == array.dtype
        assert mx.array_equal(found.arrays[name], array)
    assert found.fingerprint() == written.fingerprint()
    assert not said
    assert [p.name for p in scores.folder.iterdir()] == [f"{KEY}.safetensors"]


def test_keys_depend_on_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = {
        KEY,
        key_of("other", {"source": "abc", "tokens": 4}),
        key_of("trial", {"source": "abd", "tokens": 4}),
        key_of("trial", {"source": "abc", "tokens": 5}),
    }
    assert key_of("trial", {"tokens": 4, "source": "abc"}) == KEY
    monkeypatch.setattr(mlxqwen, "__version__", "99")
    keys.add(key_of("trial", {"source": "abc", "tokens": 4}))
    assert len(keys) == 5


def test_a_flipped_bit_or_a_missing_end_is_found(scores: Scores, said: list[str]) -> None:
    scores.write(KEY, entry())
    path = scores.folder / f"{KEY}.safetensors"
    whole = path.read_bytes()
    for at in range(0, len(whole), 7):
        spoiled = bytearray(whole)
        spoiled[at] ^= 1
        for content in (bytes(spoiled), whole[:at]):
            path.write_bytes(content)
            assert scores.read(KEY) is None
            assert said.pop().startswith(str(path))
            assert not path.exists()
    path.write_bytes(whole)
    assert scores.read(KEY) is not None


def test_the_one_unused_for_longest_goes_first(tmp_path: Path) -> None:
    scores = Scores(tmp_path, limit=5000)
    names = [key_of("trial", {"n": n}) for n in range(4)]
    for age, name in enumerate(names[:3]):
        scores.write(name, entry(rows=64))
        os.utime(tmp_path / f"{name}.safetensors", (1_000_000 + age, 1_000_000 + age))
    assert scores.read(names[0]) is not None  # used again: now the youngest
    scores.write(names[3], entry(rows=64))
    left = {name for name in names if (tmp_path / f"{name}.safetensors").exists()}
    assert left == {names[0], names[2], names[3]}
    assert sum(p.stat().st_size for p in tmp_path.iterdir()) <= 5000


def test_an_entry_above_the_limit_is_kept_alone(tmp_path: Path) -> None:
    scores = Scores(tmp_path, limit=100)
    scores.write(key_of("trial", {"n": 1}), entry())
    scores.write(KEY, entry())
    assert [p.name for p in tmp_path.iterdir()] == [f"{KEY}.safetensors"]


def test_leavings_of_dead_processes_go(scores: Scores) -> None:
    scores.folder.mkdir()
    old, new = scores.folder / "x.safetensors.1.part", scores.folder / "x.safetensors.2.part"
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (1_000_000, 1_000_000))
    scores.write(KEY, entry())
    assert not old.exists()
    assert new.exists()


def test_what_cannot_be_written_is_said(tmp_path: Path, said: list[str]) -> None:
    (tmp_path / "file").write_text("in the way")
    scores = Scores(tmp_path / "file" / "scores", say=said.append)
    scores.write(KEY, entry())
    assert "not kept" in said[0]
    assert scores.read(KEY) is None


def test_it_lies_in_the_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLXQWEN_HOME", str(tmp_path))
    assert Scores().folder == tmp_path / "scores"
