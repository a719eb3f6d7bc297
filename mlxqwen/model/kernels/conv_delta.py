"""One token through the gated delta net's convolution and recurrence, in one launch.

Composed, the window is joined, cut and copied, convolved and gated, split into q, k and v, those
brought to length one and to float32, the gates computed, and then the state is moved: some twenty
launches, of which only the last has work to do. Here each threadgroup convolves what its rows of
the state need, again for every group of a head: two kilobytes against the 32 of its states.
"""

from __future__ import annotations

import mlx.core as mx

from .constants import float_bits
from .make import Source, make

_DTYPES = (mx.float32, mx.float16, mx.bfloat16)
_SIMDS, _ROWS = 8, 4  # SIMD-groups of a threadgroup, and rows of the state that each moves
_SIMD = 32
_MAX_KERNEL = 8
_MAX_KEY_DIM = 256
# Added to the sum of squares where queries and keys are brought to length one.
_L2_EPS = 1e-6

# A threadgroup holds BLOCK = SIMDS · ROWS rows of one value head; a lane holds DK / 32 neighbouring
# columns of each row of its SIMD-group. Threads first convolve the 2 · DK channels of q and k and
# the BLOCK channels of v; the window's next content is written by the first group that reads it.
_SOURCE = Source(
    name="conv_delta",
    inputs=("projected", "window", "conv", "decay", "dt_bias", "state"),
    outputs=("out", "next_window", "next_state"),
    header="""
inline float sigmoid(float x) {
    return 1.0f / (1.0f + metal::precise::exp(-x));
}

// log(1 + exp(x)). Kahan's correction keeps the digits that 1 + y loses: gates near zero add up.
inline float softplus(float x) {
    const float y = metal::precise::exp(-metal::fabs(x));
    const float u = 1.0f + y;
    const float tail = u == 1.0f ? y : metal::precise::log(u) * (y / (u - 1.0f));
    return metal::max(x, 0.0f) + tail;
}
""",
    body="""
    constexpr uint KEYS = HK * DK;
    constexpr uint CHANNELS = 2 * KEYS + HV * DV;
    constexpr uint BLOCK = SIMDS * ROWS;
    constexpr uint VALUES = DK / 32;
    const uint lane = thread_index_in_simdgroup;
    const uint head = threadgroup_position_in_grid.y;
    const uint key_head = head / (HV / HK);
    const uint first_row = threadgroup_position_in_grid.x * BLOCK;
    const uint row = first_row + simdgroup_index_in_threadgroup * ROWS;
    threadgroup float shared[2 * DK + BLOCK];

    // Asked for before the convolution, so that memory answers meanwhile.
    float held[ROWS][VALUES];
    for (uint r = 0; r < ROWS; ++r) {
        for (uint i = 0; i < VALUES; ++i) {
            if (row + r < DV) {
                held[r][i] = state[(head * DV + row + r) * DK + VALUES * lane + i];
            } else {
                held[r][i] = 0.0f;
            }
        }
    }

    for (uint n = thread_position_in_threadgroup.x; n < 2 * DK + BLOCK; n += 32 * SIMDS) {
        if (n >= 2 * DK && first_row + n - 2 * DK >= DV) {
            shared[n] = 0.0f;
            continue;
        }
        uint channel;
        bool owner;
        if (n < 2 * DK) {
            channel = (n < DK ? 0 : KEYS - DK) + key_head * DK + n;
            owner = first_row == 0 && head % (HV / HK) == 0;
        } else {
            channel = 2 * KEYS + head * DV + first_row + n - 2 * DK;
            owner = true;
        }
        float sum = static_cast<float>(projected[channel])
            * static_cast<float>(conv[channel * TAPS + TAPS - 1]);
        for (uint tap = 0; tap < TAPS - 1; ++tap) {
            const T before = window[tap * CHANNELS + channel];
            sum += static_cast<float>(before) * static_cast<float>(conv[channel * TAPS + tap]);
            if (owner && tap > 0) {
                next_window[(tap - 1) * CHANNELS + channel] = before;
            }
        }
        if (owner) {
            next_window[(TAPS - 2) * CHANNELS + channel] = projected[channel];
        }
        // Rounded to T before and after silu: the composed operations store it so.
        const float x = static_cast<float>(static_cast<T>(sum));
        shared[n] = static_cast<float>(static_cast<T>(x * sigmoid(x)));
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);

    float q[VALUES];
    float k[VALUES];
    float q_squares = 0.0f;
    float k_squares = 0.0f;
    for (uint i = 0; i < VALUES; ++i) {
        q[i] = shared[VALUES * lane + i];
        k[i] = shared[DK + VALUES * lane + i];
        q_squares += q[i] * q[i];
        k_squares += k[i] * k[i];
    }
    const float eps = as_type<float>(EPS_BITS);
    const float q_scale = metal::precise::rsqrt(simd_sum(q_squares) + eps)
        * metal::precise::rsqrt(static_cast<float>(DK));
    const float k_scale = metal::precise::rsqrt(simd_sum(k_squares) + eps);
    for (uint i = 0; i < VALUES; ++i) {
        q[i] *= q_scale;
        k[i] *= k_scale;
    }

    constexpr uint GATES = CHANNELS + HV * DV;
    const float beta = sigmoid(static_cast<float>(projected[GATES + head]));
    const float step = softplus(static_cast<float>(projected[GATES + HV + head]) + dt_bias[head]);
    const float gamma = metal::precise::exp(decay[head] * step);

    for (uint r = 0; r < ROWS; ++r) {
        float remembered = 0.0f;
        for (uint i = 0; i < VALUES; ++i) {
            held[r][i] *= gamma;
            remembered += held[r][i] * k[i];
        }
        const float value = shared[2 * DK + row + r - first_row];
        const float delta = beta * (value - simd_sum(remembered));
        float read = 0.0f;
        for (uint i = 0; i < VALUES; ++i) {
            held[r][i] += delta * k[i];
            read += held[r][i] * q[i];
        }
        read = simd_sum(read);
        if (row + r < DV) {
            for (uint i = 0; i < VALUES; ++i) {
                next_state[(head * DV + row + r) * DK + VALUES * lane + i] = held[r][i];
            }
            if (lane == 0) {
                out[head * DV + row + r] = read;
            }
        }
    }
""",
)


