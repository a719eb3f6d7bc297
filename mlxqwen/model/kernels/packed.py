"""Packed matrices in Metal: what the kernels of the experts have in common.

One SIMD group multiplies a few rows with one input. A lane takes ``WORDS`` packed words of every
row, and the inputs they belong to, once per step of 32 lanes; the inputs are read once for all
rows. With ``w = s·q + b`` in a group, a lane's share of a row is ``s·Σ q·x + b·Σ x``.
"""

from __future__ import annotations

from dataclasses import dataclass

import mlx.core as mx

from ..quantspec import QuantSpec

DTYPES = (mx.float32, mx.float16, mx.bfloat16)
INDEX_DTYPES = (mx.uint32, mx.int32)
MAX_INNER = 4096  # larger experts fill the machine by themselves: fused, they were slower elsewhere
MAX_CHOSEN = 16
SIMD = 32
ROWS = 4  # of one matrix, per SIMD group: enough to hide the reading of the input behind them
_MULTIPLE = 32

# The rows that a SIMD group multiplies are SETS times ROWS, the sets APART rows from each other.
# Each lane has a part of every sum afterwards.
HEADER = """
template <int BITS, int WORDS, typename X>
inline float take_inputs(thread float* held, X x) {
    float total = 0.0f;
    for (int i = 0; i < WORDS * (32 / BITS); i += 4) {
        const float a = static_cast<float>(x[i]);
        const float b = static_cast<float>(x[i + 1]);
        const float c = static_cast<float>(x[i + 2]);
        const float d = static_cast<float>(x[i + 3]);
        total += (a + b) + (c + d);
        // Four bits are masked where they stand, not shifted: the input makes up for it, exactly.
        held[i] = a;
        held[i + 1] = BITS == 4 ? b * 0.0625f : b;
        held[i + 2] = BITS == 4 ? c * 0.00390625f : c;
        held[i + 3] = BITS == 4 ? d * 0.000244140625f : d;
    }
    return total;
}

template <int BITS, int WORDS, typename W>
inline float packed_dot(const thread float* held, W words) {
    float sum = 0.0f;
    for (int i = 0; i < WORDS; ++i) {
        const uint word = words[i];
        if (BITS == 4) {
            const ushort2 pair = as_type<ushort2>(word);
            const thread float* x = held + 8 * i;
            sum += x[0] * static_cast<float>(pair.x & 0x000f)
                 + x[1] * static_cast<float>(pair.x & 0x00f0)
                 + x[2] * static_cast<float>(pair.x & 0x0f00)
                 + x[3] * static_cast<float>(pair.x & 0xf000)
                 + x[4] * static_cast<float>(pair.y & 0x000f)
                 + x[5] * static_cast<float>(pair.y & 0x00f0)
                 + x[6] * static_cast<float>(pair.y & 0x0f00)
                 + x[7] * static_cast<float>(pair.y & 0xf000);
        } else {
            const uchar4 bytes = as_type<uchar4>(word);
            const thread float* x = held + 4 * i;
            sum += x[0] * static_cast<float>(bytes.x) + x[1] * static_cast<float>(bytes.y)
                 + x[2] * static_cast<float>(bytes.z) + x[3] * static_cast<float>(bytes.w);
        }
    }
    return sum;
}

template <int BITS, int GROUP, int WIDTH, int WORDS, int SETS, int APART,
          typename X, typename W, typename S>
inline void add_step(thread float* sums, X x, W weight, S scales, S biases, uint column) {
    constexpr int WORDS_PER_ROW = WIDTH / 32 * BITS;
    constexpr int GROUPS_PER_ROW = WIDTH / GROUP;
    float held[WORDS * (32 / BITS)];
    const float total = take_inputs<BITS, WORDS>(held, x + column);
    weight += column / (32 / BITS);
    const uint group = column / GROUP;
    for (int set = 0; set < SETS; ++set) {
        for (int i = 0; i < 4; ++i) {
            const int row = set * APART + i;
            const float scale = static_cast<float>(scales[row * GROUPS_PER_ROW + group]);
            const float bias = static_cast<float>(biases[row * GROUPS_PER_ROW + group]);
            const float dot = packed_dot<BITS, WORDS>(held, weight + row * WORDS_PER_ROW);
            sums[4 * set + i] += scale * dot + bias * total;
        }
    }
}

template <int BITS, int GROUP, int WIDTH, int WORDS, int SETS, int APART,
          typename X, typename W, typename S>
inline void add_rows(
    thread float* sums, X x, W weight, S scales, S biases, size_t row, uint lane
) {
    constexpr uint LANE = WORDS * (32 / BITS);
    constexpr uint STEP = 32 * LANE;
    constexpr uint WHOLE = WIDTH / STEP * STEP;
    weight += row * (WIDTH / 32 * BITS);
    scales += row * (WIDTH / GROUP);
    biases += row * (WIDTH / GROUP);
    const uint first = lane * LANE;
    for (uint start = 0; start < WHOLE; start += STEP) {
        add_step<BITS, GROUP, WIDTH, WORDS, SETS, APART>(
            sums, x, weight, scales, biases, start + first);
    }
    if (WHOLE < WIDTH && WHOLE + first < WIDTH) {
        add_step<BITS, GROUP, WIDTH, WORDS, SETS, APART>(
            sums, x, weight, scales, biases, WHOLE + first);
    }
}
"""


@dataclass(frozen=True, slots=True)
class Packed:
    """A packed matrix, or a stack of them.

    ``weight`` (..., out, in·bits/32) uint32, ``scales`` and ``biases`` (..., out, in/group).
    """

    weight: mx.array
    scales: mx.array
    biases: mx.array
    spec: QuantSpec

    @property
    def width(self) -> int:
        """Length of the inputs."""
        return self.weight.shape[-1] * 32 // self.spec.bits

    @property
    def rows(self) -> int:
        """Outputs of one matrix."""
        return self.weight.shape[-2]

    @property
    def words(self) -> int:
        """Words that a lane takes of a row at a time: two, where that divides the width in steps.

        Otherwise one, which leaves fewer lanes idle in the last step, or none: 768 inputs in four
        bits are three steps of one word.
        """
        return 2 if self.width % (SIMD * 2 * (32 // self.spec.bits)) == 0 else 1

    def fits(self, dtype: mx.Dtype, ndim: int) -> bool:
        """Whether the kernels read this matrix, of ``ndim`` axes, for inputs in ``dtype``.

        Affine in 4 or 8 bits; rows and columns in multiples of 32.
        """
        spec, lead = self.spec, self.weight.shape[:-1]
        groups = (*lead, self.width // spec.group_size)
        return (
            spec.mode == "affine"
            and spec.bits in (4, 8)
            and self.weight.ndim == ndim
            and self.weight.dtype == mx.uint32
            and self.width % max(spec.group_size, _MULTIPLE) == 0
            and self.rows % _MULTIPLE == 0
            and self.weight.size > 0
            and self.scales.shape == self.biases.shape == groups
            and dtype in DTYPES
            and self.scales.dtype == self.biases.dtype == dtype
        )
