"""The router of a sparse layer in one launch: softmax over E experts, the k largest, their weights.

Composed, that is a softmax, a full sort of every row (argpartition on Metal), a gather, a sum and a
division. Here one SIMD-group holds a row in registers and finds one expert per round.
"""

from __future__ import annotations

import mlx.core as mx

from .make import Source, make

_DTYPES = (mx.float32, mx.float16, mx.bfloat16)
_MAX_ROWS = 16  # beyond, the launches saved are a small part of the work
_MAX_EXPERTS = 1024  # 32 registers per lane
_MAX_CHOSEN = 16
_SIMD = 32

# Lane l holds experts l, 32 + l, 64 + l, … Keys are probabilities; a NaN, which only a row made of
# NaNs has, counts as the largest, and of equal keys the one of the higher index: the order in which
# MLX's sort leaves them. What is chosen, and what lies beyond E, becomes -1, below any probability.
_SOURCE = Source(
    name="router",
    inputs=("logits",),
    outputs=("experts", "weights"),
    body="""
    constexpr int PER_LANE = (EXPERTS + 31) / 32;
    const int lane = static_cast<int>(thread_index_in_simdgroup);
    const uint row = threadgroup_position_in_grid.y;

    float keys[PER_LANE];
    float largest = -INFINITY;
    for (int i = 0; i < PER_LANE; ++i) {
        const int expert = 32 * i + lane;
        const bool real = expert < EXPERTS;
        keys[i] = real ? static_cast<float>(logits[row * EXPERTS + expert]) : -INFINITY;
        largest = metal::max(largest, keys[i]);
    }
    largest = simd_max(largest);
    float total = 0.0f;
    for (int i = 0; i < PER_LANE; ++i) {
        const bool real = 32 * i + lane < EXPERTS;
        keys[i] = real ? metal::precise::exp(keys[i] - largest) : 0.0f;
        total += keys[i];
    }
    total = simd_sum(total);
    for (int i = 0; i < PER_LANE; ++i) {
        const float probability = keys[i] / total;
        const float key = metal::isnan(probability) ? INFINITY : probability;
        keys[i] = 32 * i + lane < EXPERTS ? key : -1.0f;
    }

    float weight = 0.0f;
    int chosen = -1;  // the expert in this lane's slot
    int last = -1;    // the expert found in the round before
    for (int slot = CHOSEN - 1; slot >= 0; --slot) {
        float best = -1.0f;
        int best_expert = -1;
        for (int i = 0; i < PER_LANE; ++i) {
            const int expert = 32 * i + lane;
            keys[i] = expert == last ? -1.0f : keys[i];
            const bool better = keys[i] >= best;
            best = better ? keys[i] : best;
            best_expert = better ? expert : best_expert;
        }
        const float top = simd_max(best);
        last = simd_max(best == top ? best_expert : -1);
        if (lane == slot) {
            weight = top == INFINITY ? NAN : top;
            chosen = last;
        }
    }
    const float sum = simd_sum(weight);
    if (lane < CHOSEN) {
        experts[row * CHOSEN + lane] = static_cast<uint>(chosen);
        weights[row * CHOSEN + lane] = NORMALISE ? weight / sum : weight;
    }
""",
)


def fits(logits: mx.array, chosen: int) -> bool:
    """Whether the kernel takes ``logits`` (..., E): up to 16 rows, 1,024 experts, 16 chosen."""
    experts = logits.shape[-1]
    rows = logits.size // max(experts, 1)
    return (
        logits.dtype in _DTYPES
        and 1 <= chosen <= min(experts, _MAX_CHOSEN)
        and experts <= _MAX_EXPERTS
        and 1 <= rows <= _MAX_ROWS
    )


def router(logits: mx.array, chosen: int, normalise: bool) -> tuple[mx.array, mx.array]:
    """``(..., E) -> (..., k) experts in uint32, (..., k) weights in float32``.

    The k most probable experts in ascending order of probability, equals in ascending order of
    index, with their probabilities; divided by their sum where ``normalise``. A row with a NaN or
    an infinite logit chooses the last k experts with NaN as weights. The caller has asked ``fits``.
    """
    *lead, experts = logits.shape
    shape = (*lead, chosen)
    indices, weights = make(_SOURCE)(
        inputs=[logits],
        template=[("EXPERTS", experts), ("CHOSEN", chosen), ("NORMALISE", normalise)],
        grid=(_SIMD, logits.size // experts, 1),
        threadgroup=(_SIMD, 1, 1),
        output_shapes=[shape, shape],
        output_dtypes=[mx.uint32, mx.float32],
    )
    return indices, weights


def reference(logits: mx.array, chosen: int, normalise: bool) -> tuple[mx.array, mx.array]:
    """The same by MLX's own operations; on the CPU they leave the chosen experts unordered."""
    probabilities = mx.softmax(logits.astype(mx.float32), axis=-1)
    experts = mx.argpartition(probabilities, kth=-chosen, axis=-1)[..., -chosen:]
    weights = mx.take_along_axis(probabilities, experts, axis=-1)
    return experts, weights / weights.sum(axis=-1, keepdims=True) if normalise else weights