def fits(
    projected: mx.array, window: mx.array, conv: mx.array, state: mx.array, key_heads: int
) -> bool:
    """Whether the kernel takes one token of these shapes (see ``conv_delta``)."""
    if state.ndim != 4 or window.ndim != 3 or conv.ndim != 3:
        return False
    batch, heads, value_dim, key_dim = state.shape
    channels, taps = 2 * key_heads * key_dim + heads * value_dim, conv.shape[1]
    return (
        projected.dtype in _DTYPES
        and window.dtype == projected.dtype
        and conv.dtype in _DTYPES
        and state.dtype == mx.float32
        and batch == 1
        and key_heads > 0
        and heads % key_heads == 0
        and key_dim % _SIMD == 0
        and 0 < key_dim <= _MAX_KEY_DIM
        and value_dim > 0
        and 2 <= taps <= _MAX_KERNEL
        and projected.shape == (1, 1, channels + heads * value_dim + 2 * heads)
        and window.shape == (1, taps - 1, channels)
        and conv.shape == (channels, taps, 1)
    )


def conv_delta(
    projected: mx.array,
    window: mx.array,
    conv: mx.array,
    decay: mx.array,
    dt_bias: mx.array,
    state: mx.array,
    key_heads: int,
) -> tuple[mx.array, mx.array, mx.array]:
    """One token: ``(1, 1, Hv, Dv) output float32, the next window, the next state``.

    Args:
        projected: ``(1, 1, W)``, the columns ``[q | k | v | z | b | a]``; z is not read.
        window: ``(1, K - 1, C)``, the convolution's last inputs, C the columns of q, k and v.
        conv: ``(C, K, 1)``, the convolution's weight.
        decay: -exp(A_log), ``(Hv,)`` float32.
        dt_bias: ``(Hv,)`` float32.
        state: ``(1, Hv, Dv, Dk)`` float32.
        key_heads: Hk; each serves Hv / Hk consecutive value heads.

    The caller has asked ``fits``.
    """
    _, heads, value_dim, key_dim = state.shape
    blocks = -(-value_dim // (_SIMDS * _ROWS))
    out, next_window, next_state = make(_SOURCE)(
        inputs=[projected, window, conv, decay, dt_bias, state],
        template=[
            ("T", projected.dtype),
            ("HK", key_heads),
            ("HV", heads),
            ("DK", key_dim),
            ("DV", value_dim),
            ("TAPS", conv.shape[1]),
            ("SIMDS", _SIMDS),
            ("ROWS", _ROWS),
            ("EPS_BITS", float_bits(_L2_EPS)),
        ],
        grid=(blocks * _SIMDS * _SIMD, heads, 1),
        threadgroup=(_SIMDS * _SIMD, 1, 1),
        output_shapes=[(1, 1, heads, value_dim), window.shape, state.shape],
        output_dtypes=[mx.float32, window.dtype, mx.float32],
    )
    return out, next_window, next_state


def reference(
    projected: mx.array,
    window: mx.array,
    conv: mx.array,
    decay: mx.array,
    dt_bias: mx.array,
    state: mx.array,
    key_heads: int,
) -> tuple[mx.array, mx.array, mx.array]:
    """The same by MLX's own operations."""
    _, heads, value_dim, key_dim = state.shape
    keys, channels = key_heads * key_dim, conv.shape[0]
    gates = channels + heads * value_dim
    qkv, _, b, a = mx.split(projected, [channels, gates, gates + heads], axis=-1)
    whole = mx.concatenate([window, qkv], axis=1)
    mixed = mx.conv1d(whole, conv, groups=channels)
    mixed = (mixed * mx.sigmoid(mixed)).astype(mx.float32)
    q, k, v = mx.split(mixed, [keys, 2 * keys], axis=-1)
    # (1, 1, H·D) -> (1, 1, H, D), brought to length one; the norm's epsilon is on the mean
    q, k = (
        mx.fast.rms_norm(x.reshape(1, 1, key_heads, key_dim), None, _L2_EPS / key_dim)
        * key_dim**-0.5
        for x in (q, k)
    )
    softplus = mx.logaddexp(a.astype(mx.float32) + dt_bias, 0.0)
    out, next_state = mx.fast.gated_delta_update(
        q * key_dim**-0.5,
        k,
        v.reshape(1, 1, heads, value_dim),
        mx.exp(decay * softplus),
        mx.sigmoid(b.astype(mx.float32)),
        state,
    )
    return out, whole[:, 1:], next_state
