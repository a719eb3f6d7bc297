"""Gate and up of the chosen experts for one token, and SwiGLU, in one launch.

Composed, that is a gathered product and the activation, and the products travel through memory.
Here a SIMD group computes four rows of the gate and the same four of up, so it can multiply them.

Sums are kept in float32, that of the inputs too. Rounded to the dtype of ``x``, as the composed
operations do: the gate, up, the sigmoid of the gate, gate times sigmoid, and the result.
"""

from __future__ import annotations

import mlx.core as mx

from .make import Source, make
from .packed import HEADER, INDEX_DTYPES, MAX_CHOSEN, MAX_INNER, ROWS, SIMD, Packed

_SIMD_GROUPS = 2  # per threadgroup

# One SIMD group per four rows of an expert, experts along z.
_SOURCE = Source(
    name="expert_gate_up",
    inputs=("x", "weight", "scales", "biases", "indices"),
    outputs=("act",),
    header=HEADER,
    body="""
    const uint lane = thread_index_in_simdgroup;
    const uint slot = thread_position_in_grid.z;
    const uint row = 4 * thread_position_in_grid.y;
    float sums[8] = {0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f};
    add_rows<BITS, GROUP, WIDTH, WORDS, 2, INNER>(
        sums, x, weight, scales, biases, static_cast<size_t>(indices[slot]) * (2 * INNER) + row,
        lane);

    // Lane i keeps row i, so that four lanes finish four rows at once.
    float gate = 0.0f;
    float up = 0.0f;
    for (uint i = 0; i < 4; ++i) {
        const float gate_sum = simd_sum(sums[i]);
        const float up_sum = simd_sum(sums[4 + i]);
        gate = lane == i ? gate_sum : gate;
        up = lane == i ? up_sum : up;
    }
    if (lane < 4) {
        const float g = static_cast<float>(static_cast<T>(gate));
        const float u = static_cast<float>(static_cast<T>(up));
        // Of a negative number's sigmoid no digit is lost, and a large exponent gives 0.
        const float tail = 1.0f / (1.0f + metal::precise::exp(metal::fabs(g)));
        const float sigmoid = static_cast<float>(static_cast<T>(g < 0.0f ? tail : 1.0f - tail));
        const float silu = static_cast<float>(static_cast<T>(g * sigmoid));
        act[slot * INNER + row + lane] = static_cast<T>(silu * u);
    }
""",
)


def fits(x: mx.array, experts: Packed, indices: mx.array) -> bool:
    """Whether the kernel takes these: one token, k ≤ 16 experts of I ≤ 4,096, affine 4 or 8 bits.

    Rows and columns in multiples of 32; scales and biases in the dtype of ``x``.
    """
    return (
        experts.fits(x.dtype, ndim=3)
        and x.shape == (experts.width,)
        and experts.rows % 64 == 0
        and experts.rows // 2 <= MAX_INNER
        and indices.ndim == 1
        and indices.dtype in INDEX_DTYPES
        and 1 <= indices.size <= MAX_CHOSEN
    )


def expert_gate_up(x: mx.array, experts: Packed, indices: mx.array) -> mx.array:
    """``(D,), (E, 2·I, D) packed, (k,) -> (k, I)``: silu(gate x) · up x of each chosen expert.

    The first I rows of an expert are its gate. The caller has asked ``fits``.
    """
    inner, chosen = experts.rows // 2, indices.size
    (act,) = make(_SOURCE)(
        inputs=[x, experts.weight, experts.scales, experts.biases, indices],
        template=[
            ("T", x.dtype),
            ("BITS", experts.spec.bits),
            ("GROUP", experts.spec.group_size),
            ("WIDTH", experts.width),
            ("WORDS", experts.words),
            ("INNER", inner),
        ],
        grid=(SIMD, inner // ROWS, chosen),
        threadgroup=(SIMD, _SIMD_GROUPS, 1),
        output_shapes=[(chosen, inner)],
        output_dtypes=[x.dtype],
    )
    return act


def reference(x: mx.array, experts: Packed, indices: mx.array) -> mx.array:
    """The same by MLX's own operations."""
    both = mx.gather_qmm(
        x[None, None],
        experts.weight,
        experts.scales,
        experts.biases,
        rhs_indices=indices,
        transpose=True,
        group_size=experts.spec.group_size,
        bits=experts.spec.bits,
    )
    gate, up = mx.split(both.squeeze(-2), 2, axis=-1)
    return gate * mx.sigmoid(gate) * up
