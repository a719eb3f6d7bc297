"""The key-value cache: growth keeps content, trimming and rereading change nothing."""

import mlx.core as mx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlxqwen.model.cache import Cache, KVCache
from mlxqwen.model.capacity import capacity_for


def test_growth_keeps_what_was_written() -> None:
    cache = KVCache(heads=2, head_dim=4, dtype=mx.float32)
    written = mx.random.normal((1, 4, 700, 4))
    offset = 0
    for length in (3, 250, 10, 437):
        cache.reserve(1, offset, offset + length)
        keys, values = cache.write(written[:, :, offset : offset + length], offset)
        offset += length
        assert mx.array_equal(keys, written[:, :2, :offset])
        assert mx.array_equal(values, written[:, 2:, :offset])
    assert cache.capacity == 768
    assert cache.nbytes == 768 * 4 * 4 * 4


@given(st.integers(1, 2_000_000))
def test_capacity_is_enough_and_not_wasteful(tokens: int) -> None:
    capacity = capacity_for(tokens)
    assert capacity >= tokens
    assert capacity % 256 == 0
    assert capacity < tokens + 256 or capacity <= 1.25 * tokens


def test_few_distinct_capacities_up_to_32k() -> None:
    # Every capacity is one compiled step on a GPU.
    assert len({capacity_for(tokens) for tokens in range(1, 32769)}) <= 24


def test_growing_holds_two_generations_of_one_layer_only() -> None:
    layers = [KVCache(heads=4, head_dim=64, dtype=mx.float32) for _ in range(16)]
    cache = Cache(layers, None)
    cache.reserve(1, 4096)
    for layer in layers:
        layer.write(mx.ones((1, 8, 4096, 64)), 0)
        mx.eval(layer.arrays)
    cache.advance(4096)
    mx.reset_peak_memory()
    cache.reserve(1, 1)
    assert mx.get_peak_memory() <= 1.15 * mx.get_active_memory()


def test_snapshot_and_restore_go_back_never_ahead() -> None:
    cache = Cache([], None)
    cache.advance(5)
    snapshot = cache.snapshot()
    cache.advance(3)
    cache.restore(snapshot)
    assert cache.offset == 5
    cache.trim(2)
    with pytest.raises(ValueError, match="ahead"):
        cache.restore(snapshot)
