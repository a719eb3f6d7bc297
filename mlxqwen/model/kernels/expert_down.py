"""Down of the chosen experts for one token, their weighted sum and the residual, in one launch.

``y = residual + Σ scoreᵢ · (downᵢ actᵢ)``, and with a shared expert ``+ σ(gate) · (down act)``.

A threadgroup computes four outputs: one SIMD group per expert, and one for the shared expert. They
meet in threadgroup memory and are added in the order of the slots, so that equal inputs give equal
bits. Nothing is rounded before the end: the result is that of float32, rounded once, where the
composed operations round each expert's row, its product with the score, and each sum.
"""

from __future__ import annotations

from dataclasses import dataclass

import mlx.core as mx

from .make import Source, Template, make
from .packed import HEADER, INDEX_DTYPES, MAX_CHOSEN, MAX_INNER, ROWS, SIMD, Packed

_INPUTS = ("act", "weight", "scales", "biases", "indices", "scores", "residual")

_ROUTED = """
    add_rows<BITS, GROUP, WIDTH, WORDS, 1, 0>(
        sums, act + slot * WIDTH, weight, scales, biases,
        static_cast<size_t>(indices[slot]) * OUTPUTS + row, lane);
    score = static_cast<float>(scores[slot]);
"""

_ROUTED_OR_SHARED = f"""
    if (slot < SLOTS - 1) {{{_ROUTED}
    }} else {{
        add_rows<SHARED_BITS, SHARED_GROUP, SHARED_WIDTH, SHARED_WORDS, 1, 0>(
            sums, shared_act, shared_weight, shared_scales, shared_biases, row, lane);
        const float g = static_cast<float>(shared_gate[0]);
        // Of a negative number's sigmoid no digit is lost, and a large exponent gives 0.
        const float tail = 1.0f / (1.0f + metal::precise::exp(metal::fabs(g)));
        score = g < 0.0f ? tail : 1.0f - tail;
    }}
"""


def _source(name: str, inputs: tuple[str, ...], multiply: str) -> Source:
    body = f"""
    const uint lane = thread_index_in_simdgroup;
    const uint slot = simdgroup_index_in_threadgroup;
    const uint row = 4 * threadgroup_position_in_grid.y;
    threadgroup float partial[4 * SLOTS];
    float sums[4] = {{0.0f, 0.0f, 0.0f, 0.0f}};
    float score = 0.0f;
    {multiply}
    // Lane i keeps row i, so that four lanes work on four rows at once.
    float kept = 0.0f;
    for (uint i = 0; i < 4; ++i) {{
        const float sum = simd_sum(sums[i]);
        kept = lane == i ? sum : kept;
    }}
    if (lane < 4) {{
        partial[4 * slot + lane] = score * kept;
    }}
    threadgroup_barrier(mem_flags::mem_threadgroup);
    if (slot == 0 && lane < 4) {{
        float total = 0.0f;
        for (uint i = 0; i < SLOTS; ++i) {{
            total += partial[4 * i + lane];
        }}
        y[row + lane] = static_cast<T>(static_cast<float>(residual[row + lane]) + total);
    }}
"""
    return Source(name=name, inputs=inputs, outputs=("y",), body=body, header=HEADER)


_PLAIN = _source("expert_down", _INPUTS, _ROUTED)
_WITH_SHARED = _source(
    "expert_down_shared",
    (
        *_INPUTS,
        "shared_act",
        "shared_weight",
        "shared_scales",
        "shared_biases",
        "shared_gate",
    ),
    _ROUTED_OR_SHARED,
)


@dataclass(frozen=True, slots=True)
class Shared:
    """The expert that every token passes through, its hidden row computed before.

    ``act`` (S,), ``down`` (D, S) packed, of its own width and quantisation, and ``gate`` of size 1:
    the logit, not its sigmoid.
    """

    act: mx.array
    down: Packed
    gate: mx.array


