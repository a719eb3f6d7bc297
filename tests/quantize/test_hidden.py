"""Hidden states come back as they were written, from memory and from the scratch file."""

from __future__ import annotations

from pathlib import Path

import mlx.core as mx
import pytest

from mlxqwen.errors import OutputError
from quantize.hidden import Hidden


@pytest.mark.parametrize("dtype", [mx.float32, mx.bfloat16, mx.float16])
@pytest.mark.parametrize("limit", [0, 1 << 20])
def test_batches_come_back(tmp_path: Path, dtype: mx.Dtype, limit: int) -> None:
    shapes = [(3, 5, 8), (3, 5, 8), (1, 5, 8)]
    keys = mx.random.split(mx.random.key(0), 6)
    made = [mx.random.normal(s, key=k).astype(dtype) for s, k in zip(shapes * 2, keys, strict=True)]
    with Hidden(3, 1000, limit=limit, folder=tmp_path) as hidden:
        for batch, x in enumerate(made[:3]):
            hidden.write(batch, x)
        # Written anew, in another order, and not contiguous.
        hidden.write(2, made[5].swapaxes(1, 2).swapaxes(1, 2))
        hidden.write(1, made[4])
        for batch, x in enumerate([made[0], made[4], made[5]]):
            found = hidden.read(batch)
            assert found.dtype == dtype
            assert mx.array_equal(found, x)
        assert len(hidden) == 3
    assert not list(tmp_path.iterdir())


def test_no_place_for_the_scratch_file(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="Hidden states") as raised:
        Hidden(1, 10, limit=0, folder=tmp_path / "absent")
    assert "TMPDIR" in raised.value.hint


def test_a_full_disk(tmp_path: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full here")
    with Hidden(1, 10, limit=0, folder=tmp_path) as hidden:
        assert hidden._file is not None
        hidden._file.close()
        hidden._file = full.open("r+b", buffering=0)
        with pytest.raises(OutputError, match="No space left"):
            hidden.write(0, mx.ones((2, 2)))