def fits(
    act: mx.array,
    experts: Packed,
    indices: mx.array,
    scores: mx.array,
    residual: mx.array,
    shared: Shared | None = None,
) -> bool:
    """Whether the kernel takes these: one token, k ≤ 16 experts of I ≤ 4,096, affine 4 or 8 bits.

    Rows and columns in multiples of 32; scales, biases and ``residual`` in the dtype of ``act``,
    the scores in any float.
    """
    return (
        experts.fits(act.dtype, ndim=3)
        and experts.width <= MAX_INNER
        and 1 <= indices.size <= MAX_CHOSEN
        and indices.dtype in INDEX_DTYPES
        and scores.dtype in (mx.float32, mx.float16, mx.bfloat16)
        and indices.shape == scores.shape == (indices.size,)
        and act.shape == (indices.size, experts.width)
        and residual.shape == (experts.rows,)
        and residual.dtype == act.dtype
        and (shared is None or _shared_fits(shared, experts, act.dtype))
    )


def _shared_fits(shared: Shared, experts: Packed, dtype: mx.Dtype) -> bool:
    return (
        shared.down.fits(dtype, ndim=2)
        and shared.down.rows == experts.rows
        and shared.down.width <= MAX_INNER
        and shared.act.shape == (shared.down.width,)
        and shared.act.dtype == shared.gate.dtype == dtype
        and shared.gate.size == 1
    )


def expert_down(
    act: mx.array,
    experts: Packed,
    indices: mx.array,
    scores: mx.array,
    residual: mx.array,
    shared: Shared | None = None,
) -> mx.array:
    """``(k, I), (E, D, I) packed, (k,), (k,), (D,) -> (D,)``, in the dtype of ``act``.

    The caller has asked ``fits``.
    """
    slots = indices.size + (shared is not None)
    inputs = [act, experts.weight, experts.scales, experts.biases, indices, scores, residual]
    template: list[tuple[str, mx.Dtype | int | bool]] = [
        ("T", act.dtype),
        *_template("", experts),
        ("OUTPUTS", experts.rows),
        ("SLOTS", slots),
    ]
    if shared is not None:
        down = shared.down
        inputs += [shared.act, down.weight, down.scales, down.biases, shared.gate.reshape(1)]
        template += _template("SHARED_", down)
    (y,) = make(_PLAIN if shared is None else _WITH_SHARED)(
        inputs=inputs,
        template=template,
        grid=(SIMD * slots, experts.rows // ROWS, 1),
        threadgroup=(SIMD * slots, 1, 1),
        output_shapes=[residual.shape],
        output_dtypes=[act.dtype],
    )
    return y


def _template(prefix: str, matrix: Packed) -> Template:
    return [
        (f"{prefix}BITS", matrix.spec.bits),
        (f"{prefix}GROUP", matrix.spec.group_size),
        (f"{prefix}WIDTH", matrix.width),
        (f"{prefix}WORDS", matrix.words),
    ]


def reference(
    act: mx.array,
    experts: Packed,
    indices: mx.array,
    scores: mx.array,
    residual: mx.array,
    shared: Shared | None = None,
) -> mx.array:
    """The same by MLX's own operations."""
    rows = mx.gather_qmm(
        act[:, None],
        experts.weight,
        experts.scales,
        experts.biases,
        rhs_indices=indices,
        transpose=True,
        group_size=experts.spec.group_size,
        bits=experts.spec.bits,
    ).squeeze(-2)
    total = (rows * scores[:, None].astype(rows.dtype)).sum(axis=0)
    if shared is not None:
        down = shared.down
        row = mx.quantized_matmul(
            shared.act,
            down.weight,
            down.scales,
            down.biases,
            transpose=True,
            group_size=down.spec.group_size,
            bits=down.spec.bits,
        )
        total = total + mx.sigmoid(shared.gate.reshape(1)) * row
    return residual + total
